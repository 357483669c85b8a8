"""Waiting for a change of configuration: told by the database where it can, and by the clock."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from llm_service.errors import StorageUnavailable
from llm_service.storage import pulse
from llm_service.storage.config import CHANNEL
from llm_service.storage.pulse import Pulse

if TYPE_CHECKING:
    from psycopg import AsyncConnection

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


class Listener:
    """A connection of its own, directly to PostgreSQL, that is notified and looks in between.

    A pooler in transaction mode does not pass notifications on, which leaves the clock.
    """

    def __init__(self, parameters: dict[str, Any], patience: float) -> None:
        self._parameters = parameters
        self._patience = patience
        self._between: AsyncConnection[Any] | None = None

    async def listen(self, poll_seconds: float) -> AsyncGenerator[None]:
        """Yield at once, then when PostgreSQL notifies, or after `poll_seconds` without that.

        A lost connection is made again, and whatever was missed meanwhile is covered by one more
        yield.
        """
        import psycopg

        from llm_service.storage.impatience import connector

        connect = connector(self._patience)
        while True:
            try:
                async with await connect(**self._parameters, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        self._between = connection
                        yield
                        self._between = None
                        async for _ in connection.notifies(timeout=poll_seconds, stop_after=1):
                            pass
            except psycopg.Error as error:
                logger.warning("not notified of changes: %s", type(error).__name__)
            finally:
                self._between = None
            yield
            await asyncio.sleep(poll_seconds)

    async def look(self) -> Pulse | None:
        """Between two notifications, at a tenth of what the pool would cost; None: not now.

        Raises:
            StorageUnavailable: the connection is lost.
        """
        import psycopg

        if self._between is None:
            return None
        try:
            cursor = await self._between.execute(pulse.message(), prepare=False)
            cursor.nextset()
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise StorageUnavailable("the database does not answer") from error
        return Pulse(*row) if row else None
