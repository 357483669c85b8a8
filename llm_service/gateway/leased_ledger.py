"""The ledger of a process without a lasting disk: attempts are opened in the database."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from llm_service.domain.usage import AttemptProgress, OpenedAttempt, UsageRecord
from llm_service.errors import StorageUnavailable
from llm_service.gateway.ids import new_id
from llm_service.gateway.ledger import Uploads
from llm_service.gateway.recovery import closed_without_its_process
from llm_service.storage.database import Database, Transaction
from llm_service.storage.positional import Settled, to_record

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
"""How long a process may be silent before others close its attempts."""

_BEAT_SECONDS = 1.0
_BEATS_PER_LEASE_CHECK = 10
_BATCH = 500


class LeasedLedger(Uploads):
    """Every attempt waits for the database before it is dialled, and with it for other callers.

    A process that is silent for longer than its lease loses its attempts: another closes them by
    estimate. If it comes back and settles them, they are settled already: an attempt has one
    record.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease: timedelta = LEASE,
    ) -> None:
        super().__init__(database)
        self._now = now
        self._lease = lease
        self._owner = new_id()
        self._opening: list[tuple[OpenedAttempt, asyncio.Future[None]]] = []
        self._asked = asyncio.Event()
        self._progress: dict[str, AttemptProgress] = {}
        self._beaten = -math.inf
        self._left: list[str] = []  # opened for callers who had gone meanwhile

    @property
    def process(self) -> str:
        """A UUID text that tells this process from all others."""
        return self._owner

    async def open(self, attempt: OpenedAttempt) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opening.append((attempt, done))
        self._asked.set()
        await done

    def progress(self, attempt_id: str, so_far: AttemptProgress) -> None:
        self._progress[attempt_id] = so_far

    def record(self, record: UsageRecord) -> None:
        self._progress.pop(record.attempt_id, None)
        self.add(record)

    async def settled(self) -> None:
        # An answer is not withheld for it: what is open will be closed, by estimate at the worst.
        with suppress(StorageUnavailable):
            await self.flush()

    async def write(self, batch: Sequence[Settled]) -> None:
        async with self._database.begin() as tx:  # never without closing their attempts
            await self.store(tx, [*map(to_record, batch)])

    async def store(self, tx: Transaction, records: Sequence[UsageRecord]) -> None:
        await super().store(tx, records)
        await tx.open_attempts.close([record.attempt_id for record in records])

    async def run(self) -> None:
        """Open and store as calls ask, and say that this process lives, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().run())
            tasks.create_task(self._open_asked())
            tasks.create_task(self._keep_lease())

    async def reconcile(self) -> int:
        """Close what silent processes left open; how many that were.

        Raises:
            StorageUnavailable: the database does not take them now.
        """
        async with self._database.begin() as tx:
            left = await tx.open_attempts.abandoned(self._lease, _BATCH)
            if left:
                now = self._now()
                await self.store(tx, [closed_without_its_process(one, now) for one in left])
        if left:
            logger.warning("closed %d attempts of processes that are silent", len(left))
        return len(left)

    async def aclose(self) -> None:
        """Give the lease back."""
        async with self._database.begin() as tx:
            await tx.open_attempts.leave(self._owner)

    async def _open_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            # Whoever has left by now has settled too: nothing would close the attempt.
            asked = [one for one in self._opening if not one[1].done()]
            self._opening.clear()
            if not asked:
                continue
            try:
                await self._add([attempt for attempt, _ in asked])
            except StorageUnavailable as error:
                _settle(asked, str(error))
            except Exception:  # each caller is told, and the next ones are served
                logger.exception("attempts could not be opened")
                _settle(asked, "the attempt could not be opened")
            except BaseException:
                _settle(asked, "the service is stopping")
                raise
            else:
                self._left += [attempt.attempt_id for attempt, done in asked if done.done()]
                _settle(asked, "")

    async def _add(self, attempts: Sequence[OpenedAttempt]) -> None:
        async with self._database.begin() as tx:
            # Nobody may see them before the process they belong to.
            if time.monotonic() - self._beaten > self._lease.total_seconds() / 3:
                await tx.open_attempts.beat(self._owner)
            await tx.open_attempts.add_many(self._owner, attempts)

    async def _keep_lease(self) -> None:
        beats = 0
        while True:
            try:
                await self._beat()
                if beats % _BEATS_PER_LEASE_CHECK == 0:
                    await self.reconcile()
            except StorageUnavailable:
                logger.warning("the ledger's lease was not renewed: the database does not answer")
            except Exception:  # a process that is silent loses its attempts
                logger.exception("the ledger's lease was not renewed")
            beats += 1
            await asyncio.sleep(_BEAT_SECONDS)

    async def _beat(self) -> None:
        latest, self._progress = self._progress, {}
        left, began = tuple(self._left), time.monotonic()
        async with self._database.begin() as tx:
            await tx.open_attempts.beat(self._owner)
            if latest:
                await tx.open_attempts.progress(latest)
            if left:
                await tx.open_attempts.close(left)
        self._beaten = began
        del self._left[: len(left)]


def _settle(asked: Sequence[tuple[OpenedAttempt, asyncio.Future[None]]], problem: str) -> None:
    """Tell those who still wait. `problem` "": there is none."""
    for _, done in asked:
        if done.done():
            continue
        if problem:
            # Each has its own: the gateway adds to an error whose call and provider it was.
            done.set_exception(StorageUnavailable(problem))
        else:
            done.set_result(None)
