"""The sums of a day made anew from its records, or held against them.

Otherwise triggers keep them: PostgreSQL's whoever inserts a record, SQLite's when the next batch of
records is stored as `usage_inserts` does. See the migrations 0020, 0022 and 0023.
"""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.storage import attempt_sums, day_sums
from llm_service.storage.day_sums import TOKENS
from llm_service.storage.durations import rounded
from llm_service.storage.expressions import Clamped, Total, UtcDay
from llm_service.storage.patience import patience
from llm_service.storage.tables import usage_bounds as bounds
from llm_service.storage.tables import usage_day_durations as durations
from llm_service.storage.tables import usage_days as table
from llm_service.storage.tables import usage_records as records
from llm_service.storage.tables.usage import SUMS
from llm_service.storage.usage_inserts import SQLITE_SUM

SECONDS = 120.0
"""How long the sums of one day may take."""

_LOCK = 0x6C6C6D5F73756D73  # that of the trigger
_CELL = ("day", "tenant", "agent", "interaction", "operation", "provider", "model")
LEVELS: dict[str, tuple[str, ...]] = {
    "call_count": (),
    "provider_call_count": ("provider",),
    "model_call_count": ("provider", "model"),
}
# Which of a call's attempts counts depends on the order they were stored in; that one does, not.
_ACROSS = {
    **{name: _CELL[:5] + level for name, level in LEVELS.items()},
    **{f"unpriced_{name}": _CELL[:5] + level for name, level in LEVELS.items()},
}

Figures = Counter[tuple[object, ...]]


class UsageDays:
    """Sums by day, as a whole: for every tenant."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def horizons(self) -> tuple[date, date]:
        """From which day on there are sums of all attempts, and from which on all records."""
        return await day_sums.horizons(self._connection)

    async def recorded(self) -> tuple[date, date] | None:
        """The first and the last day there are records of; None: there are none."""
        ends = select(func.min(records.c.create_time), func.max(records.c.create_time))
        first, last = (await self._connection.execute(ends)).one()
        return None if first is None else (first.date(), last.date())

    async def rebuild(self, day: date) -> None:
        """Make the day's sums anew. Whoever stores usage waits meanwhile."""
        with patience(SECONDS):
            await self._hold()
            own = select(table.c.cell).where(table.c.day == day)
            await self._connection.execute(delete(durations).where(durations.c.cell.in_(own)))
            await self._connection.execute(delete(table).where(table.c.day == day))
            cells = _cells(day)
            names = [column.name for column in cells.selected_columns]
            await self._connection.execute(insert(table).from_select(names, cells))
            spread = _spread(day)
            names = [column.name for column in spread.selected_columns]
            await self._connection.execute(insert(durations).from_select(names, spread))

    async def differences(self, day: date) -> int:
        """How many figures of the day's sums are not what its records add up to."""
        with patience(SECONDS):
            await self._hold()
            kept = await self._figures(select(table).where(table.c.day == day))
            kept += await self._steps(_kept_spread(day))
            made = await self._figures(_cells(day))
            made += await self._steps(_spread(day))
        return sum(kept[key] != made[key] for key in kept.keys() | made.keys())

    async def set_summed_from(self, day: date) -> None:
        await self._connection.execute(update(bounds).values(summed_from=day))

    async def set_kept_from(self, day: date) -> None:
        """There may be no records any more of days before; it only ever rises."""
        later = update(bounds).where(bounds.c.kept_from < day)
        await self._connection.execute(later.values(kept_from=day))

    async def _hold(self) -> None:
        """Nobody else changes sums until the end of this transaction."""
        if self._connection.dialect.name == "postgresql":
            await allow_time(self._connection)
            await self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        else:  # of a writer that does not sum up what it stores
            await self._connection.execute(text(SQLITE_SUM))

    async def _figures(self, cells: Select[Any]) -> Figures:
        found: Figures = Counter()
        for row in (await self._connection.execute(cells)).mappings():
            for name in SUMS:
                cell = tuple(str(row[one]) for one in _ACROSS.get(name, _CELL))
                found[name, *cell] += int(row[name])
        return found

    async def _steps(self, spread: Select[Any]) -> Figures:
        found: Figures = Counter()
        for row in await self._connection.execute(spread):
            found["duration_count", row.cell, row.rounded_us] = int(row.duration_count)
            found["first_token_count", row.cell, row.rounded_us] = int(row.first_token_count)
        return found


