"""News of circuits as rows: the latest of each target, for a while."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.health import CircuitNews, CircuitState, TargetKey
from llm_service.storage import rows
from llm_service.storage.tables import circuits as table

RECENT = timedelta(minutes=1)
"""Longer than any circuit stays open before it is tried again."""

KEPT = timedelta(hours=1)
LIMIT = 1000  # rows read at once, the latest

_KEY = ("provider_uid", "credential_id", "model_id")


class Circuits:
    """Each row is replaced by the next news of its target."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def tell(self, news: Sequence[CircuitNews]) -> None:
        """Store news, of different targets, as told now by the database's clock."""
        now = await self._now()
        values = [_to_values(one, now) for one in sorted(news, key=lambda one: one.key)]
        new = rows.insert_new(self._connection.dialect, table)
        await self._connection.execute(new, values)
        own = and_(*(table.c[name] == bindparam(f"its_{name}") for name in _KEY))
        changed = [name for name in table.c.keys() if name not in _KEY]  # noqa: SIM118 - columns
        statement = update(table).where(own).values({name: bindparam(name) for name in changed})
        for one in values:
            keyed = {f"its_{name}": one[name] for name in _KEY}
            await self._connection.execute(statement, keyed | {name: one[name] for name in changed})

    async def recent(self) -> tuple[tuple[CircuitNews, float], ...]:
        """What was told within `RECENT`, oldest first, each with how many seconds ago that was."""
        now = await self._now()
        statement = (
            select(table)
            .where(table.c.change_time >= now - RECENT)
            .order_by(table.c.change_time.desc())
            .limit(LIMIT)
        )
        found = (await self._connection.execute(statement)).all()
        ago = [(now - row.change_time).total_seconds() for row in found]
        return tuple(zip(map(_to_news, found), ago, strict=True))[::-1]

    async def forget(self) -> int:
        """Drop what nobody needs any more. How many."""
        old = table.c.change_time < await self._now() - KEPT
        return (await self._connection.execute(delete(table).where(old))).rowcount

    async def _now(self) -> datetime:
        """By the database's clock, the one that all replicas share."""
        if self._connection.dialect.name == "sqlite":
            return datetime.now(UTC)
        now: datetime = (await self._connection.execute(select(func.now()))).scalar_one()
        return now


def is_storable(key: TargetKey) -> bool:
    """Whether a target can be told of: callers may name models of any length."""
    values = key._asdict()
    return rows.clip(table, values) == values


def _to_values(news: CircuitNews, now: datetime) -> rows.Values:
    return {
        **news.key._asdict(),
        "tenant": news.tenant,
        "provider_id": news.provider_id,
        "state": news.state.value,
        "change_id": news.change_id,
        "replica": news.replica,
        "seconds": news.seconds,
        "reason": news.reason,
        "ejection_count": news.ejection_count,
        "reset": news.reset,
        "change_time": now,
    }


def _to_news(row: Row[Any]) -> CircuitNews:
    return CircuitNews(
        TargetKey(row.provider_uid, row.credential_id, row.model_id),
        row.tenant,
        row.provider_id,
        CircuitState(row.state),
        row.change_id,
        row.replica,
        row.seconds,
        row.reason,
        row.ejection_count,
        row.reset,
    )
