"""SQLite's driver itself, for what is done for every batch of records, or every second.

Each thing asked of it goes to its thread and back, which costs 60 us of CPU; SQLAlchemy does that
three or four times for a statement: for a cursor, the statement, its rows and the cursor's end.
A thing once asked is done, in the order of asking, whether or not anybody still waits for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

WRITING = "BEGIN IMMEDIATE"
"""Begins a transaction that writes: it waits for others that do now, not in its midst."""

_UNANSWERED = "unanswered"
"""Of a connection: who asked something of it has not waited for the answer."""


class Driver:
    """The driver's connection under one of SQLAlchemy's. Its errors are SQLAlchemy's."""

    def __init__(self, connection: AsyncConnection, pooled: PoolProxiedConnection) -> None:
        self._dialect = connection.dialect
        self._pooled = pooled
        self._driver: Any = pooled.driver_connection

    @classmethod
    async def of(cls, connection: AsyncConnection) -> "Driver":
        return cls(connection, await connection.get_raw_connection())

    async def run(self, work: "Callable[[sqlite3.Connection], T]") -> T:
        """What `work` does in the driver's thread, in one trip."""
        with _translated(self._dialect, self._pooled.info):
            return await _run(self._driver, work)


async def transact(engine: "AsyncEngine", work: "Callable[[sqlite3.Connection], bool]") -> bool:
    """A transaction that writes, in one trip; `work` says whether to keep it, and so does this.

    Whoever is cancelled meanwhile does not know its end.
    """
    return await run(engine, partial(_transact, work))


async def run(engine: "AsyncEngine", work: "Callable[[sqlite3.Connection], T]") -> T:
    """As `Driver.run`, by a connection of the pool's and in no transaction: each statement is one.

    `work` leaves nothing open, neither a transaction nor the rows of a statement.
    """
    with _translated(engine.dialect, {}):
        # Without a connection of SQLAlchemy's around it, which costs more than the trip.
        pooled = await engine.raw_connection()
    try:
        with _translated(engine.dialect, pooled.info):
            return await _run(pooled.driver_connection, work)
    finally:
        await greenlet_spawn(pooled.close)


def begin(connection: Connection, statement: str) -> None:
    """Start a transaction."""
    adapted: Any = connection.connection.dbapi_connection
    with _translated(connection.dialect, connection.info):
        adapted.run_async(lambda driver: driver.execute(statement))


def may_be_in_transaction(record: ConnectionPoolEntry) -> bool:
    """Whether a connection that is given back must be told to roll back: that takes a trip.

    It is in a transaction, or will be once it has done what was asked of it and not waited for.
    SQLAlchemy closes a connection if it itself was kept from waiting: see `abandon`.
    """
    driver: Any = record.driver_connection
    return bool(record.info.pop(_UNANSWERED, False) or driver.in_transaction)


def abandon(connection: DBAPIConnection) -> None:
    """Have a connection that is about to be closed take back what it began; nobody waits for that.

    SQLite keeps a closed connection, and its transaction with the lock, while there is a statement
    of it: whoever was cancelled between a statement and its rows has left one, until the collector
    comes across it.
    """
    driver: Any = connection.driver_connection
    if driver._connection is not None:  # noqa: SLF001 - as in `transact`; SQLAlchemy does the same
        driver._tx.put_nowait((None, driver._connection.rollback))  # noqa: SLF001


async def _run(driver: Any, work: "Callable[[sqlite3.Connection], T]") -> T:  # noqa: ANN401
    # Not public; each of aiosqlite's own methods is one call of it, and nothing else would run a
    # function in its thread. Its version is bounded.
    done: T = await driver._execute(work, driver._conn)  # noqa: SLF001
    return done


def _transact(
    work: "Callable[[sqlite3.Connection], bool]", connection: "sqlite3.Connection"
) -> bool:
    connection.execute(WRITING)
    try:
        kept = work(connection)
        if kept:
            connection.execute("COMMIT")
    finally:
        connection.rollback()  # nothing, once it is committed
    return kept


@contextmanager
def _translated(
    dialect: Any,  # noqa: ANN401 - SQLAlchemy's
    info: dict[Any, Any],
) -> Iterator[None]:
    try:
        yield
    except dialect.dbapi.Error as error:
        # Without the statement: its values may be secrets.
        raise DBAPIError.instance(
            None, None, error, dialect.dbapi.Error, hide_parameters=True, dialect=dialect
        ) from error
    except BaseException:
        info[_UNANSWERED] = True
        raise
