"""Usage reports: attempts added up by bucket and dimension.

Whole days and parts of days come from their sums where these know the dimensions, all else from the
records.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Row,
    Select,
    String,
    Subquery,
    cast,
    func,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.usage import UsageMetrics, UsageQuery, UsageRow
from llm_service.errors import InvalidField, Violation
from llm_service.storage import attempt_sums, buckets, day_sums, part_sums
from llm_service.storage.attempt_sums import Piece, midnight
from llm_service.storage.buckets import Bucket
from llm_service.storage.day_sums import METRICS, Cells, Days
from llm_service.storage.expressions import Total
from llm_service.storage.part_sums import Part
from llm_service.storage.patience import patience

MAX_ROWS = 50_000
"""Rows of one report. It is held in memory."""

_MOST, _LEAST = 2**63 - 1, -(2**63)  # what the contract holds
_WHOLE = -1  # the place of all buckets together
_BUCKETS_A_STATEMENT = 1_000  # up to nine bound values each; SQLite takes 32,766
_SECONDS = 30.0
_LIMITS = (
    text(f"SET LOCAL statement_timeout = {_SECONDS * 1000:.0f}"),  # longer than other statements
    text("SET LOCAL work_mem = '64MB'"),
    text("SET LOCAL jit = off"),
)
_DAY, _TICK = timedelta(days=1), timedelta(microseconds=1)
_MEASURES = ("duration", "first_token")
_PERCENTS = (50, 95)
_DURATIONS = tuple(f"{name}_p{percent}" for name in _MEASURES for percent in _PERCENTS)


class Sources(NamedTuple):
    """Where a report's numbers are from, bucket by bucket: nothing is in two of them."""

    days: Sequence[Days]
    parts: Sequence[Part]
    rest: Sequence[Piece]


async def run(
    connection: AsyncConnection, query: UsageQuery
) -> tuple[tuple[UsageRow, ...], UsageMetrics]:
    """What `UsageRecords.query` promises."""
    if query.start_time >= query.end_time:
        raise InvalidField(Violation("end_time", "is not after start_time"))
    where = buckets.zone(query.time_zone)
    cuts = buckets.cut(query.start_time, query.end_time, query.time_bucket, where)
    attempt_sums.check(query)
    if connection.dialect.name == "postgresql":
        for limit in _LIMITS:
            await connection.execute(limit)
    found: list[UsageRow] = []
    whole: list[UsageRow] = []
    with patience(_SECONDS):
        for first in range(0, len(cuts), _BUCKETS_A_STATEMENT):
            some = cuts[first : first + _BUCKETS_A_STATEMENT]
            rows, whole = await _rows(connection, query, some, MAX_ROWS - len(found))
            found += rows
        if len(cuts) > _BUCKETS_A_STATEMENT:
            one = [(cuts[0][0], cuts[-1][1])]
            _, whole = await _rows(connection, replace(query, group_by=()), one, 1)
    return tuple(found), whole[0].metrics if whole else UsageMetrics()


async def _rows(
    connection: AsyncConnection, query: UsageQuery, cuts: Sequence[Bucket], most: int
) -> tuple[list[UsageRow], list[UsageRow]]:
    """One row for each bucket and combination of dimensions in which something happened.

    And one for all of it, or none.
    """
    sources = await _sources(connection, query, cuts)
    found = list(await connection.execute(_metrics(query, sources).limit(most + 1)))
    if len(found) > most:
        raise InvalidField(Violation("group_by", f"makes more than {MAX_ROWS} rows"))
    width = 1 + len(query.group_by)
    span = await day_sums.span(connection, query, sources.days)
    durations = {
        tuple(row[:width]): dict(zip(_DURATIONS, map(_seconds, row[width:]), strict=True))
        for row in await connection.execute(_percentiles(query, sources, span))
    }
    rows = [_to_row(row, cuts, query, durations.get(tuple(row[:width]), {})) for row in found]
    every, all_cuts = replace(query, group_by=()), [(cuts[0][0], cuts[-1][1])]
    whole = await connection.execute(_metrics(every, await _sources(connection, every, all_cuts)))
    lasted = durations.get((_WHOLE, *("" for _ in query.group_by)), {})
    return rows, [_to_row(row, all_cuts, every, lasted) for row in whole]


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else int(microseconds) / 1_000_000


