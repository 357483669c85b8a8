"""Tables of other systems, read whole and never written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    URL,
    Connection,
    Select,
    column,
    inspect,
    literal_column,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

from llm_service.errors import StorageUnavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

ForeignRow = Mapping[str, Any]
ForeignTables = Mapping[str, Sequence[ForeignRow]]


class ForeignDatabaseError(ValueError):
    """The address names no database this can read, or the tables are not there. No secrets."""


async def read_tables(
    dsn: str, wanted: Mapping[str, Sequence[str]], optional: Sequence[str] = ()
) -> ForeignTables:
    """All rows of the tables, in the order of their first column, as one moment saw them.

    Args:
        dsn: `sqlite:///path` or `postgresql://user:password@host/database`.
        wanted: by table, the columns it must have.
        optional: tables that may be missing, which is as if they were empty.

    Raises:
        ForeignDatabaseError: the DSN, a table or a column is not as expected.
        StorageUnavailable: the database does not answer.
    """
    engine = _engine(dsn)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_read, wanted, optional)
    except DBAPIError:
        # Not its words: a driver repeats the address, which may hold a password.
        raise StorageUnavailable("the database to import from does not answer") from None
    finally:
        await engine.dispose()


def _engine(dsn: str) -> "AsyncEngine":
    from sqlalchemy.ext.asyncio import create_async_engine

    try:
        url = make_url(dsn)
    except ArgumentError:
        raise ForeignDatabaseError("the DSN is no URL of a database") from None
    if url.get_backend_name() == "sqlite" and url.database:
        if not Path(url.database).is_file():
            raise ForeignDatabaseError("there is no such file of SQLite")
        return create_async_engine(_read_only_file(url), hide_parameters=True)
    if url.get_backend_name() == "postgresql":
        engine = create_async_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 10},
            hide_parameters=True,
        )
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    raise ForeignDatabaseError("the DSN must be sqlite:///path or postgresql://...")


def _read_only_file(url: URL) -> URL:
    """SQLite opens it to read, and makes none where there is none."""
    query = {**url.query, "mode": "ro", "uri": "true"}
    return url.set(drivername="sqlite+aiosqlite", database=f"file:{url.database}", query=query)


def _read(
    connection: Connection, wanted: Mapping[str, Sequence[str]], optional: Sequence[str]
) -> ForeignTables:
    inspector = inspect(connection)
    present = set(inspector.get_table_names())
    found: dict[str, Sequence[ForeignRow]] = {}
    for name, columns in wanted.items():
        if name not in present and name in optional:
            found[name] = ()
            continue
        if name not in present:
            raise ForeignDatabaseError(f"there is no table {name} in that database")
        everything: Select[Any] = select(literal_column("*")).select_from(table(name))
        known = set(connection.execute(everything.limit(0)).keys())
        if missing := [one for one in columns if one not in known]:
            raise ForeignDatabaseError(f"table {name} has no column {', '.join(missing)}")
        rows = connection.execute(everything.order_by(column(columns[0])))
        found[name] = [dict(row) for row in rows.mappings()]
    return found
