"""Alerts and webhooks to store, a receiver's own check of signatures, and a clock to set."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llm_service.domain.alert import Alert, AlertAction, AlertKind, AlertUnit
from llm_service.gateway.alerts.delivery import Deliverer
from llm_service.gateway.alerts.webhooks import WebhookDraft, Webhooks
from llm_service.telemetry import Telemetry
from tests.integration.samples import NOW


def an_alert(number: int = 1, tenant: str = "acme", **changes) -> Alert:
    """`number` decides the id and the subject."""
    alert = Alert(
        alert_id=f"{number:036}",
        tenant=tenant,
        kind=AlertKind.BUDGET_THRESHOLD,
        subject=f"tenants/{tenant}/budgets/{number}",
        window_start_time=NOW,
        threshold_percent=80,
        observed=2**40,
        limit=2**41,
        unit=AlertUnit.NANO_USD,
        create_time=NOW + timedelta(seconds=number),
        action=AlertAction.DOWNGRADE,
    )
    return replace(alert, **changes)


async def stored(database, *alerts: Alert) -> list[bool]:
    async with database.begin() as tx:
        return [await tx.alerts.add_once(alert) for alert in alerts]


def accepts(secret: str, asked, now: datetime) -> bool:
    """What a receiver does, from the text of Standard Webhooks' specification."""
    key = base64.b64decode(secret.split("_", 1)[1])
    message, timestamp = asked.headers["webhook-id"], asked.headers["webhook-timestamp"]
    signed = b".".join([message.encode(), timestamp.encode(), asked.body])
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    fresh = abs(int(timestamp) - now.timestamp()) < 300
    return fresh and f"v1,{expected}" in asked.headers["webhook-signature"].split(" ")


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Replica:
    """One replica's part in delivering, with a clock of the test's."""

    clock: Clock
    webhooks: Webhooks
    deliverer: Deliverer
    telemetry: Telemetry

    async def pager(self, target_uri: str, tenant: str = "acme", **draft) -> str:
        """The secret of a new webhook "pager"."""
        made = await self.webhooks.create(tenant, "pager", WebhookDraft(target_uri, **draft))
        return made[1]


def replica(database, vault, egress, clock: Clock | None = None) -> Replica:
    clock = clock or Clock()
    telemetry = Telemetry.start(service_version="test")
    deliverer = Deliverer(database, vault, egress, telemetry, now=clock)
    return Replica(clock, Webhooks(database, vault, egress, clock), deliverer, telemetry)


def wall_clock() -> datetime:
    return datetime.now(UTC)
