"""The alerts of budgets: listed, and as they come."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llm_service.domain.alert import Alert, AlertKind
from llm_service.domain.listing import And, Comparison, Listing, Operator, Page
from llm_service.gateway.ids import first_id
from llm_service.storage.database import Database

_BATCH = 200
SETTLE = timedelta(seconds=5)
"""A feed stays that far behind: longer than the transactions that tell of what they count."""


@dataclass(frozen=True, slots=True)
class AlertsOf:
    """`tenant` None: of all. `budget` is a name; "" any. `after`: the id to go on from."""

    tenant: str | None
    budget: str = ""
    after: str = ""
    end_time: datetime | None = None


class AlertFeed:
    """Reads the alerts that thresholds of budgets have made."""

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

    async def list(self, which: AlertsOf, listing: Listing) -> Page[Alert]:
        """One page, oldest first."""
        terms = [Comparison("kind", Operator.EQ, AlertKind.BUDGET_THRESHOLD.value)]
        if which.budget:
            terms.append(Comparison("subject", Operator.EQ, which.budget))
        async with self._database.read() as tx:
            return await tx.alerts.list(which.tenant, replace(listing, filter=And(tuple(terms))))

    async def feed(self, which: AlertsOf) -> AsyncGenerator[Alert]:
        """Alerts as they come, in order of id; ends only if `end_time` is set."""
        after = which.after
        last = first_id(which.end_time) if which.end_time else ""
        while True:
            settled = last or first_id(self._now() - SETTLE)
            async with self._database.read() as tx:
                found = await tx.alerts.since(
                    after,
                    which.tenant,
                    _BATCH,
                    kinds=(AlertKind.BUDGET_THRESHOLD,),
                    subject=which.budget,
                )
            ready = [alert for alert in found if alert.alert_id < settled]
            for alert in ready:
                after = alert.alert_id
                yield alert
            if len(ready) == _BATCH:
                continue
            if last:
                return
            await asyncio.sleep(self._poll_seconds)
