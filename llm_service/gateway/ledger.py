"""Where every upstream attempt is written down."""

import asyncio
import logging
from collections import deque
from typing import Protocol

from llm_service.domain.access import as_service
from llm_service.domain.usage import UsageRecord
from llm_service.errors import Overloaded, StorageUnavailable
from llm_service.storage.database import Database

logger = logging.getLogger(__name__)

_BATCH = 500
# A transaction of 50 rows costs a row half of what one of 10 does (bench/README.md has the method).
_GATHER_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_CAPACITY = 100_000  # records of about 1 KiB: what memory may hold while the database is away


class Ledger(Protocol):
    """One immutable record per attempt. Nothing here makes a call wait for the database."""

    def admit(self) -> None:
        """Raise `Overloaded` when another attempt could not be recorded."""
        ...

    def record(self, record: UsageRecord) -> None:
        """Take the record of a finished attempt; never fails, never waits."""
        ...

    async def flush(self) -> None:
        """Return when every record taken before is stored.

        Raises:
            StorageUnavailable: the database does not take them now. They are kept.
        """
        ...


class QueuedLedger:
    """Keeps records in memory until one writer has stored them, in idempotent batches.

    A database outage makes the queue grow; a full queue refuses new calls, never loses a record.
    """

    def __init__(self, database: Database, capacity: int = _CAPACITY) -> None:
        self._database = database
        self._capacity = capacity
        self._queue: deque[UsageRecord] = deque()
        self._arrived = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def backlog(self) -> int:
        """Records not yet stored."""
        return len(self._queue)

    def admit(self) -> None:
        if len(self._queue) >= self._capacity:
            raise Overloaded("usage records cannot be stored; new calls wait for the database")

    def record(self, record: UsageRecord) -> None:
        self._queue.append(record)
        self._arrived.set()

    async def run(self) -> None:
        """Store records as they arrive, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await asyncio.sleep(_GATHER_SECONDS)
            await self._store_or_wait()

    async def _store_or_wait(self) -> None:
        try:
            await self.flush()
        except StorageUnavailable:
            logger.warning("usage records wait for the database: %d", len(self._queue))
        except Exception:  # whatever it is, the records must be tried again
            logger.exception("usage records could not be stored: %d", len(self._queue))
        else:
            return
        self._arrived.set()
        await asyncio.sleep(_RETRY_SECONDS)

    async def flush(self) -> None:
        async with self._writing:
            while self._queue:
                batch = [self._queue[n] for n in range(min(_BATCH, len(self._queue)))]
                # Whoever waits for it: the records are everybody's.
                with as_service():
                    async with self._database.begin() as tx:
                        await tx.usage.add_many(batch)
                for _ in batch:
                    self._queue.popleft()
