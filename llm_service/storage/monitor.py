"""What monitors ask of usage records, and whose turn it is to ask."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, case, func, select, update
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
        self, start: datetime, window: timedelta, failures: Collection[str]
    ) -> tuple[ProviderWindow, ...]:
        """Every provider with attempts in the window from `start`, and in the next.

        `failures` are the error reasons that are the provider's own.
        """
        cells = _attempts(start, window, failures).subquery().c
        slow = func.min(cells.waited).filter(cells.place * 100 >= cells.waits * PERCENTILE)
        statement = select(
            cells.provider,
            cells.later,
            func.count().filter(cells.served).label("served"),
            func.count().filter(~cells.served).label("failed"),
            slow.label("slow_us"),
        ).group_by(cells.provider, cells.later)
        return tuple(
            ProviderWindow(
                row.provider,
                start + window * row.later,
                row.served,
                row.failed,
                None if row.slow_us is None else row.slow_us / 1_000_000,
            )
            for row in await self._connection.execute(statement)
        )

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


def _attempts(start: datetime, window: timedelta, failures: Collection[str]) -> Select[Any]:
    """What counts of two windows, each attempt with its place by how long it was waited for."""
    served = table.c.error_reason == ""
    later = case((table.c.create_time >= start + window, 1), else_=0)
    waited = case((served, func.coalesce(table.c.first_token_us, table.c.duration_us)))
    group = [table.c.provider, later]
    ranked = func.row_number().over(partition_by=group, order_by=waited.nulls_last())
    return (
        select(
            table.c.provider,
            later.label("later"),
            served.label("served"),
            waited.label("waited"),
            ranked.label("place"),
            func.count(waited).over(partition_by=group).label("waits"),
        )
        .where(table.c.create_time >= start, table.c.create_time < start + 2 * window)
        .where(served | table.c.error_reason.in_(failures))
    )
