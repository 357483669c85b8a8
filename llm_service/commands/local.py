"""Commands on this machine: serve, migrate, seed, version."""

import asyncio
from importlib import metadata

import typer

from llm_service.commands.console import app, fail, settings


@app.command()
def serve() -> None:
    """Serve until SIGTERM, then drain. Settings come from the environment (see .env.example)."""
    from llm_service import serving

    raise typer.Exit(serving.run())


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date. Safe to run from several machines at once."""
    from llm_service import bootstrap

    try:
        typer.echo(f"schema is at {bootstrap.migrate(settings())}")
    except bootstrap.CannotStart as error:
        raise fail(str(error)) from error


@app.command()
def seed() -> None:
    """Create the usual providers, models and defaults."""
    from llm_service import bootstrap

    try:
        lines = asyncio.run(bootstrap.seed(settings()))
    except bootstrap.CannotStart as error:
        raise fail(str(error)) from error
    for line in lines:
        typer.echo(line)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("llm-service"))
