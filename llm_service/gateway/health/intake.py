"""Where calls are let in, as many as the service can bear; the others wait briefly or go."""

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from llm_service.errors import Overloaded
from llm_service.gateway.health.adaptive import AdaptiveLimit
from llm_service.gateway.health.bulkheads import Shed

QUEUE_SECONDS = 0.1
RETRY_SECONDS = 1.0, 3.0
"""When those may come back who found no room: spread out, so as not to come back together."""


class Intake:
    """Holds one place for each call in the block; `async with` it.

    Args:
        limit: how many calls there may be.
        queue: how many more may wait for a place, each for at most `wait` seconds.
        shed: told of each call that is turned away.

    Raises:
        Overloaded: at the beginning of the block, when there is no place.
    """

    def __init__(
        self,
        limit: AdaptiveLimit,
        queue: int,
        *,
        wait: float = QUEUE_SECONDS,
        shed: Shed = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.in_flight = 0
        self._queue = queue
        self._wait = wait
        self._shed = shed
        self._now = now
        self._waiting: deque[asyncio.Future[bool]] = deque()

    async def __aenter__(self) -> None:
        if self.in_flight < self.limit.value and not self._waiting:
            self.in_flight += 1
            return
        await self._wait_for_place()

    async def __aexit__(self, *_: object) -> None:
        self.in_flight -= 1
        self._hand_on()

    def heard(self, provider_uid: str, slowness: float) -> None:
        """As `AdaptiveLimit.heard`."""
        self.limit.heard(self._now(), provider_uid, slowness, self.in_flight)

    async def _wait_for_place(self) -> None:
        self.limit.look(self._now())
        if len(self._waiting) >= self._queue:
            raise self._refusal()
        loop = asyncio.get_running_loop()
        place: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(place)
        timer = loop.call_later(self._wait, _give_up, place)
        self._hand_on()
        try:
            given = await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.result():
                await self.__aexit__()  # it was given, to somebody who has gone
            raise
        finally:
            timer.cancel()
            with suppress(ValueError):
                self._waiting.remove(place)
        if not given:
            raise self._refusal()

    def _hand_on(self) -> None:
        """Places that are free to those who wait, first come first served."""
        while self._waiting and self.in_flight < self.limit.value:
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(True)

    def _refusal(self) -> Overloaded:
        self._shed("service")
        delay = random.uniform(*RETRY_SECONDS)  # noqa: S311 - jitter
        return Overloaded("the service has as many calls as it can bear", retry_delay=delay)


def unlimited() -> Intake:
    """Lets everybody in."""
    return Intake(AdaptiveLimit(sys.maxsize), 0)


def _give_up(place: "asyncio.Future[bool]") -> None:
    if not place.done():
        place.set_result(False)
