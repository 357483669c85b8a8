"""What monitors ask of usage records, and whose turn it is to ask."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, func, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.monitor import AttemptCounts, Look, ProviderWindow
from llm_service.storage.attempt_sums import LONGEST_ATTEMPT
from llm_service.storage.tables import alert_monitor
from llm_service.storage.tables import usage_records as table

PERCENTILE = 95

_SERVED = table.c.error_reason == ""
_WAITED_US = func.coalesce(table.c.first_token_us, table.c.duration_us)


class Monitor:
    """Counts of all tenants' records of the last windows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def looked(self) -> datetime:
        """When a replica last took its turn."""
        found = await self._connection.execute(select(alert_monitor.c.look_time))
        looked: datetime = found.scalar_one()
        return looked

    async def take_turn(self, seen: datetime, now: datetime) -> bool:
        """Whether the turn is this replica's; False: another has taken it since `seen`."""
        statement = update(alert_monitor).where(alert_monitor.c.look_time == seen)
        return (await self._connection.execute(statement.values(look_time=now))).rowcount > 0

    async def attempts(
        self, look: Look, window: timedelta, failures: Collection[str], slow_seconds: float
    ) -> tuple[AttemptCounts, ...]:
        """What a look finds, by model and window, of whatever counts as one thing or another.

        `failures` are the error reasons that are the provider's own. An index serves both kinds of
        looks: that of record ids those with a cursor, that of create times those without.
        """
        middle, end = look.start + window, look.start + 2 * window
        # Of no column by itself: with a cursor the index of create times would lead to every
        # record of both windows, and be taken by a database that knows nothing of how many.
        place = case(
            (table.c.create_time < look.start, null()),
            (table.c.create_time < middle, 0),
            (table.c.create_time < end, 1),
        )
        counts = {
            "served": _SERVED,
            "failed": table.c.error_reason.in_(failures),
            "slow": _is_slow(slow_seconds),
            "unpriced": table.c.cost_incomplete.is_(True) & (table.c.model != ""),
        }
        group = table.c.provider, table.c.model, place.label("place")
        statement = (
            select(*group, *(func.count().filter(one).label(name) for name, one in counts.items()))
            .where(_started_near(look.start, end), table.c.record_id < look.end)
            .where(
                and_(table.c.record_id >= look.cursor, place.is_not(None))
                if look.cursor
                else and_(table.c.create_time >= look.start, table.c.create_time < end)
            )
            .group_by(*group)
        )
        return tuple(
            AttemptCounts(
                row.provider,
                row.model,
                look.start + window * row.place,
                *(getattr(row, name) for name in counts),
            )
            for row in await self._connection.execute(statement)
        )

    async def slow(
        self, of: ProviderWindow, window: timedelta, slow_seconds: float, end: str
    ) -> float | None:
        """The seconds that `PERCENTILE` percent waited at most; None: less than `slow_seconds`.

        Asked of the database only where so many were counted as slow. `end` is that of the look.
        """
        at_most = -(-of.served * PERCENTILE // 100)
        if not slow_seconds or at_most <= of.served - of.slow:
            return None
        first, last = of.window_start_time, of.window_start_time + window
        statement = (
            select(_WAITED_US)
            .where(table.c.create_time >= first, table.c.create_time < last)
            .where(_started_near(first, last), table.c.record_id < end)
            .where(table.c.provider == of.provider, _is_slow(slow_seconds))
            # From the slowest on, which are few. A record that came too late to be counted, or was
            # deleted since, moves the place by one, and nothing else.
            .order_by(_WAITED_US.desc())
            .limit(1)
            .offset(of.served - at_most)
        )
        slow_us: int | None = (await self._connection.execute(statement)).scalar()
        return None if slow_us is None else slow_us / 1_000_000


def _started_near(start: datetime, end: datetime) -> ColumnElement[bool]:
    """True of every record created between; by it PostgreSQL leaves out the other months."""
    return and_(
        table.c.start_time >= start - LONGEST_ATTEMPT,
        table.c.start_time < end + LONGEST_ATTEMPT,
    )


def _is_slow(seconds: float) -> ColumnElement[bool]:
    """Whether it served, and was waited for so long."""
    limit_us = round(seconds * 1_000_000)
    return and_(_SERVED, limit_us <= _WAITED_US)
