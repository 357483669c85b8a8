"""Sums of usage by day: what a report takes from them instead of adding up attempts."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import CTE, ColumnElement, Date, Integer, Select, and_, column, select, values
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.usage import UsageQuery
from llm_service.storage.tables import usage_bounds as bounds
from llm_service.storage.tables import usage_day_durations as durations
from llm_service.storage.tables import usage_days as table

Days = tuple[int, date, date]
"""The place of a bucket, and days of it: from the first until before the second."""

TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
)
METRICS = (
    "request_count",
    "unpriced_request_count",
    "error_count",
    "fallback_count",
    *TOKENS,
    "cost_nano_usd",
    "failed_attempt_nano_usd",
    "reported_nano_usd",
    "reported_difference_nano_usd",
)
"""What adds up. A call that goes on past midnight counts on either day, and so do the requests."""

DIMENSIONS: dict[str, ColumnElement[str]] = {
    name: table.c[name]
    for name in ("tenant", "agent", "interaction", "operation", "provider", "model")
}
"""What the sums are kept by."""


async def horizons(connection: AsyncConnection) -> tuple[date, date]:
    """From which day on there are sums of all attempts, and from which on all records."""
    row = (await connection.execute(select(bounds.c.summed_from, bounds.c.kept_from))).one()
    return row.summed_from, row.kept_from


def answers(query: UsageQuery) -> bool:
    """Whether the sums know all that the query asks for."""
    return DIMENSIONS.keys() >= {*query.group_by, *query.filters}


def cells(query: UsageQuery, days: Sequence[Days]) -> Select[Any]:
    """Metrics by bucket and dimension, several rows of each."""
    calendar = _calendar(days)
    calls = _calls(query)
    counts = {"request_count": calls, "unpriced_request_count": f"unpriced_{calls}"}
    return (
        select(
            calendar.c.bucket,
            *_dimensions(query),
            *(table.c[counts.get(name, name)].label(name) for name in METRICS),
        )
        .join_from(calendar, table, _within(calendar))
        .where(*_matching(query, days))
    )


def spread(query: UsageQuery, days: Sequence[Days]) -> Select[Any]:
    """How many attempts that served took how long, by bucket and dimension."""
    calendar = _calendar(days)
    return (
        select(
            calendar.c.bucket,
            *_dimensions(query),
            durations.c.rounded_us,
            durations.c.duration_count,
            durations.c.first_token_count,
        )
        .join_from(calendar, table, _within(calendar))
        .join(durations, durations.c.cell == table.c.cell)
        .where(*_matching(query, days))
    )


def _calls(query: UsageQuery) -> str:
    """A call may go to several providers and models: which count has it once in each group."""
    named = {*query.group_by, *query.filters}
    if "model" in named:
        return "model_call_count"
    return "provider_call_count" if "provider" in named else "call_count"


def _dimensions(query: UsageQuery) -> list[ColumnElement[str]]:
    return [DIMENSIONS[name].label(f"dimension_{i}") for i, name in enumerate(query.group_by)]


def _matching(query: UsageQuery, days: Sequence[Days]) -> list[ColumnElement[bool]]:
    conditions = [DIMENSIONS[name] == value for name, value in query.filters.items()]
    if query.tenant is not None:
        conditions.append(table.c.tenant == query.tenant)
    # For the planner, which sees no range in a join.
    first, last = min(day for _, day, _ in days), max(day for *_, day in days)
    return [*conditions, table.c.day >= first, table.c.day < last]


def _calendar(days: Sequence[Days]) -> CTE:
    columns = column("bucket", Integer), column("first_day", Date), column("end_day", Date)
    return values(*columns, name="days").data(list(days)).cte("days")


def _within(calendar: CTE) -> ColumnElement[bool]:
    return and_(table.c.day >= calendar.c.first_day, table.c.day < calendar.c.end_day)
