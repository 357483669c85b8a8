"""Sums of usage made from its records, for what sums by day do not answer."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Subquery,
    and_,
    case,
    column,
    exists,
    func,
    literal,
    literal_column,
    select,
    union_all,
    values,
)

from llm_service.domain.usage import UsageQuery
from llm_service.errors import InvalidField, Violation
from llm_service.storage.day_sums import METRICS, TOKENS
from llm_service.storage.durations import rounded
from llm_service.storage.expressions import Difference, JsonMember, Total, UtcDay
from llm_service.storage.tables import Time
from llm_service.storage.tables import usage_records as table

SERVED = "OK"
"""The outcome of an attempt that served; every other outcome is its error reason."""

LONGEST_ATTEMPT = timedelta(days=2)
"""More than an attempt, or a call, can take. Times differ by less; months are found by it."""

Piece = tuple[int, datetime, datetime]
"""The place of a bucket, and a part of its time."""

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


DIFFERENCE = case(
    (table.c.cost_incomplete, 0),
    else_=func.coalesce(Difference(table.c.reported_nano_usd, table.c.cost_nano_usd), 0),
)
"""As of `Cost`: 0 where one of the two is not known in full."""


def check(query: UsageQuery) -> None:
    """Raise InvalidField if it names a dimension there is not, or a value that cannot be."""
    for name in query.group_by:
        _dimension("group_by", name)
    for name, value in query.filters.items():
        _equals(name, value)


def cells(query: UsageQuery, pieces: Sequence[Piece]) -> Select[Any]:
    """Metrics by bucket and dimension."""
    calls = _calls(query, pieces).subquery("calls")
    group = [calls.c.bucket, *(calls.c[f"dimension_{i}"] for i in range(len(query.group_by)))]
    return select(
        *group,
        func.count().label("request_count"),
        func.count().filter(calls.c.unpriced_attempts > 0).label("unpriced_request_count"),
        *(Total(calls.c[name]).label(name) for name in METRICS[2:]),
    ).group_by(*group)


def _calls(query: UsageQuery, pieces: Sequence[Piece]) -> Select[Any]:
    """What the attempts of one call on one day come to, by bucket and dimension."""
    calendar = _calendar(pieces)
    group = [calendar.c.bucket, *_dimensions(query)]
    failed = table.c.error_reason != ""
    cost = func.coalesce(table.c.cost_nano_usd, 0)
    several = _several(query, pieces)
    same_call = and_(
        several.c.completion_id == table.c.completion_id, several.c.tenant == table.c.tenant
    )
    return (
        select(
            *group,
            func.count().filter(table.c.cost_incomplete).label("unpriced_attempts"),
            func.count().filter(failed).label("error_count"),
            func.count().filter(table.c.record_id > several.c.first).label("fallback_count"),
            # Of one call, and vendors' counts end at 31 bits.
            *(func.sum(func.coalesce(table.c[name], 0)).label(name) for name in TOKENS),
            Total(cost).label("cost_nano_usd"),
            Total(case((failed, cost), else_=0)).label("failed_attempt_nano_usd"),
            Total(func.coalesce(table.c.reported_nano_usd, 0)).label("reported_nano_usd"),
            Total(DIFFERENCE).label("reported_difference_nano_usd"),
        )
        .join_from(calendar, table, _within(calendar))
        .outerjoin(several, same_call)
        .where(*_matching(query, pieces))
        .group_by(*group, table.c.completion_id, UtcDay(table.c.create_time))
    )


def _several(query: UsageQuery, pieces: Sequence[Piece]) -> Subquery:
    """Calls of more than one attempt, and the first of each: fewer by far than attempts."""
    first, last = _ends(pieces)
    around = table.alias("around")
    conditions = [
        around.c.create_time >= first - LONGEST_ATTEMPT,
        around.c.create_time < last + LONGEST_ATTEMPT,
        around.c.start_time >= first - 2 * LONGEST_ATTEMPT,
        around.c.start_time < last + LONGEST_ATTEMPT,
    ]
    if query.tenant is not None:
        conditions.append(around.c.tenant == query.tenant)
    call = [around.c.tenant, around.c.completion_id]
    return (
        select(*call, func.min(around.c.record_id).label("first"))
        .where(*conditions)
        .group_by(*call)
        .having(func.count() > 1)
        .subquery("several")
    )


def spread(query: UsageQuery, pieces: Sequence[Piece]) -> Select[Any]:
    """How many attempts that served took how long, by bucket and dimension."""
    calendar = _calendar(pieces)
    group = [calendar.c.bucket, *_dimensions(query)]
    both = [rounded(table.c.duration_us), rounded(table.c.first_token_us)]
    pairs = (
        select(*group, both[0].label("duration"), both[1].label("first"), func.count().label("n"))
        .join_from(calendar, table, _within(calendar))
        .where(*_matching(query, pieces), table.c.error_reason == "")
        .group_by(*group, *both)
        .cte("pairs")
    )
    keys = [pairs.c.bucket, *(pairs.c[f"dimension_{i}"] for i in range(len(query.group_by)))]
    none = literal_column("0", BigInteger)
    lasted = select(
        *keys,
        pairs.c.duration.label("rounded_us"),
        pairs.c.n.label("duration_count"),
        none.label("first_token_count"),
    )
    began = select(*keys, pairs.c.first, none, pairs.c.n).where(pairs.c.first.is_not(None))
    return select(union_all(lasted, began).subquery("spread"))


def _dimension(parameter: str, name: str) -> ColumnElement[str]:
    if name in _DIMENSIONS:
        return _DIMENSIONS[name]
    key = name.removeprefix(_LABEL)
    if not name.startswith(_LABEL) or not key or "\0" in key:
        allowed = ", ".join([*_DIMENSIONS, "label.{key}"])
        raise InvalidField(Violation(parameter, f"knows no such dimension; there are: {allowed}"))
    return func.coalesce(JsonMember(table.c.labels, literal(key, String())), literal("", String()))


def _dimensions(query: UsageQuery) -> list[ColumnElement[str]]:
    return [
        _dimension("group_by", name).label(f"dimension_{i}")
        for i, name in enumerate(query.group_by)
    ]


def _equals(name: str, value: str) -> ColumnElement[bool]:
    if "\0" in value:
        raise InvalidField(Violation("filter", "holds a NUL character"))
    return _dimension("filter", name) == value


def _matching(query: UsageQuery, pieces: Sequence[Piece]) -> list[ColumnElement[bool]]:
    conditions = [_equals(name, value) for name, value in query.filters.items()]
    if query.tenant is not None:
        conditions.append(table.c.tenant == query.tenant)
    # For the planner, which sees no range in a join, and leaves out months by it.
    first, last = _ends(pieces)
    return [
        *conditions,
        table.c.create_time >= first,
        table.c.create_time < last,
        table.c.start_time >= first - LONGEST_ATTEMPT,
        # A clock may be put back while an attempt goes on: it then ends before it starts.
        table.c.start_time < last + LONGEST_ATTEMPT,
    ]


def follows(pieces: Sequence[Piece]) -> ColumnElement[bool]:
    """Whether the attempt was made after another of the same call."""
    earlier = table.alias("earlier")
    first, last = _ends(pieces)
    return exists().where(
        earlier.c.completion_id == table.c.completion_id,
        earlier.c.tenant == table.c.tenant,
        earlier.c.record_id < table.c.record_id,
        earlier.c.start_time >= first - 2 * LONGEST_ATTEMPT,
        earlier.c.start_time < last + LONGEST_ATTEMPT,
    )


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _ends(pieces: Sequence[Piece]) -> tuple[datetime, datetime]:
    return min(start for _, start, _ in pieces), max(end for *_, end in pieces)


def _calendar(pieces: Sequence[Piece]) -> CTE:
    columns = column("bucket", Integer), column("start_time", Time), column("end_time", Time)
    return values(*columns, name="pieces").data(list(pieces)).cte("pieces")


def _within(calendar: CTE) -> ColumnElement[bool]:
    return and_(
        table.c.create_time >= calendar.c.start_time, table.c.create_time < calendar.c.end_time
    )
