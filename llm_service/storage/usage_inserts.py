"""Usage records into the database: one statement for a batch, made before there is any.

A row has nearly fifty columns, so what is done to each value counts. SQLAlchemy, which binds them
one by one, cost four times as much as all else (docs/adr/0031).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.usage import UsageRecord
from llm_service.storage import budgets, sqlite_driver
from llm_service.storage.positional import Settled, plain
from llm_service.storage.sqlite_driver import Driver
from llm_service.storage.usage_rows import CODES, COLUMNS, COUNTS, DOCUMENTS, TIMES, Form, to_values

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy.ext.asyncio import AsyncEngine

_INTO = f"usage_records ({', '.join(COLUMNS)})"
_NEW = "ON CONFLICT DO NOTHING"

# SQLite binds None far more slowly than "".
_NULLABLE = {*CODES, *COUNTS, *TIMES, *DOCUMENTS}
_BOUND = ("nullif(?, '')" if name in _NULLABLE else "?" for name in COLUMNS)
_SQLITE = f"INSERT INTO {_INTO} VALUES ({', '.join(_BOUND)}) {_NEW}"  # noqa: S608
# The last rows may have been deleted, and their numbers are given again.
_SQLITE_BEFORE = (
    "UPDATE usage_records_unsummed"
    " SET after = min(after, (SELECT coalesce(max(rowid), 0) FROM usage_records))"
)
_SQLITE_NEW = (
    "SELECT record_id FROM usage_records WHERE rowid > (SELECT after FROM usage_records_unsummed)"
)
SQLITE_SUM = "DELETE FROM usage_records_unsummed"
"""Has the trigger sum up the rows that are not, and note up to which they are.

A trigger on usage_records could note it, but then each row would keep copies of the pages that it
changes (docs/adr/0031).
"""

# PostgreSQL takes a batch as one document: arrays of values cost the client ten times as much.
_Row = msgspec.defstruct(
    "_Row", [(name, Any, None) for name in COLUMNS], omit_defaults=True, gc=False
)
_SELECTED = (f"nullif({name}, '')" if name in CODES else name for name in COLUMNS)
_POSTGRESQL = (
    f"INSERT INTO {_INTO} SELECT {', '.join(_SELECTED)}"  # noqa: S608 - our own words
    f" FROM json_populate_recordset(NULL::usage_records, %s::json) {_NEW} RETURNING record_id"
)
_json = msgspec.json.Encoder()
_SqliteRows = Sequence[tuple[str | int, ...]]


async def add(connection: AsyncConnection, records: Sequence[UsageRecord]) -> None:
    """Store those that are not there."""
    if connection.dialect.name == "postgresql":
        await _add_on_postgresql(connection, records)
    else:
        rows = list(map(_to_sqlite, records))
        await (await Driver.of(connection)).run(partial(_add_on_sqlite, rows))


async def add_new(connection: AsyncConnection, records: Sequence[UsageRecord]) -> Sequence[str]:
    """As `add`; the ids of those that were not there."""
    if connection.dialect.name == "postgresql":
        return await _add_on_postgresql(connection, records)
    rows = list(map(_to_sqlite, records))
    return await (await Driver.of(connection)).run(partial(_add_new_on_sqlite, rows))


async def add_uncounted(engine: "AsyncEngine", batch: Sequence[Settled]) -> bool:
    """As `add`, on SQLite and as a transaction; False: there are budgets, and it did nothing."""
    rows = [to_values(one, _ON_SQLITE) for one in batch]
    return await sqlite_driver.transact(engine, partial(_add_uncounted, rows))


def _add_uncounted(rows: _SqliteRows, connection: "sqlite3.Connection") -> bool:
    if connection.execute(budgets.ANY).fetchone()[0]:
        return False
    _add_on_sqlite(rows, connection)
    return True


def _add_on_sqlite(rows: _SqliteRows, connection: "sqlite3.Connection") -> None:
    connection.execute(_SQLITE_BEFORE)
    connection.executemany(_SQLITE, rows)
    connection.execute(SQLITE_SUM)


def _add_new_on_sqlite(rows: _SqliteRows, connection: "sqlite3.Connection") -> list[str]:
    connection.execute(SQLITE_SUM)  # what a writer has left that does not
    connection.executemany(_SQLITE, rows)
    new = [record_id for (record_id,) in connection.execute(_SQLITE_NEW)]
    connection.execute(SQLITE_SUM)
    return new


async def _add_on_postgresql(
    connection: AsyncConnection, records: Sequence[UsageRecord]
) -> Sequence[str]:
    document = _json.encode(list(map(_to_postgresql, records))).decode()
    found = await connection.exec_driver_sql(_POSTGRESQL, (document,))
    return found.scalars().all()


def _to_sqlite(record: UsageRecord) -> tuple[str | int, ...]:
    return to_values(plain(record), _ON_SQLITE)


def _instant(time: datetime) -> str:
    """As SQLAlchemy writes it."""
    instant = time if time.tzinfo is UTC else time.astimezone(UTC)
    if not instant.microsecond:
        return instant.isoformat(" ", "microseconds")[:26]
    text = _json.encode(instant).decode()  # in quotes; three times as fast
    return f"{text[1:11]} {text[12:27]}"


def _to_postgresql(record: UsageRecord) -> msgspec.Struct:
    return _Row(*to_values(plain(record), _ON_POSTGRESQL))


_ON_SQLITE = Form("", _instant, bytes.decode)
_ON_POSTGRESQL = Form(None, lambda time: time, msgspec.Raw)
