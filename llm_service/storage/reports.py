"""Usage reports: attempts added up by bucket and dimension."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Row,
    Select,
    String,
    and_,
    case,
    column,
    exists,
    func,
    literal,
    null,
    select,
    text,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.usage import UsageMetrics, UsageQuery, UsageRow
from llm_service.errors import InvalidField, Violation
from llm_service.storage import buckets
from llm_service.storage.buckets import Bucket
from llm_service.storage.expressions import JsonMember
from llm_service.storage.tables import Time
from llm_service.storage.tables import usage_records as table

SERVED = "OK"
"""The outcome of an attempt that served; every other outcome is its error reason."""

MAX_ROWS = 50_000
"""Rows of one report. It is held in memory."""

_BUCKETS_A_STATEMENT = 1_000  # three bound values each; SQLite takes 32,766
_TIMEOUT = text("SET LOCAL statement_timeout = '30s'")
_LABEL = "label."
_DIMENSIONS: dict[str, ColumnElement[str]] = {
    "tenant": table.c.tenant,
    "agent": table.c.agent,
    "user": table.c.user_id,
    "interaction": table.c.interaction,
    "session": table.c.session,
    "provider": table.c.provider,
    "model": table.c.model,
    "credential": table.c.credential,
    "operation": table.c.operation,
    "outcome": case((table.c.error_reason == "", SERVED), else_=table.c.error_reason),
}
_SUMS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
    "cost_nano_usd",
    "reported_nano_usd",
    "reported_difference_nano_usd",
)
# As of `Cost`: NULL where one of the two is not known in full.
_DIFFERENCE = case(
    (table.c.cost_incomplete, null()), else_=table.c.reported_nano_usd - table.c.cost_nano_usd
)
_COUNTS = (
    "request_count",
    "error_count",
    "fallback_count",
    "failed_attempt_nano_usd",
    "unpriced_request_count",
)
_DURATIONS = ("duration_p50", "duration_p95", "first_token_p50", "first_token_p95")


async def run(
    connection: AsyncConnection, query: UsageQuery
) -> tuple[tuple[UsageRow, ...], UsageMetrics]:
    """What `UsageRecords.query` promises."""
    if query.start_time >= query.end_time:
        raise InvalidField(Violation("end_time", "is not after start_time"))
    where = buckets.zone(query.time_zone)
    cuts = buckets.cut(query.start_time, query.end_time, query.time_bucket, where)
    matching = [_equals(name, value) for name, value in query.filters.items()]
    if query.tenant is not None:
        matching.append(table.c.tenant == query.tenant)
    dimensions = [_dimension("group_by", name) for name in query.group_by]
    if connection.dialect.name == "postgresql":
        await connection.execute(_TIMEOUT)  # reports may take longer than other statements
    found: list[UsageRow] = []
    for first in range(0, len(cuts), _BUCKETS_A_STATEMENT):
        some = cuts[first : first + _BUCKETS_A_STATEMENT]
        statement = _statement(some, dimensions, matching).limit(MAX_ROWS + 1 - len(found))
        found += [_to_row(row, some, query.group_by) for row in await connection.execute(statement)]
        if len(found) > MAX_ROWS:
            raise InvalidField(Violation("group_by", f"makes more than {MAX_ROWS} rows"))
    whole = _statement([(cuts[0][0], cuts[-1][1])], [], matching)
    total = (await connection.execute(whole)).first()
    return tuple(found), UsageMetrics() if total is None else _to_metrics(total)


def _dimension(parameter: str, name: str) -> ColumnElement[str]:
    if name in _DIMENSIONS:
        return _DIMENSIONS[name]
    key = name.removeprefix(_LABEL)
    if not name.startswith(_LABEL) or not key or "\0" in key:
        allowed = ", ".join([*_DIMENSIONS, "label.{key}"])
        raise InvalidField(Violation(parameter, f"knows no such dimension; there are: {allowed}"))
    return func.coalesce(JsonMember(table.c.labels, literal(key, String())), literal("", String()))


def _equals(name: str, value: str) -> ColumnElement[bool]:
    if "\0" in value:
        raise InvalidField(Violation("filter", "holds a NUL character"))
    return _dimension("filter", name) == value


def _statement(
    cuts: Sequence[Bucket],
    dimensions: Sequence[ColumnElement[str]],
    matching: Sequence[ColumnElement[bool]],
) -> Select[Any]:
    """One row for each bucket and combination of dimensions in which something happened."""
    attempts = _attempts(cuts, dimensions, matching).subquery("attempts")
    cells = attempts.c
    group = [cells.bucket, *(cells[f"dimension_{i}"] for i in range(len(dimensions)))]
    failed = cells.error_reason != ""
    completions = func.count(cells.completion_id.distinct())
    return (
        select(
            *group,
            completions.label("request_count"),
            func.count().filter(failed).label("error_count"),
            func.count().filter(cells.fallback).label("fallback_count"),
            *(func.coalesce(func.sum(cells[name]), 0).label(name) for name in _SUMS),
            func.coalesce(func.sum(cells.cost_nano_usd).filter(failed), 0).label(
                "failed_attempt_nano_usd"
            ),
            completions.filter(cells.cost_incomplete).label("unpriced_request_count"),
            *_percentiles(cells.duration_us, cells.duration_rank, cells.duration_count, "duration"),
            *_percentiles(
                cells.first_token_us,
                cells.first_token_rank,
                cells.first_token_count,
                "first_token",
            ),
        )
        .group_by(*group)
        .order_by(*group)
    )


def _attempts(
    cuts: Sequence[Bucket],
    dimensions: Sequence[ColumnElement[str]],
    matching: Sequence[ColumnElement[bool]],
) -> Select[Any]:
    """The matching attempts, each with its bucket and its rank by duration among its group."""
    calendar = _calendar(cuts)
    earlier = table.alias("earlier")
    fallback = exists().where(
        earlier.c.completion_id == table.c.completion_id,
        earlier.c.tenant == table.c.tenant,
        earlier.c.record_id < table.c.record_id,
    )
    group = [calendar.c.bucket, *dimensions]
    duration, first_token = table.c.duration_us, table.c.first_token_us
    ranked = func.row_number().over(partition_by=group, order_by=duration)
    first_ranked = func.row_number().over(partition_by=group, order_by=first_token.nulls_last())
    return (
        select(
            calendar.c.bucket,
            *(dimension.label(f"dimension_{i}") for i, dimension in enumerate(dimensions)),
            *(table.c[name] for name in ("completion_id", "error_reason", "cost_incomplete")),
            *(table.c[name] for name in _SUMS if name in table.c),
            _DIFFERENCE.label("reported_difference_nano_usd"),
            fallback.label("fallback"),
            duration,
            ranked.label("duration_rank"),
            func.count(duration).over(partition_by=group).label("duration_count"),
            first_token,
            first_ranked.label("first_token_rank"),
            func.count(first_token).over(partition_by=group).label("first_token_count"),
        )
        .join_from(calendar, table, _within(calendar))
        .where(*matching)
    )


def _calendar(cuts: Sequence[Bucket]) -> CTE:
    columns = column("bucket", Integer), column("start_time", Time), column("end_time", Time)
    return (
        values(*columns, name="calendar")
        .data([(place, start, end) for place, (start, end) in enumerate(cuts)])
        .cte("calendar")
    )


def _within(calendar: CTE) -> ColumnElement[bool]:
    return and_(
        table.c.create_time >= calendar.c.start_time, table.c.create_time < calendar.c.end_time
    )


def _percentiles(
    value: ColumnElement[int], rank: ColumnElement[int], count: ColumnElement[int], name: str
) -> list[ColumnElement[int]]:
    """The nearest ranks: the least value that so many per cent of all values do not exceed."""
    return [
        func.min(value).filter(rank * 100 >= count * percent).label(f"{name}_p{percent}")
        for percent in (50, 95)
    ]


def _to_row(row: Row[Any], cuts: Sequence[Bucket], group_by: Sequence[str]) -> UsageRow:
    start, end = cuts[row.bucket]
    dimensions: dict[str, str] = dict(zip(group_by, row[1:], strict=False))
    return UsageRow(start, end, dimensions, _to_metrics(row))


def _to_metrics(row: Row[Any]) -> UsageMetrics:
    values: dict[str, Any] = {name: int(getattr(row, name)) for name in (*_COUNTS, *_SUMS)}
    for name in _DURATIONS:
        microseconds = getattr(row, name)
        values[name] = None if microseconds is None else microseconds / 1_000_000
    return UsageMetrics(**values)
