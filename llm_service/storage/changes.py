"""Waiting for a change of configuration: told by the database where it can, and by the clock."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from llm_service.storage.config import CHANNEL

logger = logging.getLogger(__name__)


class LocalChanges:
    """Changes made by this process. Another process's are found by the clock."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def announce(self) -> None:
        """Wake everybody who listens."""
        for changed in self._waiting:
            changed.set()

    async def listen(self, poll_seconds: float) -> AsyncGenerator[None]:
        """Yield at once, then after each change, or after `poll_seconds` without one."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            while True:
                yield
                try:
                    async with asyncio.timeout(poll_seconds):
                        await changed.wait()
                except TimeoutError:
                    continue
                changed.clear()
        finally:
            self._waiting.discard(changed)


async def listen(parameters: dict[str, Any], poll_seconds: float) -> AsyncGenerator[None]:
    """Yield at once, then when PostgreSQL notifies, or after `poll_seconds` without that.

    Holds a connection of its own, directly to the server: a pooler in transaction mode does not
    pass notifications on, which leaves the clock. A lost connection is made again, and whatever was
    missed meanwhile is covered by one more yield.
    """
    import psycopg

    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                **parameters, autocommit=True
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                while True:
                    yield
                    async for _ in connection.notifies(timeout=poll_seconds, stop_after=1):
                        pass
        except psycopg.Error as error:
            logger.warning("not notified of changes: %s", type(error).__name__)
        yield
        await asyncio.sleep(poll_seconds)
