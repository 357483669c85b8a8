"""Steady calls of a running service, and what became of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import grpc


@dataclass
class Load:
    """`per_second` calls whether or not those before have ended, each noted when it ends."""

    call: Callable[[], Awaitable[object]]
    per_second: float
    seconds: list[float] = field(default_factory=list)
    failures: list[grpc.aio.AioRpcError] = field(default_factory=list)

    async def during(self, act: Awaitable[object]) -> None:
        """Call until `act` is done, and let those begun end."""
        running: set[asyncio.Task[None]] = set()
        acting = asyncio.ensure_future(act)
        begun = time.monotonic()
        number = 0
        while not acting.done():
            number += 1
            due = begun + number / self.per_second - time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(acting), max(due, 0.001))
            task = asyncio.create_task(self._one())
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        await acting

    def p99(self) -> float:
        """Of calls that were served, in seconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]

    @property
    def served(self) -> float:
        """The share of calls that were."""
        return len(self.seconds) / max(1, len(self.seconds) + len(self.failures))

    async def _one(self) -> None:
        begun = time.monotonic()
        try:
            await self.call()
        except grpc.aio.AioRpcError as error:
            self.failures.append(error)
        else:
            self.seconds.append(time.monotonic() - begun)
