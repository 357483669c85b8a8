"""What monitors ask of usage records, and whose turn it is to ask."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.monitor import ProviderWindow, UnpricedModel
from llm_service.storage.tables import alert_monitor
from llm_service.storage.tables import usage_records as table

PERCENTILE = 95


class Monitor:
    """Sums over all tenants' records of the last windows, by an index on their time."""

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

    async def providers(
        self, start: datetime, window: timedelta, failures: Collection[str], slow_seconds: float
    ) -> tuple[ProviderWindow, ...]:
        """Every provider with attempts in the window from `start`, and in the next.

        `failures` are the error reasons that are the provider's own. What took less than
        `slow_seconds` is only counted: two windows may hold a hundred thousand records, and are
        looked at every few seconds; to order them took five times as long.
        """
        limit = round(slow_seconds * 1_000_000)
        served, later, waited = _attempt(start + window)
        statement = (
            select(
                table.c.provider,
                later.label("later"),
                func.count().filter(served).label("served"),
                func.count().filter(~served).label("failed"),
                func.count().filter(served & (waited >= limit)).label("slow"),
            )
            .where(table.c.create_time >= start, table.c.create_time < start + 2 * window)
            .where(served | table.c.error_reason.in_(failures))
            .group_by(table.c.provider, later)
        )
        found = (await self._connection.execute(statement)).all()
        return tuple(
            [
                ProviderWindow(
                    row.provider,
                    begins := start + window * row.later,
                    row.served,
                    row.failed,
                    await self._percentile(row, begins, begins + window, limit),
                )
                for row in found
            ]
        )

    async def _percentile(
        self, of: Row[Any], start: datetime, end: datetime, limit: int
    ) -> float | None:
        """The seconds that `PERCENTILE` percent waited at most; None: less than the limit."""
        place = -(-of.served * PERCENTILE // 100)
        faster = of.served - of.slow
        if not limit or place <= faster:
            return None
        served, _, waited = _attempt(end)
        statement = (
            select(waited)
            .where(table.c.create_time >= start, table.c.create_time < end)
            .where(table.c.provider == of.provider, served, waited >= limit)
            .order_by(waited)
            .limit(1)
            .offset(place - faster - 1)
        )
        slow_us: int | None = (await self._connection.execute(statement)).scalar()
        return None if slow_us is None else slow_us / 1_000_000

    async def unpriced(self, start: datetime, end: datetime) -> tuple[UnpricedModel, ...]:
        """The models that served without a whole price: start <= create_time < end."""
        statement = (
            select(table.c.model, func.count().label("attempts"))
            .where(table.c.create_time >= start, table.c.create_time < end)
            .where(table.c.cost_incomplete.is_(True), table.c.model != "")
            .group_by(table.c.model)
        )
        found = await self._connection.execute(statement)
        return tuple(UnpricedModel(row.model, row.attempts) for row in found)


def _attempt(
    turn: datetime,
) -> tuple[ColumnElement[bool], ColumnElement[int], ColumnElement[int]]:
    """Whether it served, whether that was after the turn (0 or 1), and how long it took."""
    return (
        table.c.error_reason == "",
        case((table.c.create_time >= turn, 1), else_=0),
        func.coalesce(table.c.first_token_us, table.c.duration_us),
    )
