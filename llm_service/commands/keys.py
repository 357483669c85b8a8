"""Commands about the keys that seal secrets: distribute, promote, rewrap, retire."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from llm_service.commands.console import app, fail, output, settings
from llm_service.errors import GatewayError
from llm_service.vault import (
    BadKeyring,
    Scheme,
    add_key,
    generate_key,
    promote_key,
    remove_key,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from llm_service.bootstrap.rotation import Rotation
    from llm_service.domain.encryption import EncryptionKey, KeyStatus, Rewrapped

T = TypeVar("T")

KeyId = Annotated[str, typer.Argument(help="The key's id.")]

keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(keys, name="keys", help="Rotate the keys that seal stored secrets.")


@keys.command()
def generate(
    scheme: Annotated[Scheme, typer.Option(help="How it will seal.")] = Scheme.AES256GCM_V1,
    key_id: Annotated[str, typer.Option("--id", help="Its id; else the day's date.")] = "",
) -> None:
    """Print a new key as a line for the key file; nothing is stored."""
    key_id = key_id or f"k{datetime.now(UTC):%Y%m%d}"
    typer.echo(f"{key_id} {scheme.value} {generate_key(scheme)}")


@keys.command()
def add() -> None:
    """Add the key on standard input to the key file, to open with and not yet to seal."""
    line = sys.stdin.read().strip()
    with _told():
        key_id = add_key(_file(), line)
    typer.echo(f"added {key_id}: it opens. When every replica has it: keys promote {key_id}")


@keys.command()
def promote(key_id: KeyId) -> None:
    """Seal with this key from now on, once every replica can open with it."""
    with _told():
        _run(lambda rotation: rotation.keys.check_promotion(key_id))
        promote_key(_file(), key_id)
    typer.echo(f"promoted {key_id}: it seals. When every replica has that: keys rewrap")


@keys.command()
def status() -> None:
    """Show each key, how many stored values need it, and which replica has it."""
    with _told():
        found = _run(lambda rotation: rotation.keys.status())
    out = output()
    out.print(_keys_table(found))
    out.print(_replicas_table(found))


@keys.command()
def rewrap(
    rate: Annotated[int, typer.Option(help="Most values a second.", min=1)] = 100,
) -> None:
    """Seal every stored secret anew with the primary key; cut off, it goes on when run again."""
    with _told():
        remaining = _run(lambda rotation: _rewrap(rotation, rate))
    if remaining:
        raise fail(f"stored values still sealed with another key: {remaining}")
    typer.echo("every stored secret is sealed with the primary key")


@keys.command()
def retire(key_id: KeyId) -> None:
    """Forbid and remove a key that no stored value needs any more."""
    with _told():
        path = _file()
        _run(lambda rotation: rotation.keys.retire(key_id))
        remove_key(path, key_id)
    typer.echo(f"retired {key_id}, and removed it from {path}")


async def _rewrap(rotation: "Rotation", rate: int) -> int:
    """Pass after pass until one finds nothing to do; how many values are left."""
    from llm_service.gateway.admin.rewrap import BATCH

    done = 0
    while True:
        moved = skipped = 0
        async for batch in rotation.rewrap.batches(min(BATCH, rate)):
            moved, skipped = moved + batch.rewrapped, skipped + batch.skipped
            typer.echo(f"rewrapped {done + moved}", err=True)
            _complain(batch)
            await asyncio.sleep(batch.rewrapped / rate)
        done += moved
        if not moved and not skipped:
            return await rotation.rewrap.remaining()


def _complain(batch: "Rewrapped") -> None:
    for row in batch.unreadable:
        typer.echo(f"cannot be opened: {row.table}.{row.column} of {row.row_uid}", err=True)


def _run(work: "Callable[[Rotation], Coroutine[Any, Any, T]]") -> T:
    async def within() -> T:
        from llm_service.bootstrap.rotation import rotation

        async with rotation(settings()) as opened:
            for note in opened.notes:
                typer.echo(note, err=True)
            return await work(opened)

    return asyncio.run(within())


def _file() -> "Path":
    from llm_service.bootstrap.rotation import key_file

    return key_file(settings())


@contextmanager
def _told() -> Iterator[None]:
    from llm_service.bootstrap.trouble import CannotStart

    try:
        yield
    except (CannotStart, BadKeyring, GatewayError) as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.filename or ''}: {error.strerror}") from error


def _keys_table(found: "KeyStatus") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title="Keys", box=box.SIMPLE)
    for name in ("key", "scheme", "use", "loaded"):
        table.add_column(name, no_wrap=True)
    table.add_column("values", justify="right")
    table.add_column("problem", overflow="fold")
    for key in found.keys:
        loaded = "yes" if key.loaded else "no"
        table.add_row(key.key_id, key.scheme, _use(key), loaded, str(key.references), key.problem)
    return table


def _use(key: "EncryptionKey") -> str:
    if key.primary:
        return "primary"
    return "opens" if key.retire_time is None else "retired"


def _replicas_table(found: "KeyStatus") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title="Replicas", box=box.SIMPLE)
    for name in ("host", "replica", "primary", "keys"):
        table.add_column(name, no_wrap=True)
    table.add_column("problem", overflow="fold")
    for one in found.replicas:
        ids = ", ".join(one.key_ids)
        table.add_row(one.host, one.replica_uid[-8:], one.primary_id, ids, one.problem)
    return table
