"""What moves in a database, in one small statement: who follows it reads more only when it does."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.storage.circuits import RECENT
from llm_service.storage.tables import circuits, config_counter, webhook_deliveries
from llm_service.storage.tables.columns import Time


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
    sqlite = connection.dialect.name == "sqlite"
    values = {"since": datetime.now(UTC) - RECENT} if sqlite else {}
    row = (await connection.execute(_SQLITE if sqlite else _POSTGRESQL, values)).one()
    return Pulse(row.generation, bool(row.circuits), bool(row.deliveries))


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


@cache
def message() -> str:
    """The look as one message to PostgreSQL, which makes one transaction of it."""
    from sqlalchemy.dialects import postgresql

    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    text = _POSTGRESQL.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return f"SELECT set_config('llm.tenant', '*', true); {text}"
