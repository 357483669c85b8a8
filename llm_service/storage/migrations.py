"""The schema's versions: bringing a database up to date, and refusing one we do not know.

Alembic is imported only while it is used: a server that is up does not carry it in memory.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    URL,
    Connection,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from llm_service.errors import StorageUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = (
    *("0001", "0002", "0003", "0005", "0006", "0007", "0008", "0009", "0010", "0011"),
    *("0012", "0013", "0014", "0015", "0017", "0018", "0019", "0020", "0021", "0022", "0023"),
)
"""Every revision this code knows, oldest first."""

WAIT_SECONDS = 60
"""How long one migration waits for another to end."""

LOCK_SECONDS = 2.0
"""How long a migration waits for a table: whoever queues behind it waits too."""

PAUSE_SECONDS = 1.0
"""Between two attempts to get a table's lock."""

_POLL_SECONDS = 0.05

_LOCK_NOT_AVAILABLE = "55P03"
_ADVISORY_LOCK = 0x6C6C6D5F73766331  # "llm_svc1"


class SchemaError(Exception):
    """The database's schema is not the one this code was written for."""


class SchemaOutdated(SchemaError):
    """The database has no schema yet, or an older one: migrate it."""


class SchemaMissing(SchemaOutdated):
    """The database has no schema yet."""


class SchemaNewer(SchemaError):
    """A newer release has migrated the database: run that release."""


def head() -> str:
    """The revision this code needs."""
    return REVISIONS[-1]


def require(revision: str | None) -> None:
    """Raise SchemaError unless a database at `revision` (None: without a schema) is at `head()`."""
    if revision is None:
        raise SchemaMissing("the database has no schema yet: run llm-service migrate")
    if revision not in REVISIONS:
        raise SchemaNewer(
            f"the database is at schema {revision}, which this release does not know; "
            f"it knows schemas up to {head()}"
        )
    if revision != head():
        raise SchemaOutdated(
            f"the database is at schema {revision} and this release needs {head()}: "
            "run llm-service migrate"
        )


def upgrade(url: str) -> None:
    """Bring the database up to `head()`. Blocks; safe to run from several processes at once.

    Raises:
        SchemaNewer: a newer release has migrated it.
        StorageUnavailable: it does not answer, or others hold it too long.
    """
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return _upgrade(url)
        except StorageUnavailable as error:
            # It got no lock in two seconds and let others pass; what is done already stays done.
            if not _was_locked_out(error) or time.monotonic() > until:
                raise
        time.sleep(PAUSE_SECONDS)  # noqa: TID251 - a migration blocks


def _upgrade(url: str) -> None:
    from alembic import command

    with _exclusively(url) as connection:
        if (revision := _revision(connection)) is not None and revision not in REVISIONS:
            require(revision)
        command.upgrade(_config(connection), "head")


def downgrade(url: str, revision: str) -> None:
    """Go back to `revision`, or to "base": nothing. What newer tables held is lost.

    Raises:
        StorageUnavailable: it does not answer, or others hold it too long.
    """
    from alembic import command

    with _exclusively(url) as connection:
        command.downgrade(_config(connection), revision)


def check(url: str) -> None:
    """Raise SchemaError if `tables.METADATA` and the migrated database differ."""
    from alembic.util import CommandError

    from alembic import command

    with _exclusively(url) as connection:
        try:
            command.check(_config(connection))
        except CommandError as error:
            raise SchemaError(str(error)) from error


@contextmanager
def _exclusively(url: str) -> Iterator[Connection]:
    """A connection with a lock that keeps other migrations out until the block ends."""
    target = make_url(url)
    run = _on_sqlite if target.get_backend_name() == "sqlite" else _on_postgresql
    try:
        with run(target) as connection:
            yield connection
    except OperationalError as error:
        raise StorageUnavailable("the database does not answer, or is locked") from error


@contextmanager
def _on_sqlite(target: URL) -> Iterator[Connection]:
    """All of it in one transaction that locks the file."""
    engine = create_engine(
        target.set(drivername="sqlite"),
        connect_args={"timeout": WAIT_SECONDS, "isolation_level": None},
        hide_parameters=True,
        poolclass=NullPool,
    )
    event.listen(engine, "connect", _write_ahead)
    event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        yield connection


def _write_ahead(connection: sqlite3.Connection, _record: object) -> None:
    """Put the file into the mode that all connections want, before there are several.

    SQLite has nobody wait for the lock that this takes, not even for its own time-out.
    """
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
        time.sleep(_POLL_SECONDS)  # noqa: TID251 - a migration blocks


@contextmanager
def _on_postgresql(target: URL) -> Iterator[Connection]:
    """An advisory lock of the session's, so that each migration has a transaction of its own.

    A migration that must wait for a table gives up after `LOCK_SECONDS`.
    """
    engine = create_engine(
        target, connect_args={"connect_timeout": 5}, hide_parameters=True, poolclass=NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")  # the URL's is for the service
        connection.exec_driver_sql(f"SET lock_timeout = '{WAIT_SECONDS}s'")
        connection.execute(select(func.pg_advisory_lock(_ADVISORY_LOCK)))
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        connection.exec_driver_sql("SET llm.tenant = '*'")  # a migration changes everybody's rows
        connection.commit()
        yield connection


def _was_locked_out(error: StorageUnavailable) -> bool:
    cause = error.__cause__
    return getattr(getattr(cause, "orig", None), "sqlstate", "") == _LOCK_NOT_AVAILABLE


def _revision(connection: Connection) -> str | None:
    found = None
    if inspect(connection).has_table("alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if connection.dialect.name == "postgresql":
        connection.rollback()  # Alembic begins its own transactions
    return found


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config(stdout=StringIO())
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _scripts() -> Path:
    """The migrations: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).parent
    installed = here / "alembic"
    return installed if installed.is_dir() else here.parent.parent / "alembic"
