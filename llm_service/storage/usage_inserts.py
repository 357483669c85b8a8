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
from llm_service.storage.sqlite_driver import Driver
from llm_service.storage.usage_rows import CODES, COLUMNS, COUNTS, DOCUMENTS, TIMES, Form, to_values

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy.ext.asyncio import AsyncEngine

_INTO = f"usage_records ({', '.join(COLUMNS)})"
_NEW = "ON CONFLICT DO NOTHING"

# SQLite binds None far more slowly than "". Not OR ABORT, which has each row keep a copy of the
# pages it changes; the transaction ends with an error either way.
_NULLABLE = {*CODES, *COUNTS, *TIMES, *DOCUMENTS}
_BOUND = ("nullif(?, '')" if name in _NULLABLE else "?" for name in COLUMNS)
_SQLITE = f"INSERT OR FAIL INTO {_INTO} VALUES ({', '.join(_BOUND)}) {_NEW}"  # noqa: S608
_SQLITE_NEW = (
    "SELECT record_id FROM usage_records WHERE rowid > (SELECT after FROM usage_records_unsummed)"
)
_SQLITE_SUM = "DELETE FROM usage_records_unsummed"

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


async def add(connection: AsyncConnection, records: Sequence[UsageRecord]) -> None:
    """Store those that are not there."""
    if connection.dialect.name == "postgresql":
        await _add_on_postgresql(connection, records)
    else:
        driver = await Driver.of(connection)
        await driver.execute_many(_SQLITE, list(map(_to_sqlite, records)))
        await driver.execute(_SQLITE_SUM)


async def add_new(connection: AsyncConnection, records: Sequence[UsageRecord]) -> Sequence[str]:
    """As `add`; the ids of those that were not there."""
    if connection.dialect.name == "postgresql":
        return await _add_on_postgresql(connection, records)
    driver = await Driver.of(connection)
    await driver.execute(_SQLITE_SUM)  # of a writer that does not
    await driver.execute_many(_SQLITE, list(map(_to_sqlite, records)))
    found = await driver.scalars(_SQLITE_NEW)
    await driver.execute(_SQLITE_SUM)
    return found


async def add_uncounted(engine: "AsyncEngine", records: Sequence[UsageRecord]) -> bool:
    """As `add`, on SQLite and as a transaction; False: there are budgets, and it did nothing."""
    rows = list(map(_to_sqlite, records))
    return await sqlite_driver.transact(engine, partial(_add_uncounted, rows))


def _add_uncounted(rows: Sequence[tuple[str | int, ...]], connection: "sqlite3.Connection") -> bool:
    if connection.execute(budgets.ANY).fetchone()[0]:
        return False
    connection.executemany(_SQLITE, rows)
    connection.execute(_SQLITE_SUM)
    return True


async def _add_on_postgresql(
    connection: AsyncConnection, records: Sequence[UsageRecord]
) -> Sequence[str]:
    document = _json.encode(list(map(_to_postgresql, records))).decode()
    found = await connection.exec_driver_sql(_POSTGRESQL, (document,))
    return found.scalars().all()


def _to_sqlite(record: UsageRecord) -> tuple[str | int, ...]:
    return to_values(record, _ON_SQLITE)


def _instant(time: datetime) -> str:
    """As SQLAlchemy writes it."""
    instant = time if time.tzinfo is UTC else time.astimezone(UTC)
    return instant.isoformat(" ", "microseconds")[:26]


def _to_postgresql(record: UsageRecord) -> msgspec.Struct:
    return _Row(*to_values(record, _ON_POSTGRESQL))


_ON_SQLITE = Form("", _instant, bytes.decode)
_ON_POSTGRESQL = Form(None, lambda time: time, msgspec.Raw)
