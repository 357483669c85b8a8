"""Where every upstream attempt is written down."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Protocol

import msgspec

from llm_service.domain.access import as_service
from llm_service.domain.usage import AttemptProgress, OpenedAttempt, UsageRecord
from llm_service.errors import Overloaded, StorageUnavailable
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.gateway.ids import first_id, new_id
from llm_service.storage import frames, positional
from llm_service.storage.database import Database, Transaction
from llm_service.storage.framing import FrameKind, encoded, marked
from llm_service.storage.journal import Journal, JournalFull
from llm_service.storage.positional import Settled

logger = logging.getLogger(__name__)

_BATCH = 500
_PROBE = 10
"""Records of a batch while the database refuses them: what a try costs must not grow meanwhile."""
# A transaction costs as much as thirty rows of it (bench/storing.py).
_GATHER_SECONDS = 0.75
"""How long records are collected that are not a batch before that."""
_RETRY_SECONDS, _MOST_RETRY_SECONDS = 1.0, 4.0
"""Pauses while the database refuses records: the first, and the longest; each is twice the last."""
_READY = timedelta(seconds=1)
"""Records older than that get a new id when they are stored; feeds stay behind by more."""
_CAPACITY = 100_000  # records of about 1 KiB: what memory may hold while the database is away
_SHED_FROM = 0.9
"""How full the journal may be before new calls are refused; those begun may go on until 1."""
# As numbers: to find an enum's member takes longer than to encode a frame.
_OPENED, _DIALLED, _PROGRESS, _SETTLED = map(int, FrameKind)


class Ledger(Protocol):
    """One immutable record per attempt: opened before it is dialled, settled once."""

    def admit(self) -> None:
        """Raise `Overloaded` when another call could not be recorded."""
        ...

    async def open(self, attempt: OpenedAttempt) -> None:
        """Return when the attempt will leave a record whatever happens to this process.

        It is dialled at once then: from here on it has a cost.

        Raises:
            Overloaded, StorageUnavailable: it would not; it must not be dialled.
        """
        ...

    def progress(self, attempt_id: str, so_far: AttemptProgress) -> None:
        """Take the latest account of a running attempt; never fails, never waits."""
        ...

    def record(self, record: UsageRecord) -> None:
        """Take the record of a finished attempt; never fails, never waits."""
        ...

    async def settled(self) -> None:
        """Return when the records taken before outlive this process: a caller may be told."""
        ...

    async def flush(self) -> None:
        """Return when every record taken before is stored.

        Raises:
            StorageUnavailable: the database does not take them now. They are kept.
        """
        ...


class Holds(Protocol):
    """What attempts hold until their records are stored."""

    async def release(self, tx: Transaction, attempt_ids: frozenset[str]) -> None:
        """This transaction counts what they used."""
        ...

    def stored(self, attempt_ids: Sequence[str]) -> None:
        """It is committed."""
        ...

    async def aclose(self) -> None:
        """No more records will come."""
        ...


class Uploads:
    """Settled records on their way to the database: one writer, in idempotent batches.

    A database outage makes the queue grow; a full queue refuses new calls, never loses a record.
    """

    def __init__(self, database: Database, capacity: int = _CAPACITY) -> None:
        self._database = database
        self._capacity = capacity
        # As bytes: objects of calls that are over, kept here and there in memory until they are
        # stored, made every later call slower (docs/adr/0036).
        self._queue: deque[bytes] = deque()
        self._taken = 0  # out of the queue, since ever
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._writing = asyncio.Lock()
        self._at_once = _BATCH
        self._pause = _RETRY_SECONDS
        self.accounting = Accounting()
        self.holds: Holds | None = None

    @property
    def backlog(self) -> int:
        """Records not yet stored."""
        return len(self._queue)

    def admit(self) -> None:
        """Raise `Overloaded` when the queue is full."""
        if len(self._queue) >= self._capacity:
            raise Overloaded("usage records cannot be stored; new calls wait for the database")

    def add(self, record: UsageRecord) -> None:
        self._keep(frames.settled(record))

    def _keep(self, settled: bytes) -> None:
        self._queue.append(settled)
        waiting = len(self._queue)
        if waiting == 1:
            self._arrived.set()
        elif waiting == _BATCH:
            self._enough.set()

    async def run(self) -> None:
        """Store records as they arrive, until cancelled."""
        if self._queue:
            self._arrived.set()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._gather()
            await self._store_or_wait()

    async def _gather(self) -> None:
        self._enough.clear()
        if len(self._queue) >= _BATCH:
            return
        timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._enough.set)
        try:
            await self._enough.wait()
        finally:
            timer.cancel()

    async def _store_or_wait(self) -> None:
        try:
            await self.flush()
        except StorageUnavailable:
            logger.warning("usage records wait for the database: %d", len(self._queue))
        except Exception:  # whatever it is, the records must be tried again
            logger.exception("usage records could not be stored: %d", len(self._queue))
        else:
            self._pause = _RETRY_SECONDS
            if self._queue:  # what came meanwhile
                self._arrived.set()
            return
        self._arrived.set()
        pause, self._pause = self._pause, min(2 * self._pause, _MOST_RETRY_SECONDS)
        await asyncio.sleep(pause)

    async def flush(self) -> None:
        """Return when every record added before is stored; as `Ledger.flush`."""
        # Not those that come meanwhile: under load each would be a batch of its own, and who waits
        # for one that another has stored would store what came since.
        mark = self._taken + len(self._queue)
        async with self._writing:
            while self._taken < mark:
                await self._store_some(min(self._at_once, mark - self._taken))

    async def _store_some(self, count: int) -> None:
        taken = list(islice(self._queue, count))
        batch = [settled for one in taken if (settled := _read(one)) is not None]
        try:
            # Whoever waits for it: the records are everybody's.
            with as_service():
                await self.write(_in_order(batch))
        except Exception:
            self._at_once = _PROBE
            raise
        self._at_once = _BATCH
        self._taken += len(taken)
        for _ in taken:
            self._queue.popleft()
        attempt_ids = [*map(positional.attempt_id, batch)]
        if self.holds is not None:
            self.holds.stored(attempt_ids)
        self.stored(attempt_ids)

    async def write(self, batch: Sequence[Settled]) -> None:
        """Store records in a transaction of their own."""
        if not await self.accounting.store_uncounted(self._database, batch):
            async with self._database.begin() as tx:
                await self.store(tx, [*map(positional.to_record, batch)])

    async def store(self, tx: Transaction, records: Sequence[UsageRecord]) -> None:
        """Write records, with what goes with them."""
        counted = await self.accounting.store(tx, records)
        if counted and self.holds is not None:
            await self.holds.release(tx, counted)

    def stored(self, attempt_ids: Sequence[str]) -> None:
        """Their records are in the database."""


def _read(settled: bytes) -> Settled | None:
    """None: it cannot be made out, which would be a bug of ours and must not hold up the others."""
    try:
        return positional.read(settled)
    except msgspec.MsgspecError:
        logger.critical("a usage record of %d bytes cannot be read", len(settled), exc_info=True)
        return None


def _in_order(batch: Sequence[Settled]) -> list[Settled]:
    """With new ids for those that waited, so that a feed, which has gone on, does not miss them."""
    oldest = first_id(datetime.now(UTC) - _READY)
    return [
        one if positional.record_id(one) >= oldest else positional.renewed(one, new_id())
        for one in batch
    ]


class JournalledLedger(Uploads):
    """Writes to the local journal first, so that neither a crash nor an outage loses a record.

    A journal that syncs behind has an attempt outlive this process before it is dialled, and the
    machine a moment later; any other both before.
    """

    def __init__(self, database: Database, journal: Journal, capacity: int = _CAPACITY) -> None:
        super().__init__(database, capacity)
        self._journal = journal
        self._failing = False

    @property
    def process(self) -> str:
        """As `Journal.process`."""
        return self._journal.process

    def admit(self) -> None:
        Uploads.admit(self)  # super() is slower than what it leads to
        if self._journal.fill >= _SHED_FROM:
            raise Overloaded("the usage journal is nearly full; new calls wait for the database")

    async def open(self, attempt: OpenedAttempt) -> None:
        attempt_id = attempt.attempt_id
        opened = frames.opened(attempt)
        try:
            if self._journal.syncs_behind:
                self._journal.append(attempt_id, encoded(_DIALLED, opened))
            else:
                self._journal.append(attempt_id, encoded(_OPENED, opened))
                await self._journal.synced()
                # Not before: whoever dies or leaves while it waits has used nothing.
                self._journal.append(attempt_id, encoded(_DIALLED, marked(attempt_id)))
        except (JournalFull, OSError) as error:
            self._journal.forget([attempt_id])
            raise Overloaded("the call cannot be recorded") from error

    def progress(self, attempt_id: str, so_far: AttemptProgress) -> None:
        self._append(attempt_id, encoded(_PROGRESS, marked(attempt_id, frames.progress(so_far))))

    def record(self, record: UsageRecord) -> None:
        settled = frames.settled(record)
        self._append(record.attempt_id, encoded(_SETTLED, settled))
        self._keep(settled)

    async def settled(self) -> None:
        """At once: what is appended is the system's."""

    def stored(self, attempt_ids: Sequence[str]) -> None:
        self._journal.forget(attempt_ids)

    def _append(self, attempt_id: str, frame: bytes) -> None:
        """Memory and the database still have it, unless the process dies before it is stored."""
        try:
            self._journal.append(attempt_id, frame)
        except JournalFull:
            if not self._failing:
                logger.critical("the usage journal cannot be written", exc_info=True)
            self._failing = True
        else:
            self._failing = False
