"""Reading rows, also those that were broken behind our back: a bad value costs only its own row."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any, TypeVar, cast, get_origin, get_type_hints

import msgspec
from sqlalchemy import Select, literal
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.storage.rows import is_storable

T = TypeVar("T")

UNREADABLE = object()
"""Stands in a row for a value the driver cannot read."""

_INT64 = range(-(2**63), 2**63)
_MOST_SECONDS = 315_576_000_000.0
"""The longest duration the contract can tell; every other fraction is far smaller."""

_PLACEHOLDERS: Mapping[object, object] = {
    str: "",
    int: 0,
    bytes: b"",
    frozenset: frozenset(),
    datetime: datetime(1970, 1, 1, tzinfo=UTC),
}


async def every(connection: AsyncConnection, statement: Select[Any]) -> Sequence[Any]:
    """The rows of a statement. What the driver cannot read of one is `UNREADABLE`.

    The statement has an order that is total, if it can give more than one row.
    """
    try:
        rows: Sequence[Any] = (await connection.execute(statement)).all()
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    except (DataError, OperationalError) as error:
        if not _is_about_a_value(error):
            raise
    else:
        return rows
    places = (await connection.execute(_only(statement, literal(1)))).all()
    return [row async for row in _halves(connection, statement, 0, len(places))]


async def first(connection: AsyncConnection, statement: Select[Any]) -> Any | None:  # noqa: ANN401 - a row
    """The only row of a statement, read as `every` does; None: there is none."""
    found = await every(connection, statement)
    return found[0] if found else None


def value(cls: type[T], row: object, **known: object) -> T:
    """A dataclass from the columns of its fields' names, and from what is `known` already.

    Fields whose column holds what they cannot be get their default, and are named in `unreadable`.
    """
    kind: Any = cls
    columns = {name: getattr(row, name) for name in _columns(kind) if name not in known} | known
    try:
        whole = msgspec.convert(columns, cls)
    except msgspec.ValidationError:
        return cast("T", _in_part(cls, columns))
    documents = (one for one in columns.values() if isinstance(one, dict | list))
    return whole if all(map(_is_sound, documents)) else cast("T", _in_part(cls, columns))


async def _halves(
    connection: AsyncConnection, statement: Select[Any], start: int, count: int
) -> Any:  # noqa: ANN401 - a generator of rows
    """Rows by bisection, so that one bad row among many costs few statements."""
    part = statement.limit(count).offset(start)
    try:
        rows: Sequence[Any] = (await connection.execute(part)).all()
    except (ValueError, TypeError, OverflowError, RecursionError, DataError, OperationalError):
        if count == 1:
            yield await _column_by_column(connection, part)
            return
    else:
        for row in rows:
            yield row
        return
    half = count // 2
    for begin, size in ((start, half), (start + half, count - half)):
        async for row in _halves(connection, statement, begin, size):
            yield row


async def _column_by_column(connection: AsyncConnection, statement: Select[Any]) -> SimpleNamespace:
    values: dict[str, object] = {}
    for column in statement.selected_columns:
        try:
            found: object = (await connection.execute(_only(statement, column))).scalar_one()
        except (ValueError, TypeError, OverflowError, RecursionError, DataError):
            found = UNREADABLE
        except OperationalError as error:
            if not _is_about_a_value(error):
                raise
            found = UNREADABLE
        values[str(column.key)] = found
    return SimpleNamespace(**values)


def _only(statement: Select[Any], column: Any) -> Select[Any]:  # noqa: ANN401 - any expression
    return statement.with_only_columns(column, maintain_column_froms=True)


def _is_about_a_value(error: DataError | OperationalError) -> bool:
    """Whether one value is to blame: sqlite3 reports text that is not UTF-8 as an ill database."""
    return isinstance(error, DataError) or "decode to UTF-8" in str(error.orig)


def _in_part(cls: Any, columns: Mapping[str, object]) -> Any:  # noqa: ANN401 - a dataclass
    hints = get_type_hints(cls)
    read: dict[str, object] = {}
    unreadable = []
    for field in _fields(cls):
        if field.name not in columns:
            continue
        found = columns[field.name]
        try:
            read[field.name] = msgspec.convert(found, hints[field.name])
            sound = _is_sound(found)
        except msgspec.ValidationError:
            sound = False
        if not sound:
            read[field.name] = _placeholder(field, hints[field.name])
            unreadable.append(field.name)
    return cls(**read, unreadable=tuple(unreadable))


def _placeholder(field: Field[Any], hint: Any) -> object:  # noqa: ANN401 - a type
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    plain = get_origin(hint) or hint
    return _PLACEHOLDERS[plain] if plain in _PLACEHOLDERS else next(iter(hint))


def _is_sound(found: object) -> bool:
    """Whether the contract can tell it: JSON holds numbers and texts that no message takes."""
    return all(map(_can_be_told, _leaves(found)))


def _can_be_told(leaf: object) -> bool:
    if isinstance(leaf, str):
        return is_storable(leaf)
    if isinstance(leaf, float):
        return math.isfinite(leaf) and abs(leaf) <= _MOST_SECONDS
    return not isinstance(leaf, int) or leaf in _INT64


def _leaves(found: object) -> Iterator[object]:
    if isinstance(found, Mapping):
        for key, member in found.items():
            yield key
            yield from _leaves(member)
    elif isinstance(found, list):
        for item in found:
            yield from _leaves(item)
    else:
        yield found


@cache
def _fields(cls: Any) -> tuple[Field[Any], ...]:  # noqa: ANN401
    return tuple(field for field in fields(cls) if field.name != "unreadable")


@cache
def _columns(cls: Any) -> tuple[str, ...]:  # noqa: ANN401
    return tuple(field.name for field in _fields(cls))
