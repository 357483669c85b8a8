"""What operators see of health, and the circuits they reset."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from llm_service.domain.health import (
    ANY,
    Circuit,
    CircuitNews,
    CircuitState,
    Condition,
    ProviderHealth,
    TargetKey,
)
from llm_service.domain.provider import Provider
from llm_service.gateway.health.circuits import (
    HEALTH_SECONDS,
    Circuits,
    ProviderRecord,
    TargetHealth,
)
from llm_service.gateway.health.sharing import CircuitSharing
from llm_service.gateway.health.windows import median
from llm_service.gateway.ids import new_id
from llm_service.storage.database import Database

DEGRADED_RATIO = 0.1
DEGRADED_VOLUME = 5
"""From this share of failures, of that many attempts in five minutes on, something is wrong."""

UNKNOWN = ProviderHealth()


class HealthAdministration:
    """Tells what this replica has seen and heard, and resets circuits on all of them."""

    def __init__(
        self,
        circuits: Circuits,
        sharing: CircuitSharing,
        database: Database,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._circuits = circuits
        self._sharing = sharing
        self._database = database
        self._now = now

    def of_provider(self, uid: str) -> ProviderHealth:
        record = self._circuits.of_provider(uid)
        if record is None:
            return UNKNOWN
        now = self._circuits.now()
        record.window.turn(now)
        first_tokens = [value for at, value in record.first_tokens if now - at <= HEALTH_SECONDS]
        tries = [
            until
            for known in record.targets.values()
            if known.breaker.opened and (until := known.breaker.until(now)) is not None
        ]
        return ProviderHealth(
            _condition(record, now),
            self._instant(record.seen, now),
            record.last_error,
            record.window.ratio,
            median(first_tokens) if first_tokens else None,
            self._instant(min(tries, default=None), now),
        )

    async def list(self, tenant: str, provider_id: str) -> tuple[Circuit, ...]:
        """The circuits of a provider's targets.

        Raises:
            ResourceNotFound: there is no such provider.
        """
        provider = await self._provider(tenant, provider_id)
        record = self._circuits.of_provider(provider.uid)
        now = self._circuits.now()
        targets = tuple(record.targets.values()) if record else ()
        return tuple(self._circuit(known, provider.name, now) for known in targets)

    async def reset(
        self, tenant: str, provider_id: str, credential_id: str = ANY, model_id: str = ANY
    ) -> int:
        """Close the circuits of a provider's targets, here now and on other replicas soon.

        Gives how many were not closed here.

        Raises:
            ResourceNotFound: there is no such provider.
        """
        provider = await self._provider(tenant, provider_id)
        key = TargetKey(provider.uid, credential_id, model_id)
        news = CircuitNews(
            key,
            tenant,
            provider_id,
            CircuitState.CLOSED,
            new_id(),
            self._sharing.replica,
            reset=True,
        )
        async with self._database.begin() as tx:
            await tx.circuits.tell([news])
            tx.audit.changed(None, news)
        return self._circuits.reset(provider.uid, credential_id, model_id)

    async def _provider(self, tenant: str, provider_id: str) -> Provider:
        async with self._database.read() as tx:
            return await tx.providers.get(tenant, provider_id)

    def _circuit(self, known: TargetHealth, provider_name: str, now: float) -> Circuit:
        breaker, key = known.breaker, known.key
        breaker.window.turn(now)
        return Circuit(
            f"{provider_name}/models/{key.model_id}",
            f"{provider_name}/credentials/{key.credential_id}" if key.credential_id else "",
            breaker.state(now),
            breaker.reason,
            self._instant(breaker.until(now), now),
            breaker.window.ratio,
            breaker.window.total,
            breaker.ejections,
            known.first_token.read(now),
            known.speed.read(now),
        )

    def _instant(self, at: float | None, now: float) -> datetime | None:
        return None if at is None else self._now() + timedelta(seconds=at - now)


def _condition(record: ProviderRecord, now: float) -> Condition | None:
    targets, window = record.targets.values(), record.window
    lately = [t for t in targets if t.breaker.opened or now - t.seen <= HEALTH_SECONDS]
    opened = sum(known.breaker.opened for known in lately)
    if not lately:
        return None
    if opened == len(lately):
        return Condition.UNAVAILABLE
    if opened or (window.total >= DEGRADED_VOLUME and window.ratio >= DEGRADED_RATIO):
        return Condition.DEGRADED
    return Condition.HEALTHY
