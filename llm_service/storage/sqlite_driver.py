"""SQLite's driver itself, for what is done for every batch of records.

Each thing asked of it goes to its thread and back, which costs 60 us of CPU; SQLAlchemy does that
three or four times for a statement: for a cursor, the statement, its rows and the cursor's end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Driver:
    """The driver's connection under one of SQLAlchemy's. Its errors are SQLAlchemy's."""

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:  # noqa: ANN401 - aiosqlite's
        self._dialect = connection.dialect
        self._driver = driver

    @classmethod
    async def of(cls, connection: AsyncConnection) -> "Driver":
        return cls(connection, (await connection.get_raw_connection()).driver_connection)

    async def execute(self, statement: str) -> None:
        with _translated(self._dialect):
            await self._driver.execute(statement)

    async def execute_many(self, statement: str, rows: "Iterable[Sequence[object]]") -> None:
        with _translated(self._dialect):
            await self._driver.executemany(statement, rows)

    async def scalars(self, statement: str, values: "Sequence[object]" = ()) -> list[Any]:
        """The first column of what a statement gives."""
        with _translated(self._dialect):
            found = await self._driver.execute_fetchall(statement, values)
        return [row[0] for row in found]


def begin(connection: Connection, statement: str) -> None:
    """Start a transaction."""
    adapted: Any = connection.connection.dbapi_connection
    with _translated(connection.dialect):
        adapted.run_async(lambda driver: driver.execute(statement))


@contextmanager
def _translated(dialect: Any) -> Iterator[None]:  # noqa: ANN401 - SQLAlchemy's
    try:
        yield
    except dialect.dbapi.Error as error:
        # Without the statement: its values may be secrets.
        raise DBAPIError.instance(
            None, None, error, dialect.dbapi.Error, hide_parameters=True, dialect=dialect
        ) from error
