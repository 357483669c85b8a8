"""What moves in a database, in one small statement: who follows it reads more only when it does."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.storage import sqlite_driver
from llm_service.storage.circuits import RECENT
from llm_service.storage.sqlite_driver import Driver
from llm_service.storage.tables import circuits, config_counter, webhook_deliveries
from llm_service.storage.tables.columns import Time

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True)
class Pulse:
    """What one look saw.

    Attributes:
        generation: of the last change of configuration; a smaller one than before: the database was
            put back.
        circuits: whether any was told of lately.
        deliveries: whether any waits for its receiver, now or later.
    """

    generation: int
    circuits: bool
    deliveries: bool


async def look(connection: AsyncConnection) -> Pulse:
    if connection.dialect.name == "sqlite":
        return await (await Driver.of(connection)).run(_look)
    row = (await connection.execute(_POSTGRESQL)).one()
    return Pulse(row.generation, row.circuits, row.deliveries)


async def look_alone(engine: "AsyncEngine") -> Pulse:
    """As `look`, at SQLite, in a transaction of its own and in one trip."""
    return await sqlite_driver.run(engine, _look)


def _look(connection: "sqlite3.Connection") -> Pulse:
    return _seen(datetime.now(UTC) - RECENT, connection)


def _seen(since: datetime, connection: "sqlite3.Connection") -> Pulse:
    """`since` is in UTC."""
    rows = connection.execute(_on_sqlite(), (since.strftime(_INSTANT),))
    [(generation, circuits, deliveries)] = rows  # all of them: more would keep it a transaction
    return Pulse(generation, bool(circuits), bool(deliveries))


def _statement(since: ColumnElement[datetime]) -> Select[tuple[int, bool, bool]]:
    waiting = webhook_deliveries.c.next_attempt_time.is_not(None)
    return select(
        select(config_counter.c.generation).scalar_subquery().label("generation"),
        exists().where(circuits.c.change_time >= since).label("circuits"),
        exists().where(waiting).label("deliveries"),
    )


# Made once: to build a statement costs more than to run it. By the clock that tells of circuits.
_SQLITE = _statement(bindparam("since", type_=Time()))
_POSTGRESQL = _statement(func.now() - RECENT)
_INSTANT = "%Y-%m-%d %H:%M:%S.%f"  # as SQLAlchemy has SQLite keep it


@cache
def message() -> str:
    """The look as one message to PostgreSQL, which makes one transaction of it."""
    from sqlalchemy.dialects import postgresql

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    text = _POSTGRESQL.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return f"SELECT set_config('llm.tenant', '*', true); {text}"


@cache
def _on_sqlite() -> str:
    """The look as SQLite's driver takes it."""
    from sqlalchemy.dialects import sqlite

    return str(_SQLITE.compile(dialect=sqlite.dialect()))
