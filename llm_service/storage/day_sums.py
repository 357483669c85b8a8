"""Sums of usage by day: what a report takes from them instead of adding up attempts."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Date,
    Integer,
    Select,
    and_,
    column,
    func,
    select,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.usage import UsageQuery
from llm_service.storage.tables import usage_bounds as bounds
from llm_service.storage.tables import usage_day_durations as durations
from llm_service.storage.tables import usage_days as table

Days = tuple[int, date, date]
"""The place of a bucket, and days of it: from the first until before the second."""

Cells = tuple[int, int]

_DENSE = 4  # all of a month are read in half the time at once, one in twenty in twice the time
_MOST_DAYS = 4_000  # three bound values each; SQLite takes 32,766

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
    calendar, within_bucket = _calendar(days)
    calls_ = calls(query)
    counts = {"request_count": calls_, "unpriced_request_count": f"unpriced_{calls_}"}
    return (
        select(
            calendar.c.bucket,
            *_dimensions(query),
            *(table.c[counts.get(name, name)].label(name) for name in METRICS),
        )
        .join_from(calendar, table, within_bucket)
        .where(*_matching(query, days))
    )


async def span(
    connection: AsyncConnection, query: UsageQuery, days: Sequence[Days]
) -> Cells | None:
    """The first and the last cell that the query takes in, if it takes in many of those between.

    Cells are numbered as they come, so those of a month lie together: PostgreSQL then reads that
    part of the durations at once. Of few it finds each; days made anew lie elsewhere.
    """
    if not days or connection.dialect.name != "postgresql":
        return None
    cell = table.c.cell
    ends = select(func.min(cell), func.max(cell), func.count()).where(*_matching(query, days))
    first, last, count = (await connection.execute(ends)).one()
    return (first, last) if count and count * _DENSE > last - first else None


def spread(query: UsageQuery, days: Sequence[Days], within: Cells | None) -> Select[Any]:
    """How many attempts that served took how long, by bucket and dimension.

    `within`: as `span` says of them.
    """
    calendar, within_bucket = _calendar(days)
    found = (
        select(
            calendar.c.bucket,
            *_dimensions(query),
            durations.c.rounded_us,
            durations.c.duration_count,
            durations.c.first_token_count,
        )
        .join_from(calendar, table, within_bucket)
        .join(durations, durations.c.cell == table.c.cell)
        .where(*_matching(query, days))
    )
    return found if within is None else found.where(durations.c.cell.between(*within))


def calls(query: UsageQuery) -> str:
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


def _calendar(days: Sequence[Days]) -> tuple[CTE, ColumnElement[bool]]:
    """The buckets of days, and which sums are in one: a row a day, found by equality, if few."""
    columns = column("bucket", Integer), column("first_day", Date), column("end_day", Date)
    if sum((end - first).days for _, first, end in days) <= _MOST_DAYS:
        each = [
            (place, first + timedelta(n), first + timedelta(n + 1))
            for place, first, end in days
            for n in range((end - first).days)
        ]
        calendar = values(*columns, name="days").data(each).cte("days")
        return calendar, table.c.day == calendar.c.first_day
    calendar = values(*columns, name="days").data(list(days)).cte("days")
    return calendar, and_(table.c.day >= calendar.c.first_day, table.c.day < calendar.c.end_day)
