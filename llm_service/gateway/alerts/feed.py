"""Alerts as they are read: page by page, or as they come."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from llm_service.domain.alert import Alert, AlertKind
from llm_service.domain.listing import Listing, Page
from llm_service.gateway.ids import first_id
from llm_service.storage.database import Database

BATCH = 200
SETTLE = timedelta(seconds=5)
"""How long the transaction of an alert may last: the feed stays that far behind. A statement takes
at most two seconds (storage/engines.py), and clocks of replicas differ."""


@dataclass(frozen=True, slots=True)
class AlertFeedRequest:
    """Which alerts a feed gives: start_time <= create_time < end_time, or without an end.

    `after` is the alert id to go on from, "" from `start_time`. `tenant` None: all tenants. No
    `kinds` are all of them, no `subject` is any.
    """

    tenant: str | None
    start_time: datetime | None = None
    end_time: datetime | None = None
    kinds: tuple[AlertKind, ...] = ()
    subject: str = ""
    after: str = ""


class AlertFeed:
    """Reads alerts."""

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll_seconds: float = 1.0,
    ) -> None:
        self._database = database
        self._now = now
        self._poll_seconds = poll_seconds

    async def list(self, tenant: str | None, listing: Listing) -> Page[Alert]:
        """One page of a tenant's alerts, oldest first; None: everybody's."""
        async with self._database.read() as tx:
            return await tx.alerts.list(tenant, listing)

    async def watch(self, request: AlertFeedRequest) -> AsyncGenerator[tuple[Alert, ...]]:
        """Alerts in order of id, as they come; ends only if `end_time` is set."""
        after = request.after
        if not after and request.start_time:
            after = first_id(request.start_time, less=1)
        last = first_id(request.end_time) if request.end_time else ""
        while True:
            now = self._now()
            settled = first_id(now - SETTLE)
            alerts = await self._next(request, after, min(settled, last) if last else settled)
            if alerts:
                after = alerts[-1].alert_id
                yield alerts
            if len(alerts) == BATCH:
                continue
            if last and last <= settled:
                return
            await asyncio.sleep(self._poll_seconds)

    async def _next(self, request: AlertFeedRequest, after: str, before: str) -> tuple[Alert, ...]:
        async with self._database.read() as tx:
            found = await tx.alerts.since(
                after, request.tenant, BATCH, kinds=request.kinds, subject=request.subject
            )
        return tuple(alert for alert in found if alert.alert_id < before)
