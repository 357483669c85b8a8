"""Delivering alerts to webhooks: at least once, each attempt by one replica."""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from llm_service.domain.alert import Alert
from llm_service.domain.webhook import DeliveryAttempt, DeliveryProblem, DueDelivery
from llm_service.errors import (
    EgressDenied,
    EncryptionKeyMissing,
    GatewayError,
    ProviderCredentialUnreadable,
    ProviderTimeout,
    StorageUnavailable,
)
from llm_service.gateway.alerts import signing
from llm_service.gateway.alerts.webhooks import binding
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.telemetry import Telemetry
from llm_service.vault import Vault

AT_ONCE = 16
"""Webhooks served together. Each has one attempt at a time, so that a dead one holds up no other
for longer than its own attempt takes."""
CONNECT_SECONDS = 5.0
ATTEMPT_SECONDS = 10.0
LEASE = timedelta(seconds=60)
"""How long an attempt belongs to its replica: far longer than it takes."""
FIRST_DELAY, LONGEST_DELAY = 5.0, 3600.0
"""Seconds after the first failure; doubled with each, up to the longest."""
POLL_SECONDS = 1.0
LOOK_SECONDS = 1.5
"""How old a look that found nothing waiting may be: so an alert is sent within two seconds."""

_ACCEPTED = range(200, 300)

logger = logging.getLogger(__name__)


class Deliverer:
    """Empties the outbox."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        egress: Egress,
        telemetry: Telemetry,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._vault = vault
        self._egress = egress
        self._telemetry = telemetry
        self._now = now
        self._owing = True  # by the last round: what waits must be told, until it no longer does

    async def run(self, poll_seconds: float = POLL_SECONDS) -> None:
        """Deliver what there is, until cancelled. What fails is tried again."""
        while True:
            found = 0
            try:
                if self._owing or (await self._database.pulse(LOOK_SECONDS)).deliveries:
                    found = await self.round()
            except StorageUnavailable:
                logger.warning("no alert is delivered: the database does not answer")
            except Exception:  # later rounds must still be made
                logger.exception("alerts could not be delivered")
            if not found:
                await asyncio.sleep(poll_seconds)

    async def round(self) -> int:
        """One attempt for each webhook that has something due. How many went as they should."""
        now = self._now()
        async with self._database.read() as tx:
            due = await tx.deliveries.due(now, AT_ONCE)
            oldest = await tx.deliveries.oldest()
            overdue = await tx.deliveries.overdue(now)
        self._owing = oldest is not None
        self._telemetry.note_undelivered(0.0 if oldest is None else (now - oldest).total_seconds())
        if overdue:
            async with self._database.begin() as tx:
                given_up = await tx.deliveries.give_up(now)
            for _ in range(given_up):
                self._telemetry.delivery("given_up")
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(self._deliver_alone(one)) for one in due]
        return sum(one.result() for one in made)

    async def _deliver_alone(self, due: DueDelivery) -> bool:
        """As `_deliver`; False: it went wrong, which cancels no other."""
        try:
            await self._deliver(due)
        except StorageUnavailable:
            logger.warning("a delivery is not noted: the database does not answer")
        except Exception:
            logger.exception("a delivery to %s broke", due.webhook.name)
        else:
            return True
        return False

    async def _deliver(self, due: DueDelivery) -> None:
        async with self._database.begin() as tx:
            if not await tx.deliveries.claim(due, self._now(), LEASE):
                return
        attempt = await self._attempt(due)
        now = self._now()
        delay = timedelta(seconds=_delay(due.attempt_count))
        async with self._database.begin() as tx:
            if not await tx.deliveries.settle(due, attempt, now, now + delay):
                return
        problem = attempt.problem
        self._telemetry.delivery("delivered" if problem is None else problem.value)
        if problem is not None:
            logger.warning(
                "a delivery to %s failed: %s (HTTP status %d)",
                *(due.webhook.name, problem.value, attempt.http_status),
            )

    async def _attempt(self, due: DueDelivery) -> DeliveryAttempt:
        try:
            status = await self._send(due)
        except (ProviderCredentialUnreadable, EncryptionKeyMissing):
            return DeliveryAttempt(problem=DeliveryProblem.SECRET_UNREADABLE)
        except (EgressDenied, ValueError):  # ValueError: plain http that is no longer allowed
            return DeliveryAttempt(problem=DeliveryProblem.EGRESS_DENIED)
        except ProviderTimeout:
            return DeliveryAttempt(problem=DeliveryProblem.TIMED_OUT)
        except GatewayError:
            return DeliveryAttempt(problem=DeliveryProblem.UNREACHABLE)
        accepted = status in _ACCEPTED
        return DeliveryAttempt(status, None if accepted else DeliveryProblem.NOT_ACCEPTED)

    async def _send(self, due: DueDelivery) -> int:
        """The status of the answer; its body is not read."""
        webhook = due.webhook
        secret = self._vault.open(webhook.sealed, binding(webhook))
        endpoint = self._egress.endpoint(webhook.target_uri)
        body = payload(due.alert)
        timestamp = int(self._now().timestamp())
        response = await self._egress.send(
            endpoint,
            "POST",
            "/" if not endpoint.path or webhook.target_uri.endswith("/") else "",
            (
                ("content-type", "application/json"),
                ("webhook-id", due.delivery_id),
                ("webhook-timestamp", str(timestamp)),
                (
                    "webhook-signature",
                    signing.signature(secret, due.delivery_id, timestamp, body),
                ),
            ),
            body,
            connect_timeout=CONNECT_SECONDS,
            by=asyncio.get_running_loop().time() + ATTEMPT_SECONDS,
        )
        response.close()
        return response.status


def payload(alert: Alert) -> bytes:
    """The body of a delivery, the same at every attempt: JSON in Standard Webhooks' own shape."""
    return msgspec.json.encode(
        {
            "type": f"alert.{alert.kind.value}",
            "timestamp": alert.create_time,
            "data": {
                "name": alert.name,
                "kind": alert.kind.value,
                "subject": alert.subject,
                "window_start_time": alert.window_start_time,
                "threshold_percent": alert.threshold_percent,
                "action": alert.action.value,
                "observed": alert.observed,
                "limit": alert.limit,
                "unit": alert.unit.value,
                "create_time": alert.create_time,
            },
        }
    )


def _delay(failures_before: int) -> float:
    """Seconds until the next attempt; half of it is chance: many must not come back as one."""
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures_before, 30))
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - no secret
