"""Sums of parts of days, for days that begin at another time than in UTC. On PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    Date,
    Integer,
    Select,
    and_,
    case,
    column,
    func,
    select,
    true,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.usage import UsageQuery
from llm_service.storage import day_sums
from llm_service.storage.attempt_sums import LONGEST_ATTEMPT, Piece, midnight
from llm_service.storage.day_sums import METRICS
from llm_service.storage.tables import usage_day_parts as table
from llm_service.storage.tables import usage_days as days

EVERYBODY = "*"
"""In the place of a tenant: the sums of all of them."""

DENSE = 500
"""Attempts of a tenant on a day from which on it has sums of its own; fewer are soon read."""

END = 24 * 60
# The hours, in UTC, at whose half past and quarter past some zone has its midnight.
_HALVES = {2, 3, 9, 13, 14, 17, 18, 19, 20}
_QUARTERS = {10, 11, 15, 18}
STARTS = sorted(
    {
        *range(0, END, 60),
        *(hour * 60 + 30 for hour in _HALVES),
        *(hour * 60 + 15 for hour in _QUARTERS),
    }
)
"""The minutes at which parts begin: wherever some zone has its midnight.

Another one needs a migration that empties the table: the parts there are know nothing of it.
"""

Part = tuple[int, date, int, int]
"""The place of a bucket, and what it has of a day: from a minute until before another."""

Condition = ColumnElement[bool]


class Counts(NamedTuple):
    """How many attempts parts of a day know."""

    own: int
    nearby: int  # and of those before that its own may follow, counted when they were made


_DIMENSIONS = ("provider", "model")
_MOST_DAYS = 4  # of one piece: more only if there are no sums of days
_DAY = timedelta(days=1)
_CUTS = {*STARTS, END}
_UNNESTED = (
    column("rounded_us", BigInteger),
    column("duration_count", Integer),
    column("first_token_count", Integer),
)


async def find(
    connection: AsyncConnection, query: UsageQuery, rest: Sequence[Piece], summed_from: date
) -> tuple[list[Part], list[Piece]]:
    """What of the rest there are sums of, and what must be read from records."""
    if connection.dialect.name != "postgresql" or not _answers(query):
        return [], list(rest)
    parts: list[Part] = []
    left: list[Piece] = []
    for piece in rest:
        found = _by_day(piece)
        parts += found
        left += [] if found else [piece]
    whole = await _whole(connection, query.tenant, {day for _, day, *_ in parts}, summed_from)
    left += [_piece(part) for part in parts if part[1] not in whole]
    return [part for part in parts if part[1] in whole], left


def cells(query: UsageQuery, parts: Sequence[Part]) -> Select[Any]:
    """Metrics by bucket and dimension, several rows of each."""
    calendar, within = _calendar(parts)
    calls = day_sums.calls(query)
    counts = {"request_count": calls, "unpriced_request_count": f"unpriced_{calls}"}

    def metric(name: str) -> ColumnElement[int]:
        if name not in counts:
            return table.c[name]
        # From midnight on a call counts where it begins, until midnight where it ends: once.
        ends = (table.c[f"{end}_{counts[name]}"] for end in ("first", "last"))
        return case((calendar.c.start == 0, next(ends)), else_=next(ends))

    return (
        select(calendar.c.bucket, *_named(query), *(metric(name).label(name) for name in METRICS))
        .join_from(calendar, table, within)
        .where(*_matching(query, parts))
    )


def spread(query: UsageQuery, parts: Sequence[Part]) -> Select[Any]:
    """How many attempts that served took how long, by bucket and dimension."""
    calendar, within = _calendar(parts)
    arrays = (table.c.rounded_us, table.c.duration_counts, table.c.first_token_counts)
    steps = func.unnest(*arrays).table_valued(*_UNNESTED, name="steps", joins_implicitly=True)
    steps = steps.render_derived()
    return (
        select(calendar.c.bucket, *_named(query), *(steps.c[one.name] for one in _UNNESTED))
        .join_from(calendar, table, within)
        .join(steps, true())
        .where(*_matching(query, parts))
    )


async def attempts(
    connection: AsyncConnection, tenant: str | None, among: Callable[[Column[date]], Condition]
) -> tuple[dict[date, int], dict[date, Counts]]:
    """How many attempts the sums of each day know, and the sums of its parts."""
    own = func.sum(days.c.attempt_count)
    known = select(days.c.day, own).where(among(days.c.day)).group_by(days.c.day)
    if tenant is not None:
        known = known.where(days.c.tenant == tenant)
    divided = (
        select(table.c.day, func.sum(table.c.attempt_count), func.max(table.c.nearby_count))
        .where(among(table.c.day), table.c.tenant == (EVERYBODY if tenant is None else tenant))
        .group_by(table.c.day)
    )
    return (
        {day: int(count) for day, count in await connection.execute(known)},
        {
            day: Counts(int(count), int(nearby))
            for day, count, nearby in await connection.execute(divided)
        },
    )


def nearby(day: date) -> list[date]:
    """The day, and those before that its attempts may follow: a late one there tells of these."""
    return [day - timedelta(days=n) for n in range(LONGEST_ATTEMPT.days + 1)]


def counted(known: Mapping[date, int], day: date) -> Counts | None:
    """What parts of the day know that hold, for an attempt is never taken back; None: nothing."""
    near = sum(known.get(one, 0) for one in nearby(day))
    return Counts(known[day], near) if day in known else None


def _answers(query: UsageQuery) -> bool:
    return {*_DIMENSIONS} >= {*query.group_by, *query.filters}


def _by_day(piece: Piece) -> list[Part]:
    """The parts of days that make it up; none, if it cannot be made up of such."""
    place, start, end = piece
    parts: list[Part] = []
    while start < end and len(parts) < _MOST_DAYS:
        begin = midnight(start.date())
        until = min(end, begin + _DAY)
        first, last = (_minute(moment - begin) for moment in (start, until))
        if first is None or last is None or (first > 0 and last < END):
            return []
        parts.append((place, start.date(), first, last))
        start = until
    return parts if start == end else []


def _minute(since_midnight: timedelta) -> int | None:
    minutes, odd = divmod(since_midnight, timedelta(minutes=1))
    return None if odd or minutes not in _CUTS else minutes


def _piece(part: Part) -> Piece:
    place, day, first, last = part
    begin = midnight(day)
    return place, begin + timedelta(minutes=first), begin + timedelta(minutes=last)


async def _whole(
    connection: AsyncConnection, tenant: str | None, asked: set[date], summed_from: date
) -> set[date]:
    """Those of the days whose parts hold."""
    asked = {day for day in asked if day - summed_from >= LONGEST_ATTEMPT}
    looked = sorted({one for day in asked for one in nearby(day)})
    known, divided = await attempts(connection, tenant, lambda day: day.in_(looked))
    return {day for day in asked if divided.get(day) == counted(known, day)}


def _named(query: UsageQuery) -> list[ColumnElement[str]]:
    return [table.c[name].label(f"dimension_{i}") for i, name in enumerate(query.group_by)]


def _matching(query: UsageQuery, parts: Sequence[Part]) -> list[ColumnElement[bool]]:
    # The range of days is for the planner, which sees none in a join.
    return [
        *(table.c[name] == value for name, value in query.filters.items()),
        table.c.tenant == (EVERYBODY if query.tenant is None else query.tenant),
        table.c.day >= min(day for _, day, *_ in parts),
        table.c.day <= max(day for _, day, *_ in parts),
    ]


def _calendar(parts: Sequence[Part]) -> tuple[CTE, ColumnElement[bool]]:
    """What buckets have of days, and which sums are in that."""
    columns = column("bucket", Integer), column("day", Date)
    minutes = column("start", Integer), column("until", Integer)
    calendar = values(*columns, *minutes, name="parts").data(list(parts)).cte("parts")
    c = calendar.c
    return calendar, and_(table.c.day == c.day, table.c.minute >= c.start, table.c.minute < c.until)
