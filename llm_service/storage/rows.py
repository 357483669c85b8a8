"""Writing rows: domain values as columns, and the statements every table shares."""

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Dialect,
    Insert,
    Table,
    and_,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidField,
    ResourceNotFound,
    Violation,
)
from llm_service.storage import sealed

Values = dict[str, Any]


def document(value: object) -> Any:  # noqa: ANN401 - JSON
    """A dataclass, tuple or mapping as JSON; None stays None."""
    return msgspec.to_builtins(value)


def check(table: Table, values: Mapping[str, Any]) -> Values:
    """The values, once they are known to fit their columns.

    Raises:
        InvalidField: one per value that is too long, too large or holds a NUL character.
    """
    violations = [
        Violation(name, problem)
        for name, value in values.items()
        if (problem := _problem(table.c[name].type, value))
    ]
    if violations:
        raise InvalidField(*violations)
    return dict(values)


def clip(table: Table, values: Mapping[str, Any]) -> Values:
    """The values, their texts cut to their columns and rid of NUL characters."""
    lengths = _lengths(table)
    return {name: clipped(value, lengths[name]) for name, value in values.items()}


def clipped(value: object, length: int = sys.maxsize) -> Any:  # noqa: ANN401 - of the same kind
    """A text cut and rid of NUL characters, a number in 64 bits, or a document of such."""
    if isinstance(value, str):
        return _cleaned(value)[:length]
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else min(max(value, -(2**63)), 2**63 - 1)
    if isinstance(value, list | tuple):
        return [clipped(item) for item in value]
    if isinstance(value, Mapping):
        return {clipped(key): clipped(member) for key, member in value.items()}
    return value


@cache
def _lengths(table: Table) -> dict[str, int]:
    """How long each column's text may be."""
    lengths = {column.name: getattr(column.type, "length", None) for column in table.c}
    return {name: sys.maxsize if most is None else most for name, most in lengths.items()}


async def now(connection: AsyncConnection) -> datetime:
    """By the database's clock, the one that all processes share."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = (await connection.execute(select(func.now()))).scalar_one()
    return found


def insert_new(dialect: Dialect, table: Table) -> Insert:
    """An insert that leaves rows alone whose key is taken."""
    if dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


async def add(connection: AsyncConnection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert one row, whose only reference is to a provider."""
    statement = insert_new(connection.dialect, table).values(check(table, values))
    try:
        # Without the option SQLAlchemy does not count what an insert did.
        result = await connection.execute(statement, execution_options={"preserve_rowcount": True})
    except IntegrityError:
        raise ResourceNotFound("no such provider") from None
    if result.rowcount == 0:
        raise AlreadyExists(f"there is a {_noun(table)} of that id")
    own = and_(*(column == values[column.name] for column in table.primary_key))
    await sealed.refuse_retired(connection, table, own)


async def replace(
    connection: AsyncConnection,
    table: Table,
    key: ColumnElement[bool],
    expected_version: int,
    values: Mapping[str, Any],
) -> int:
    """Write the row of that key if it is still at `expected_version`. Its next version."""
    statement = update(table).where(and_(key, table.c.version == expected_version))
    changed = {**check(table, values), "version": expected_version + 1}
    result = await connection.execute(statement.values(changed))
    if result.rowcount == 0:
        await _explain(connection, table, key)
    await sealed.refuse_retired(connection, table, key)
    return expected_version + 1


async def remove(
    connection: AsyncConnection,
    table: Table,
    key: ColumnElement[bool],
    expected_version: int | None,
) -> None:
    """Delete the row of that key, if it is still at `expected_version`; None: whatever it is at."""
    statement = delete(table).where(key)
    if expected_version is not None:
        statement = statement.where(table.c.version == expected_version)
    result = await connection.execute(statement)
    if result.rowcount == 0:
        await _explain(connection, table, key)


async def _explain(connection: AsyncConnection, table: Table, key: ColumnElement[bool]) -> None:
    if (await connection.execute(select(table.c.version).where(key))).first() is None:
        raise ResourceNotFound(f"no such {_noun(table)}")
    raise EtagMismatch(f"the {_noun(table)} has changed since it was read")


def _noun(table: Table) -> str:
    """What an operator calls one row of the table."""
    return str(table.info.get("noun") or table.name.removesuffix("s"))


def _problem(kind: object, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return "" if -(2**63) <= value < 2**63 else "does not fit in 64 bits"
    length = getattr(kind, "length", None)
    if isinstance(value, str) and length is not None and len(value) > length:
        return f"is longer than {length} characters"
    if not all(map(is_storable, _texts(value))):
        return "holds a character that cannot be stored"
    return ""


def is_storable(text: str) -> bool:
    """Whether both databases take the text: no NUL, no half of a surrogate pair."""
    if text.isascii():
        return "\0" not in text
    return _cleaned(text) == text


def _cleaned(text: str) -> str:
    return text.replace("\0", "").encode(errors="replace").decode()


def _texts(value: object) -> Iterator[str]:
    """Every text in a column's value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from _texts(key)
            yield from _texts(member)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