async def _sources(
    connection: AsyncConnection, query: UsageQuery, cuts: Sequence[Bucket]
) -> Sources:
    """The whole days of each bucket that there are sums of, parts of days, and the rest.

    Raises:
        InvalidField: of some of the rest there may be no records any more.
    """
    summed_from, kept_from = await day_sums.horizons(connection)
    known = day_sums.answers(query)
    days: list[Days] = []
    rest: list[Piece] = []
    for place, (start, end) in enumerate(cuts):
        first, last = max((start + _DAY - _TICK).date(), summed_from), end.date()
        if known and first < last:
            days.append((place, first, last))
            around = ((start, midnight(first)), (midnight(last), end))
            rest += [(place, *piece) for piece in around if piece[0] < piece[1]]
        else:
            rest.append((place, start, end))
    parts: Sequence[Part] = []
    if known:
        parts, rest = await part_sums.find(connection, query, rest, summed_from)
    if any(start < midnight(kept_from) for _, start, _ in rest):
        raise InvalidField(
            Violation(
                "start_time",
                f"is before {kept_from}, from when on records are kept; of earlier time there are "
                f"sums of whole days in UTC, by {', '.join(day_sums.DIMENSIONS)}",
            )
        )
    return Sources(days, parts, rest)


def _metrics(query: UsageQuery, sources: Sources) -> Select[Any]:
    found = [
        *([day_sums.cells(query, sources.days)] if sources.days else ()),
        *([part_sums.cells(query, sources.parts)] if sources.parts else ()),
        *([attempt_sums.cells(query, sources.rest)] if sources.rest else ()),
    ]
    cells = union_all(*found).subquery("cells")
    group = _group(query, cells)
    sums = (Total(cells.c[name]).label(name) for name in METRICS)
    return select(*group, *sums).group_by(*group).order_by(*group)


def _percentiles(query: UsageQuery, sources: Sources, span: Cells | None) -> Select[Any]:
    """The nearest ranks: the least value that so many per cent of all values do not exceed."""
    found = [
        *([day_sums.spread(query, sources.days, span)] if sources.days else ()),
        *([part_sums.spread(query, sources.parts)] if sources.parts else ()),
        *([attempt_sums.spread(query, sources.rest)] if sources.rest else ()),
    ]
    united = _with_whole(query, union_all(*found).subquery("parts"))
    steps = _ranked(query, united).subquery("ranked")
    group = _group(query, steps)
    return select(
        *group,
        *(
            func.min(steps.c.rounded_us)
            .filter(
                steps.c[f"{name}_all"] > 0,
                steps.c[f"{name}_rank"] * 100 >= steps.c[f"{name}_all"] * percent,
            )
            .label(f"{name}_p{percent}")
            for name in _MEASURES
            for percent in _PERCENTS
        ),
    ).group_by(*group)


def _ranked(query: UsageQuery, parts: Subquery) -> Select[Any]:
    """How many attempts took up to so long, and how many there are."""
    group = _group(query, parts)
    sums = {name: func.sum(parts.c[f"{name}_count"]) for name in _MEASURES}
    ranks = (
        func.sum(count).over(partition_by=group, order_by=parts.c.rounded_us).label(f"{name}_rank")
        for name, count in sums.items()
    )
    wholes = (
        func.sum(count).over(partition_by=group).label(f"{name}_all")
        for name, count in sums.items()
    )
    us = parts.c.rounded_us
    return select(*group, us, *ranks, *wholes).group_by(*group, us)


def _with_whole(query: UsageQuery, parts: Subquery) -> Subquery:
    """The steps of each group, and in a group of its own those of all: read once for both."""
    group, us = _group(query, parts), parts.c.rounded_us
    # PostgreSQL adds up 64-bit numbers as 128-bit ones, which takes longer; counts are exact.
    counts = [
        func.sum(cast(parts.c[f"{name}_count"], Double)).label(f"{name}_count")
        for name in _MEASURES
    ]
    steps = select(*group, us, *counts).group_by(*group, us).cte("steps")
    sums = [func.sum(steps.c[f"{name}_count"]) for name in _MEASURES]
    nothing = [literal_column("''", String) for _ in query.group_by]
    whole = select(literal_column(str(_WHOLE), Integer), *nothing, steps.c.rounded_us, *sums)
    return union_all(select(steps), whole.group_by(steps.c.rounded_us)).subquery("with_whole")


def _group(query: UsageQuery, source: Subquery) -> list[ColumnElement[Any]]:
    return [source.c.bucket, *(source.c[f"dimension_{i}"] for i in range(len(query.group_by)))]


def _to_row(
    row: Row[Any], cuts: Sequence[Bucket], query: UsageQuery, durations: dict[str, Any]
) -> UsageRow:
    start, end = cuts[row.bucket]
    dimensions: dict[str, str] = dict(zip(query.group_by, row[1:], strict=False))
    counts = {name: min(max(int(getattr(row, name)), _LEAST), _MOST) for name in METRICS}
    return UsageRow(start, end, dimensions, UsageMetrics(**{**durations, **counts}))
