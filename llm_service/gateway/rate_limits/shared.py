"""Meters that all replicas share, and what holds while they are out of reach."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from time import monotonic
from typing import Protocol

from llm_service.domain.rate_limits import Hold, Metric, Refusal
from llm_service.errors import StorageUnavailable
from llm_service.gateway.rate_limits.windows import LocalMeters
from llm_service.storage.redis_meters import LEASE_SECONDS, RedisMeters, Settlement

WAIT_SECONDS = 0.04
"""How long a call waits for the shared meters."""

MOST_SLOW = 3
"""Calls in succession that wait in vain before others do not wait any more."""

AWAY_SECONDS = 1.0
"""How long they are not asked again after they did not answer."""

_RENEW_SECONDS = LEASE_SECONDS / 3
_SETTLE_SECONDS = 2.0
_MOST_WAITING = 10_000  # settlements; without theirs, holds end with their lease

logger = logging.getLogger(__name__)


class Meters(Protocol):
    """Count what is used, and say when there is no room."""

    async def take(self, hold: Hold) -> Refusal | None:
        """Charge all that `hold` demands, if there is room for all of it."""
        ...

    def settle(self, hold: Hold, tokens: int) -> None:
        """Its end: `tokens` were used. Never fails or waits."""
        ...


class SharedMeters:
    """Asks the shared meters, and those of this process when they do not answer at once.

    The process counts all along, so that it does not begin at nothing when it is on its own.
    """

    def __init__(self, shared: RedisMeters, local: LocalMeters) -> None:
        self._shared = shared
        self._local = local
        self._away_until = 0.0
        self._slow = 0
        self._held: dict[str, Hold] = {}
        self._ended: deque[Settlement] = deque(maxlen=_MOST_WAITING)
        self._something_ended = asyncio.Event()
        self.away = False
        """The shared meters did not answer last time: limits hold for each replica alone."""

    async def take(self, hold: Hold) -> Refusal | None:
        now = monotonic()
        if now < self._away_until:
            return await self._local.take(hold)
        if self.away:
            self._away_until = now + AWAY_SECONDS  # one call finds out, for all
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                refusal = await self._shared.take(hold)
        except (StorageUnavailable, TimeoutError) as error:
            self._slow += 1
            if self._slow >= MOST_SLOW or isinstance(error, StorageUnavailable):
                self._lost(error)
            self._end(hold, None)  # it may have been charged all the same
            return await self._local.take(hold)
        except BaseException:
            self._end(hold, None)
            raise
        self._slow = 0
        self._found()
        if refusal is None:
            self._local.charge(hold)
            if any(d.metric is Metric.CONCURRENT_REQUESTS for d in hold.demands):
                self._held[hold.id] = hold
        return refusal

    def settle(self, hold: Hold, tokens: int) -> None:
        self._local.settle(hold, tokens)
        if hold.shared_at is not None:
            self._held.pop(hold.id, None)
            self._end(hold, tokens)

    async def run(self) -> None:
        """Tell the shared meters what has ended, and what goes on, until cancelled."""
        renewed = monotonic()
        await self._reached(self._shared.prepare())
        while True:
            wait = max(0.0, renewed + _RENEW_SECONDS - monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._something_ended.wait()
            self._something_ended.clear()
            if monotonic() >= self._away_until:
                await self.flush()
            if monotonic() >= renewed + _RENEW_SECONDS:
                renewed = monotonic()
                await self._renew()

    async def flush(self) -> None:
        """Tell the shared meters what has ended."""
        while self._ended:
            batch = [self._ended.popleft() for _ in range(min(len(self._ended), 100))]
            if not await self._reached(self._shared.settle(batch)):
                return

    async def _renew(self) -> None:
        if self._held:
            await self._reached(self._shared.renew(tuple(self._held.values())))

    async def _reached(self, asked: Awaitable[None]) -> bool:
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await asked
        except (StorageUnavailable, TimeoutError) as error:
            self._lost(error)
            return False
        return True

    def _end(self, hold: Hold, tokens: int | None) -> None:
        self._ended.append(Settlement(hold, tokens))
        self._something_ended.set()

    def _lost(self, error: Exception) -> None:
        self._away_until = monotonic() + AWAY_SECONDS
        if not self.away:
            self.away = True
            logger.warning(
                "shared rate limits are out of reach (%s): each replica holds them alone",
                type(error if isinstance(error, TimeoutError) else error.__cause__).__name__,
            )

    def _found(self) -> None:
        if self.away:
            self.away = False
            self._away_until = 0.0
            logger.warning("shared rate limits are back")
