"""Attempts that are open, for processes without a disk of their own; see the journal."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.usage import AttemptProgress, OpenedAttempt
from llm_service.storage import frames, rows
from llm_service.storage.frames import Unsettled
from llm_service.storage.tables import attempt_owners as owners
from llm_service.storage.tables import open_attempts as table


class OpenAttempts:
    """Rows of attempts, each with the process it belongs to, which says now and then it lives."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_many(self, owner: str, attempts: Sequence[OpenedAttempt]) -> None:
        values = [
            {
                "attempt_id": attempt.attempt_id,
                "owner": owner,
                "opened": frames.opened(attempt),
            }
            for attempt in attempts
        ]
        await self._connection.execute(insert(table), values)

    async def progress(self, latest: Mapping[str, AttemptProgress]) -> None:
        """Keep the latest account of each; those already closed are left out."""
        statement = (
            update(table)
            .where(table.c.attempt_id == bindparam("which"))
            .values(progress=bindparam("latest"))
        )
        values = [
            {"which": attempt_id, "latest": frames.progress(so_far)}
            for attempt_id, so_far in latest.items()
        ]
        await self._connection.execute(statement, values)

    async def close(self, attempt_ids: Sequence[str]) -> None:
        """Their records are stored in this transaction."""
        await self._connection.execute(delete(table).where(table.c.attempt_id.in_(attempt_ids)))

    async def beat(self, owner: str) -> None:
        """The process lives."""
        now = await rows.now(self._connection)
        values = {"owner": owner, "beat_time": now}
        await self._connection.execute(rows.insert_new(self._connection.dialect, owners), values)
        known = update(owners).where(owners.c.owner == owner).values(beat_time=now)
        await self._connection.execute(known)

    async def leave(self, owner: str) -> None:
        """The process ends; what it left open is anybody's to close."""
        await self._connection.execute(delete(owners).where(owners.c.owner == owner))

    async def abandoned(self, lease: timedelta, limit: int) -> tuple[Unsettled, ...]:
        """Attempts of processes that have not said for `lease` that they live, locked.

        Their processes lose their place: whatever these settle later comes second.
        """
        stale = owners.c.beat_time < await rows.now(self._connection) - lease
        await self._connection.execute(delete(owners).where(stale))
        statement = (
            select(table.c.opened, table.c.progress)
            .where(table.c.owner.not_in(select(owners.c.owner)))
            .order_by(table.c.attempt_id)
            .limit(limit)
        )
        if self._connection.dialect.name == "postgresql":
            # Whoever is settling one this very moment has it locked, and knows better.
            statement = statement.with_for_update(skip_locked=True)
        found = await self._connection.execute(statement)
        return tuple(frames.unsettled(row.opened, row.progress) for row in found)
