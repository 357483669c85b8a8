"""The sums of parts of a day, made from its records once it is over. On PostgreSQL."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Date,
    Integer,
    Select,
    String,
    and_,
    case,
    cast,
    delete,
    extract,
    func,
    insert,
    literal,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.storage import attempt_sums, part_sums
from llm_service.storage.attempt_sums import LONGEST_ATTEMPT
from llm_service.storage.day_sums import TOKENS
from llm_service.storage.durations import rounded
from llm_service.storage.expressions import Clamped, Total
from llm_service.storage.patience import patience
from llm_service.storage.tables import usage_day_parts as table
from llm_service.storage.tables import usage_days as days
from llm_service.storage.tables import usage_records as records
from llm_service.storage.tables.usage import PART_CALL_COUNTS, PART_SUMS
from llm_service.storage.usage_days import LEVELS, SECONDS, allow_time, of_day

_LOCK = 0x6C6C6D5F70617274  # "llm_part"
_KEY = ("minute", "provider", "model")
_DAY = timedelta(days=1)
_LISTS = ("rounded_us", "duration_counts", "first_token_counts")

Values = tuple[object, ...]


class UsageDayParts:
    """For every tenant. On PostgreSQL; on SQLite there are none."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def stale(self, first: date, until: date) -> list[date]:
        """The days that have no such sums, or had late records since; the newest first.

        Not those that do not hold for all that: they would come to the same again.
        """
        known, divided = await self._counts(first, until)
        made = {day: part_sums.counted(known, day) for day in known if day >= first}
        return sorted(
            (day for day, counts in made.items() if not _is_fresh(divided.get(day), counts)),
            reverse=True,
        )

    async def turn(self) -> bool:
        """Whether nobody else is making them; until the end of this transaction nobody will."""
        free = await self._connection.execute(select(func.pg_try_advisory_xact_lock(_LOCK)))
        return bool(free.scalar_one())

    async def make(self, day: date) -> None:
        """Make those of a day anew, once nobody else does. Whoever stores usage may meanwhile."""
        with patience(SECONDS):
            await allow_time(self._connection)
            await self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            await self._connection.execute(delete(table).where(table.c.day == day))
            for parts in await self._parts(day):
                names = [column.name for column in parts.selected_columns]
                await self._connection.execute(insert(table).from_select(names, parts))

    async def differences(self, day: date) -> int:
        """How many of the day's rows are not what its records add up to; 0 of a stale day.

        One more if they do not hold: reports leave them out. Everything is read as of one time only
        in a unit of work that reads.
        """
        known, divided = await self._counts(day, day + _DAY)
        counts = part_sums.counted(known, day)
        if not _is_fresh(divided.get(day), counts):
            return 0
        with patience(SECONDS):
            kept = await self._rows(select(table).where(table.c.day == day))
            made: dict[Values, Values] = {}
            for parts in await self._parts(day):
                made |= await self._rows(parts)
        wrong = sum(kept.get(key) != made.get(key) for key in kept.keys() | made.keys())
        return wrong + (divided.get(day) != counts)

    async def _counts(
        self, first: date, until: date
    ) -> tuple[dict[date, int], dict[date, part_sums.Counts]]:
        first = max(first, date.min + LONGEST_ATTEMPT) - LONGEST_ATTEMPT
        with patience(SECONDS):
            await allow_time(self._connection)
            return await part_sums.attempts(
                self._connection, None, lambda day: day.between(first, until - _DAY)
            )

    async def _parts(self, day: date) -> list[Select[Any]]:
        """What the records of a day come to, as rows of the table."""
        dense = await self._connection.execute(
            select(days.c.tenant)
            .where(days.c.day == day)
            .group_by(days.c.tenant)
            .having(func.sum(days.c.attempt_count) >= part_sums.DENSE)
        )
        tenants = dense.scalars().all()
        return [_parts(day, None), *([_parts(day, tenants)] if tenants else ())]

    async def _rows(self, statement: Select[Any]) -> dict[Values, Values]:
        """What each row holds, by its key."""
        found: dict[Values, Values] = {}
        for row in (await self._connection.execute(statement)).mappings():
            values = {
                column.name: tuple(row[column.name]) if column.name in _LISTS else row[column.name]
                for column in table.c
            }
            found[tuple(values[name] for name in ("tenant", *_KEY))] = tuple(values.values())
        return found


def _is_fresh(made: part_sums.Counts | None, counts: part_sums.Counts | None) -> bool:
    """Whether they were made of all the records that there are now."""
    return made is not None and counts is not None and made.nearby == counts.nearby


def _parts(day: date, tenants: Sequence[str] | None) -> Select[Any]:
    """Of all tenants together, or of each of some."""
    attempts = _attempts(day, tenants)
    sums, lists = _sums(attempts).subquery("sums"), _lists(attempts).subquery("lists")
    same = and_(*(sums.c[name] == lists.c[name] for name in ("tenant", *_KEY)))
    nearby = _nearby(day, tenants).subquery("nearby")
    return (
        select(
            literal(day, Date).label("day"),
            *sums.c,
            *(func.coalesce(lists.c[name], literal_column("'{}'")).label(name) for name in _LISTS),
            nearby.c.nearby_count,
        )
        .join_from(sums, nearby, nearby.c.tenant == sums.c.tenant)
        .outerjoin(lists, same)
    )


