"""Records of processes that died: found in their journals, closed, and stored."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llm_service.domain.completion import Attempt, CallError, TokenUsage
from llm_service.domain.usage import ABANDONED, UsageRecord, UsageSource
from llm_service.errors import StorageUnavailable
from llm_service.gateway import pricing
from llm_service.gateway.budgets.accounting import UNALERTED, Accounting
from llm_service.gateway.ids import new_id
from llm_service.storage import frames
from llm_service.storage.database import Database
from llm_service.storage.frames import Replayed, Unsettled
from llm_service.storage.journal import Orphan, orphans
from llm_service.storage.usage import BATCH

logger = logging.getLogger(__name__)

SCAN_SECONDS = 10.0


class Recovery:
    """Closes what dead processes of this host left open.

    A living process holds its journal, a paused one too, so nobody settles for it; and an attempt
    has one record, so whatever comes twice is stored once.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        accounting: Accounting = UNALERTED,
    ) -> None:
        self._database = database
        self._folder = folder
        self._now = now
        self._accounting = accounting

    async def run(self) -> None:
        """Look for journals left behind, again and again, until cancelled."""
        while True:
            try:
                await self.recover()
            except StorageUnavailable:
                logger.warning("records of a process that died wait for the database")
            except Exception:  # the next look must still come
                logger.exception("records of a process that died could not be stored")
            await asyncio.sleep(SCAN_SECONDS)

    async def recover(self) -> int:
        """Store the records of every journal left behind; how many there were.

        Raises:
            StorageUnavailable: the database does not take them now. They are kept.
        """
        count = 0
        found = orphans(self._folder)
        # One at a time: whatever is held and not looked at would be held until this process ends.
        while (orphan := await asyncio.to_thread(next, found, None)) is not None:
            async with _held(orphan):
                replayed = await asyncio.to_thread(_replayed, orphan)
                count += await self._store(replayed, orphan.process)
                _report(replayed, damaged=orphan.damaged)
        return count

    async def _store(self, replayed: Replayed, process: str) -> int:
        now = self._now()
        closed = [closed_without_its_process(one, now) for one in replayed.unsettled]
        records = [*replayed.settled, *closed]
        for start in range(0, max(len(records), 1), BATCH):
            async with self._database.begin() as tx:
                # A feed has gone on meanwhile, and goes on: ids as new as the transaction, which is
                # a short one, put them where it will come by.
                batch = [replace(one, record_id=new_id()) for one in records[start : start + BATCH]]
                if batch:
                    await self._accounting.store(tx, batch)
                if start + BATCH >= len(records):  # what it held of budgets is spent, or free
                    await tx.budget_accounts.leave(process)
        return len(records)


def _replayed(orphan: Orphan) -> Replayed:
    return frames.replay(orphan.frames(), marks_lost=orphan.machine_died)


@asynccontextmanager
async def _held(orphan: Orphan) -> AsyncIterator[None]:
    """Discard the journal once the block is through; leave it if the block fails."""
    try:
        yield
    except BaseException:
        await asyncio.to_thread(orphan.release)
        raise
    await asyncio.to_thread(orphan.discard)


def _report(replayed: Replayed, *, damaged: bool) -> None:
    if replayed.settled or replayed.unsettled:
        logger.warning(
            "a process died: %d records were stored for it, %d of them closed by estimate",
            len(replayed.settled) + len(replayed.unsettled),
            len(replayed.unsettled),
        )
    if replayed.unreadable or damaged:
        logger.error("a usage journal was damaged: what could be read of it is stored")


def closed_without_its_process(left: Unsettled, now: datetime) -> UsageRecord:
    """Settle by the best evidence there is; an attempt that was never dialled used nothing."""
    opened, progress = left.opened, left.progress
    usage: TokenUsage | None = None
    source: UsageSource | None = None
    if progress is not None:
        usage = progress.usage
        source = UsageSource.ESTIMATE if usage.estimated else UsageSource.PROGRESS
    elif left.dialled:
        usage, source = TokenUsage(opened.input_tokens, estimated=True), UsageSource.ESTIMATE
    elapsed = timedelta(seconds=progress.elapsed if progress else 0)
    return UsageRecord(
        record_id=new_id(),
        completion_id=opened.completion_id,
        attribution=opened.attribution,
        attempt=Attempt(
            opened.target,
            opened.start_time,
            elapsed.total_seconds(),
            CallError(ABANDONED, "the service's process ended before the answer did"),
            usage,
            pricing.cost_of(usage, opened.price) if usage else None,
        ),
        create_time=max(opened.start_time, min(opened.start_time + elapsed, now)),
        error_reason=ABANDONED,
        trace_id=opened.trace_id,
        operation=opened.operation,
        usage_source=source,
        attempt_id=opened.attempt_id,
        budget_time=opened.budget_time,
    )
