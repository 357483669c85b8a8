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
from llm_service.storage.patience import patience
from llm_service.storage.tables import usage_day_parts as table
from llm_service.storage.tables import usage_days as days
from llm_service.storage.tables import usage_records as records
from llm_service.storage.tables.usage import PART_SUMS
from llm_service.storage.usage_days import LEVELS, SECONDS, allow_time, of_day

_LOCK = 0x6C6C6D5F70617274  # "llm_part"
_KEY = ("minute", "provider", "model")
_DAY = timedelta(days=1)
_LISTS = ("rounded_us", "duration_counts", "first_token_counts")


class UsageDayParts:
    """For every tenant. On SQLite there are none."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def stale(self, first: date, until: date) -> list[date]:
        """The days that have no such sums, or had late records since; the oldest first."""
        if not self._kept:
            return []
        with patience(SECONDS):
            await allow_time(self._connection)
            known, divided = await part_sums.attempts(
                self._connection, None, lambda day: day.between(first, until - _DAY)
            )
        return sorted(day for day in known if known[day] != divided.get(day))

    async def make(self, day: date) -> None:
        """Make those of a day anew, and of the days after, whose attempts may follow its own."""
        if not self._kept:
            return
        with patience(SECONDS):
            await self._hold()
            after = select(table.c.day).where(
                table.c.day > day, table.c.day <= day + LONGEST_ATTEMPT
            )
            made = await self._connection.execute(after.distinct())
            for one in (day, *made.scalars()):
                await self._connection.execute(delete(table).where(table.c.day == one))
                for parts in await self._parts(one):
                    names = [column.name for column in parts.selected_columns]
                    await self._connection.execute(insert(table).from_select(names, parts))

    async def differences(self, day: date) -> int:
        """How many of the day's rows are not what its records add up to, if there are any."""
        if not self._kept or await self.stale(day, day + _DAY):
            return 0
        with patience(SECONDS):
            await self._hold()
            kept = await self._rows(select(table).where(table.c.day == day))
            made = {row for parts in await self._parts(day) for row in await self._rows(parts)}
        return len(kept ^ made)

    @property
    def _kept(self) -> bool:
        return self._connection.dialect.name == "postgresql"

    async def _hold(self) -> None:
        """Nobody else makes them until the end of this transaction. Whoever stores usage may."""
        await allow_time(self._connection)
        await self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))

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

    async def _rows(self, statement: Select[Any]) -> set[tuple[object, ...]]:
        names = [column.name for column in table.c]
        found = (await self._connection.execute(statement)).mappings()
        return {
            tuple(tuple(row[name]) if name in _LISTS else row[name] for name in names)
            for row in found
        }


def _parts(day: date, tenants: Sequence[str] | None) -> Select[Any]:
    """Of all tenants together, or of each of some."""
    attempts = _attempts(day, tenants)
    sums, lists = _sums(attempts).subquery("sums"), _lists(attempts).subquery("lists")
    same = and_(*(sums.c[name] == lists.c[name] for name in ("tenant", *_KEY)))
    return select(
        literal(day, Date).label("day"),
        *sums.c,
        *(func.coalesce(lists.c[name], literal_column("'{}'")).label(name) for name in _LISTS),
    ).outerjoin_from(sums, lists, same)


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
        **{name: func.sum(func.coalesce(a[name], 0)) for name in TOKENS},
        "cost_nano_usd": func.sum(cost),
        "failed_attempt_nano_usd": func.sum(case((failed, cost), else_=0)),
        "reported_nano_usd": func.sum(func.coalesce(a.reported_nano_usd, 0)),
        "reported_difference_nano_usd": func.sum(a.difference),
    }
    for name in PART_SUMS[len(sums) :]:
        counts = [a[name] == 1, *([a.cost_incomplete] if "_unpriced_" in name else ())]
        sums[name] = func.count().filter(*counts)
    group = [a[name] for name in ("tenant", *_KEY)]
    return select(*group, *(sums[name].label(name) for name in PART_SUMS)).group_by(*group)


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
