"""Connections: pools, time limits and each database's settings."""

import logging
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from llm_service.storage import sqlite_driver

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

POOL_SIZE = 10
"""Connections to PostgreSQL a process may hold, beside the one that listens for changes."""

POOL_WAIT_SECONDS = 0.25
"""How long a unit of work waits for a connection: a burst fits in, a breakdown is soon known."""

RECYCLE_SECONDS = 1800

ANSWER_SECONDS = 3.0
"""How long a statement may take by our own clock: the server's does not run while nothing of it
arrives. Longer where the operator's URL gives connecting more time than that."""

SQLITE_READERS = 4
_KEPT_READERS = 2  # each is a thread and half a megabyte; the others end with what they read
SQLITE_WAIT_SECONDS = 5.0
"""How long a writer waits for other writers, in this process or another."""

# libpq's names. The connection's own time limits are the server's work: they hold whatever the
# client does. Seconds, but for tcp_user_timeout: milliseconds, as those in options.
_POSTGRESQL = {
    "application_name": "llm-service",
    "connect_timeout": 2,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# A process that stands still within a transaction keeps its locks until the second of them is over.
_OPTIONS = "-c statement_timeout=2000 -c idle_in_transaction_session_timeout=5000"


def create(url: str) -> "tuple[AsyncEngine, AsyncEngine]":
    """A writer and a reader. Nothing is connected yet; dispose of both."""
    target = make_url(url)
    return _postgresql(target) if target.get_backend_name() == "postgresql" else _sqlite(target)


def parameters(engine: "AsyncEngine") -> dict[str, Any]:
    """What psycopg needs for a connection of its own, like the pool's."""
    _, arguments = engine.dialect.create_connect_args(engine.url)
    return {**arguments, **_limits(engine.url)}


def patience(url: URL) -> float:
    """Seconds that an answer of PostgreSQL is waited for, by our own clock."""
    return max(ANSWER_SECONDS, float(str(url.query.get("connect_timeout", 0))) + 1)


def _postgresql(url: URL) -> "tuple[AsyncEngine, AsyncEngine]":
    from sqlalchemy.ext.asyncio import create_async_engine

    from llm_service.storage.impatience import connector

    engine = create_async_engine(
        url,
        connect_args={**_limits(url), "async_creator_fn": connector(patience(url))},
        hide_parameters=True,
        max_overflow=0,
        pool_pre_ping=True,  # a restarted server costs one round trip, not one failed call
        pool_recycle=RECYCLE_SECONDS,
        pool_size=POOL_SIZE,
        pool_timeout=POOL_WAIT_SECONDS,
    )
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine, snapshot


def _limits(url: URL) -> dict[str, Any]:
    """Our limits, where the operator's URL says nothing else; of two options the later holds."""
    options = " ".join((_OPTIONS, *url.normalized_query.get("options", ())))
    ours = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
    return {**ours, "options": options}


def _sqlite(url: URL) -> "tuple[AsyncEngine, AsyncEngine]":
    """One connection that writes, so that writers queue in order, and some that cannot."""
    from sqlalchemy.ext.asyncio import create_async_engine

    # At DEBUG it logs every value it binds, sealed secrets too, whatever hide_parameters says.
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    engines = []
    for most, begin, query_only in (
        (1, sqlite_driver.WRITING, "OFF"),
        (SQLITE_READERS, "BEGIN", "ON"),
    ):
        kept = min(most, _KEPT_READERS)
        engine = create_async_engine(
            url,
            connect_args={} if "timeout" in url.query else {"timeout": SQLITE_WAIT_SECONDS},
            hide_parameters=True,
            max_overflow=most - kept,
            pool_reset_on_return=None,  # ours does it, where there is something to take back
            pool_size=kept,
            pool_timeout=SQLITE_WAIT_SECONDS,
        )
        _configure(engine, begin, query_only)
        engines.append(engine)
    return engines[0], engines[1]


def _configure(engine: "AsyncEngine", begin: str, query_only: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"query_only = {query_only}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        sqlite_driver.begin(connection, begin)

    @event.listens_for(engine.sync_engine, "reset")
    def on_reset(
        connection: DBAPIConnection, record: ConnectionPoolEntry, state: PoolResetState
    ) -> None:
        # Not safe: it is garbage, and will be closed.
        if state.asyncio_safe and sqlite_driver.may_be_in_transaction(record):
            connection.rollback()

    @event.listens_for(engine.sync_engine, "close")
    def on_close(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        sqlite_driver.abandon(connection)

    @event.listens_for(engine.sync_engine, "close_detached")
    def on_close_detached(connection: DBAPIConnection) -> None:
        sqlite_driver.abandon(connection)