async def allow_time(connection: AsyncConnection) -> None:
    """On PostgreSQL: for what takes in a whole day, in this transaction."""
    await connection.execute(text(f"SET LOCAL statement_timeout = {SECONDS * 1000:.0f}"))
    await connection.execute(text("SET LOCAL work_mem = '64MB'"))
    # There are no statistics yet of a day just written, and the planner would take it for a row.
    await connection.execute(text("SET LOCAL enable_nestloop = off"))


def of_day(day: date) -> ColumnElement[bool]:
    # A clock may be put back over midnight while an attempt goes on: it then ends before it starts.
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    return and_(
        records.c.create_time >= start,
        records.c.create_time < end,
        records.c.start_time >= start - attempt_sums.LONGEST_ATTEMPT,
        records.c.start_time < end + attempt_sums.LONGEST_ATTEMPT,
    )


def _cells(day: date) -> Select[Any]:
    """What the records of a day come to, as rows of the table."""
    steps = _attempts(day).subquery("steps").c
    failed = steps.error_reason != ""
    cost = func.coalesce(steps.cost_nano_usd, 0)
    sums: dict[str, ColumnElement[int]] = {
        "attempt_count": func.count(),
        "error_count": func.count().filter(failed),
        "fallback_count": func.count().filter(steps.follows),
        **{name: Total(func.coalesce(steps[name], 0)) for name in TOKENS},
        "cost_nano_usd": Total(cost),
        "failed_attempt_nano_usd": Total(case((failed, cost), else_=0)),
        "reported_nano_usd": Total(func.coalesce(steps.reported_nano_usd, 0)),
        "reported_difference_nano_usd": Total(steps.difference),
        **{name: func.count().filter(steps[name] == 1) for name in LEVELS},
        **{
            f"unpriced_{name}": func.count().filter(
                steps.cost_incomplete, steps[f"unpriced_{name}"] == 1
            )
            for name in LEVELS
        },
    }
    cell = [steps[name] for name in _CELL]
    # As the triggers do.
    return select(*cell, *(Clamped(sums[name]).label(name) for name in SUMS)).group_by(*cell)


def _attempts(day: date) -> Select[Any]:
    """The records of a day, each with its place among those of its call."""
    start = datetime.combine(day, time(), UTC)
    call = [records.c.tenant, records.c.completion_id]
    places = {name: [*call, *(records.c[one] for one in level)] for name, level in LEVELS.items()}
    places |= {f"unpriced_{name}": [*of, records.c.cost_incomplete] for name, of in places.items()}
    return select(
        UtcDay(records.c.create_time).label("day"),
        *(records.c[name] for name in _CELL[1:]),
        *(records.c[name] for name in (*TOKENS, "cost_nano_usd", "cost_incomplete")),
        records.c.reported_nano_usd,
        attempt_sums.DIFFERENCE.label("difference"),
        records.c.error_reason,
        attempt_sums.follows([(0, start, start + timedelta(days=1))]).label("follows"),
        *(
            func.row_number().over(partition_by=of, order_by=records.c.record_id).label(name)
            for name, of in places.items()
        ),
    ).where(of_day(day))


def _spread(day: date) -> Select[Any]:
    """How long the attempts of a day took, as rows of the table; their cells are there."""
    one, none = literal_column("1", BigInteger), literal_column("0", BigInteger)
    lengths = (
        (rounded(records.c.duration_us), one, none),
        (rounded(records.c.first_token_us), none, one),
    )
    both = [
        select(
            table.c.cell,
            us.label("rounded_us"),
            lasted.label("duration_count"),
            began.label("first_token_count"),
        )
        .join_from(records, table, and_(*(table.c[name] == records.c[name] for name in _CELL[1:])))
        .where(of_day(day), table.c.day == day, records.c.error_reason == "", us.is_not(None))
        for us, lasted, began in lengths
    ]
    steps = both[0].union_all(both[1]).subquery("steps").c
    return select(
        steps.cell,
        steps.rounded_us,
        func.sum(steps.duration_count).label("duration_count"),
        func.sum(steps.first_token_count).label("first_token_count"),
    ).group_by(steps.cell, steps.rounded_us)


def _kept_spread(day: date) -> Select[Any]:
    return select(durations).join(table, table.c.cell == durations.c.cell).where(table.c.day == day)
