"""The command that takes over the configuration of another system."""

import asyncio
import os
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from llm_service.commands.console import USAGE_ERROR, app, fail, settings

if TYPE_CHECKING:
    from llm_service.gateway.admin.imports.steps import Entry

INCOMPLETE = 3
"""Some rows could not be imported; the others were."""


class Source(StrEnum):
    """The systems whose tables are understood."""

    AGENT_LLM_CONFIGS = "agent-llm-configs"
    LLMS = "llms"
    LLM_PROVIDERS = "llm-providers"
    LLM_CONFIG = "llm-config"


@app.command("import")
def import_(
    source: Annotated[Source, typer.Option("--from", help="Whose tables they are.")],
    dsn: Annotated[
        str,
        typer.Option(envvar="IMPORT_DSN", help="sqlite:///path or postgresql://... to read from."),
    ],
    tenant: Annotated[
        str, typer.Option(help="Tenant to import for where rows name none; else for everybody.")
    ] = "",
    key_variable: Annotated[
        str, typer.Option(help="Variable that holds the Fernet key of the other system.")
    ] = "",
    secret_store: Annotated[
        str, typer.Option(help="Store of secrets that paths in rows point into: vault, file.")
    ] = "",
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Take over another system's configuration."""
    from llm_service.bootstrap.imports import Import, import_
    from llm_service.bootstrap.trouble import CannotStart
    from llm_service.domain.access import TENANT_ID
    from llm_service.gateway.admin.imports.steps import Circumstances
    from llm_service.gateway.admin.imports.systems import SYSTEMS

    if tenant and not TENANT_ID.fullmatch(tenant):
        raise fail(f"--tenant must match ^{TENANT_ID.pattern}$", USAGE_ERROR)
    variable = key_variable or SYSTEMS[source].key_variable
    old_key = os.environ.get(variable, "") if variable else ""
    where = Circumstances(tenant, old_key, variable, secret_store)
    notes: list[str] = []
    try:
        wanted = Import(source.value, dsn, where, dry_run)
        entries = asyncio.run(import_(settings(), wanted, notes))
    except CannotStart as error:
        raise fail(str(error)) from error
    for note in notes:
        typer.echo(note, err=True)
    _tell(entries, dry_run=dry_run)


def _tell(entries: "list[Entry]", *, dry_run: bool) -> None:
    from llm_service.gateway.admin.imports.steps import Outcome

    for entry in entries:
        typer.echo(str(entry))
    counts = Counter(entry.outcome for entry in entries)
    said = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome)
    typer.echo(f"{'dry run, nothing was changed: ' if dry_run else ''}{said}", err=True)
    if counts[Outcome.FAILED]:
        raise typer.Exit(INCOMPLETE)
