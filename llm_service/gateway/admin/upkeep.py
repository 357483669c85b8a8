"""What the service clears away by itself, with nobody asking."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from llm_service.errors import StorageUnavailable
from llm_service.storage.database import Database

SWEEP_SECONDS = 600.0

logger = logging.getLogger(__name__)


class Upkeep:
    """Destroys providers past their purge time; forgets old requests, alerts and deliveries."""

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now

    async def run(self, pause_seconds: float = SWEEP_SECONDS) -> None:
        """Sweep now and after each pause, until cancelled. What fails is tried again then."""
        while True:
            try:
                await self.sweep()
            except StorageUnavailable:
                logger.warning("nothing could be cleared away: the database does not answer")
            except Exception:  # later sweeps must still be made
                logger.exception("nothing could be cleared away")
            await asyncio.sleep(pause_seconds)

    async def sweep(self) -> tuple[str, ...]:
        """The names of the providers that were purged. Of several replicas one does the work."""
        now = self._now()
        async with self._database.begin() as tx:
            purged = await tx.providers.purge_expired(now)
            await tx.creations.forget(now)
            await tx.deliveries.forget(now)
            await tx.alerts.forget(now)
        for name in purged:
            logger.info("purged %s, deleted before", name)
        return purged