def _nearby(day: date, tenants: Sequence[str] | None) -> Select[Any]:
    """How many attempts there are now that decide what parts of the day hold."""
    count = func.coalesce(func.sum(days.c.attempt_count), 0).label("nearby_count")
    near = days.c.day.in_(part_sums.nearby(day))
    if tenants is None:
        return select(literal(part_sums.EVERYBODY, String).label("tenant"), count).where(near)
    return (
        select(days.c.tenant, count).where(near, days.c.tenant.in_(tenants)).group_by(days.c.tenant)
    )


def _attempts(day: date, tenants: Sequence[str] | None) -> CTE:
    """The records of a day, each with its place among those of its call, from either end."""
    everybody = literal(part_sums.EVERYBODY, String)
    moment = (records.c.create_time, records.c.record_id)
    orders = {"first": moment, "last": [one.desc() for one in moment]}
    call = [records.c.tenant, records.c.completion_id]
    groups = {name: [*call, *(records.c[one] for one in level)] for name, level in LEVELS.items()}
    groups |= {f"unpriced_{name}": [*of, records.c.cost_incomplete] for name, of in groups.items()}
    start = attempt_sums.midnight(day)
    return (
        select(
            (everybody if tenants is None else records.c.tenant).label("tenant"),
            _minute().label("minute"),
            *(records.c[name] for name in ("provider", "model", *TOKENS)),
            *(records.c[name] for name in ("cost_nano_usd", "cost_incomplete", "error_reason")),
            records.c.reported_nano_usd,
            attempt_sums.DIFFERENCE.label("difference"),
            rounded(records.c.duration_us).label("duration"),
            rounded(records.c.first_token_us).label("first_token"),
            attempt_sums.follows([(0, start, start + _DAY)]).label("follows"),
            *(
                func.row_number().over(partition_by=of, order_by=order).label(f"{end}_{name}")
                for end, order in orders.items()
                for name, of in groups.items()
            ),
        )
        .where(of_day(day), true() if tenants is None else records.c.tenant.in_(tenants))
        .cte("attempts")
    )


def _minute() -> ColumnElement[int]:
    """That at which the part begins that a record is in."""
    time = records.c.create_time.op("AT TIME ZONE")(literal_column("'UTC'"))
    minutes = extract("hour", time) * 60 + extract("minute", time)
    starts = literal_column(f"(ARRAY{part_sums.STARTS})", ARRAY(Integer))
    return starts[func.width_bucket(cast(minutes, Integer), starts)]


def _sums(attempts: CTE) -> Select[Any]:
    a = attempts.c
    failed, cost = a.error_reason != "", func.coalesce(a.cost_nano_usd, 0)
    sums: dict[str, ColumnElement[int]] = {
        "attempt_count": func.count(),
        "error_count": func.count().filter(failed),
        "fallback_count": func.count().filter(a.follows),
        **{name: Total(func.coalesce(a[name], 0)) for name in TOKENS},
        "cost_nano_usd": Total(cost),
        "failed_attempt_nano_usd": Total(case((failed, cost), else_=0)),
        "reported_nano_usd": Total(func.coalesce(a.reported_nano_usd, 0)),
        "reported_difference_nano_usd": Total(a.difference),
    }
    for name in PART_CALL_COUNTS:
        counts = [a[name] == 1, *([a.cost_incomplete] if "_unpriced_" in name else ())]
        sums[name] = func.count().filter(*counts)
    group = [a[name] for name in ("tenant", *_KEY)]
    # As in sums of days.
    added = (Clamped(sums[name]).label(name) for name in PART_SUMS)
    return select(*group, *added).group_by(*group)


def _lists(attempts: CTE) -> Select[Any]:
    a = attempts.c
    group = [a[name] for name in ("tenant", *_KEY)]
    one, none = literal_column("1", Integer), literal_column("0", Integer)
    both = [
        select(*group, us.label("us"), lasted.label("lasted"), began.label("began")).where(
            a.error_reason == "", us.is_not(None)
        )
        for us, lasted, began in ((a.duration, one, none), (a.first_token, none, one))
    ]
    each = union_all(*both).subquery("each").c
    group = [each[name] for name in ("tenant", *_KEY)]
    steps = select(
        *group, each.us, func.sum(each.lasted).label("lasted"), func.sum(each.began).label("began")
    )
    step = steps.group_by(*group, each.us).order_by(*group, each.us).subquery("steps").c
    group = [step[name] for name in ("tenant", *_KEY)]
    values = zip((step.us, step.lasted, step.began), _LISTS, strict=True)
    return select(*group, *(func.array_agg(one).label(name) for one, name in values)).group_by(
        *group
    )
