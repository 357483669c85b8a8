"""Circuits across replicas: what opens here is told to the others, and what they tell is heard."""

import asyncio
import logging

from llm_service.domain.access import as_service
from llm_service.domain.health import CircuitNews, CircuitState, TargetKey
from llm_service.errors import StorageUnavailable
from llm_service.gateway.health.breaker import Change
from llm_service.gateway.health.circuits import Circuits, TargetHealth
from llm_service.gateway.ids import new_id
from llm_service.storage.circuits import is_storable
from llm_service.storage.database import Database
from llm_service.storage.pulse import Pulse

logger = logging.getLogger(__name__)

BATCH = 100
WAITING_MOST = 1000
PAUSE_SECONDS = 0.1
"""Between two writes, so that circuits that open together are told together."""

RETRY_SECONDS = 1.0


class CircuitSharing:
    """Tells by rows in the database, off the path of calls; without it each goes on by itself."""

    def __init__(self, circuits: Circuits, database: Database) -> None:
        self.replica = new_id()
        self._circuits = circuits
        self._database = database
        self._waiting: dict[TargetKey, TargetHealth] = {}
        self._news = asyncio.Event()
        self._heard: dict[TargetKey, str] = {}
        circuits.told = self._note

    async def run(self) -> None:
        """Tell what changes, until cancelled. Of what the database does not take, the latest."""
        while True:
            await self._news.wait()
            try:
                await self.tell()
            except StorageUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:  # later changes must still be told
                logger.exception("circuits could not be told of")
                self._waiting.clear()
            await asyncio.sleep(PAUSE_SECONDS)

    async def tell(self) -> None:
        """Store what waits to be told, as it is now."""
        self._news.clear()
        batch = dict(list(self._waiting.items())[:BATCH])
        try:
            if news := [self._of(known) for known in batch.values()]:
                async with self._database.begin() as tx:
                    await tx.circuits.tell(news)
                    await tx.circuits.forget()
        except BaseException:
            self._news.set()
            raise
        for key, known in batch.items():
            if self._waiting.get(key) is known:
                del self._waiting[key]
        if self._waiting:
            self._news.set()

    async def follow(self, pulse: Pulse) -> None:
        """Hear what there is to hear, by that look."""
        if pulse.circuits:
            await self.refresh()

    async def refresh(self) -> None:
        """Hear what the others have told since the last time."""
        with as_service():
            async with self._database.read() as tx:
                recent = await tx.circuits.recent()
        heard = self._heard
        self._heard = {news.key: news.change_id for news, _ in recent}
        for news, ago in recent:
            if news.replica != self.replica and heard.get(news.key) != news.change_id:
                self._hear(news, ago)

    def _hear(self, news: CircuitNews, ago: float) -> None:
        circuits, key = self._circuits, news.key
        if news.reset:
            circuits.reset(key.provider_uid, key.credential_id, key.model_id)
            return
        left = news.seconds - ago
        if news.state is CircuitState.OPEN and left <= 0:
            return
        known = circuits.known(key, news.tenant, news.provider_id)
        now, breaker = circuits.now(), known.breaker
        if news.state is CircuitState.OPEN:
            if breaker.told_open(now, left, news.reason, news.ejection_count):
                logger.info("the circuit of %s is open: another replica's is", known.text)
        elif breaker.told_closed(now):
            logger.info("the circuit of %s is closed again: another replica's is", known.text)

    def _note(self, known: TargetHealth, _change: Change, _now: float) -> None:
        if len(self._waiting) < WAITING_MOST and is_storable(known.key):
            self._waiting[known.key] = known
            self._news.set()

    def _of(self, known: TargetHealth) -> CircuitNews:
        now, breaker = self._circuits.now(), known.breaker
        seconds = (breaker.until(now) or now) - now if breaker.opened else 0.0
        return CircuitNews(
            known.key,
            known.tenant,
            known.provider_id,
            CircuitState.OPEN if breaker.opened else CircuitState.CLOSED,
            new_id(),
            self.replica,
            seconds,
            breaker.reason,
            breaker.ejections,
        )
