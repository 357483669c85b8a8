"""The months that usage records are kept by on PostgreSQL: made ahead, and dropped when too old.

Elsewhere, and for what came when there was no month for it, old records are deleted.
"""

import re
from datetime import UTC, date, datetime, time

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.storage.tables import usage_records as records

MONTHS_AHEAD = 3
DELETED_AT_ONCE = 1_000

_LOCK = 0x6C6C6D5F6D6F6E73  # "llm_mons"
_MONTH = re.compile(r"usage_records_(before_)?(\d{4})_(\d\d)")
_REST = "usage_records_rest"
_WHO = "nullif(current_setting('llm.tenant', true), '')"
_OWN = f"{_WHO} = '*' OR tenant = {_WHO}"
_CHILDREN = text(
    "SELECT CAST(CAST(inhrelid AS regclass) AS text) FROM pg_inherits"
    " WHERE inhparent = CAST('usage_records' AS regclass)"
)


class UsageMonths:
    """Partitions of the table of usage records. A month is its first day."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def prepare(self, today: date) -> tuple[date, ...]:
        """Make this month and those ahead, where they are not there; the ones that were made."""
        if not self._partitioned:
            return ()
        await self._hold()
        there, before = await self._months()
        month, made = today.replace(day=1), []
        for _ in range(MONTHS_AHEAD + 1):
            if month not in there and (before is None or month >= before):
                await self._make(month)
                made.append(month)
            month = following(month)
        return tuple(made)

    async def drop(self, until: date) -> tuple[str, ...]:
        """Drop the months that end before or at `until`; the names of their tables."""
        if not self._partitioned:
            return ()
        await self._hold()
        there, before = await self._months()
        names = [f"usage_records_{month:%Y_%m}" for month in there if following(month) <= until]
        if before is not None and before <= until:
            names.append(f"usage_records_before_{before:%Y_%m}")
        for name in names:
            await self._run(f"DROP TABLE {name}")
        return tuple(names)

    async def delete_some(self, until: date) -> int:
        """Delete records from before that are in no month; up to a thousand, and how many."""
        some = (
            select(records.c.record_id, records.c.start_time)
            .where(records.c.create_time < _midnight(until))
            .order_by(records.c.create_time)
            .limit(DELETED_AT_ONCE)
        )
        if not self._partitioned:
            ids = select(some.subquery().c.record_id)
            done = await self._connection.execute(
                delete(records).where(records.c.record_id.in_(ids))
            )
            return done.rowcount
        done = await self._connection.execute(
            text(
                f"DELETE FROM {_REST} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {_REST}"  # noqa: S608
                f" WHERE start_time < :until LIMIT {DELETED_AT_ONCE}))"
            ),
            {"until": _midnight(until)},
        )
        return done.rowcount

    @property
    def _partitioned(self) -> bool:
        return self._connection.dialect.name == "postgresql"

    async def _months(self) -> tuple[set[date], date | None]:
        """Those there are, and where the table ends that was there before there were months."""
        names = (await self._connection.execute(_CHILDREN)).scalars()
        found = [match for name in names if (match := _MONTH.fullmatch(name))]
        months = {bool(match[1]): set[date]() for match in found}
        for match in found:
            months[bool(match[1])].add(date(int(match[2]), int(match[3]), 1))
        return months.get(False, set()), min(months.get(True, ()), default=None)

    async def _make(self, month: date) -> None:
        name = f"usage_records_{month:%Y_%m}"
        within = f"start_time >= '{_bound(month)}' AND start_time < '{_bound(following(month))}'"
        await self._run(f"CREATE TABLE {name} (LIKE {records.name} INCLUDING DEFAULTS)")
        await self._run(
            f"WITH moved AS (DELETE FROM {_REST} WHERE {within} RETURNING *)"  # noqa: S608
            f" INSERT INTO {name} SELECT * FROM moved"
        )
        await self._run(f"CREATE POLICY tenant ON {name} USING ({_OWN})")
        await self._run(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        await self._run(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
        await self._run(
            f"ALTER TABLE {records.name} ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{_bound(month)}') TO ('{_bound(following(month))}')"
        )

    async def _hold(self) -> None:
        """One process at a time; whoever uses the table does not wait long for it."""
        await self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        await self._run("SET LOCAL lock_timeout = '2s'")

    async def _run(self, statement: str) -> None:
        await self._connection.execute(text(statement))


def following(month: date) -> date:
    """The month after."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def earlier(month: date, months: int) -> date:
    """The month so many before."""
    count = month.year * 12 + month.month - 1 - months
    return date(count // 12, count % 12 + 1, 1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _bound(month: date) -> str:
    return _midnight(month).isoformat()
