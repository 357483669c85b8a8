"""Alerts as rows: each stored once, together with what is to be delivered of it."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.alert import Alert, AlertAction, AlertKind
from llm_service.domain.listing import Listing, Page
from llm_service.storage import rows
from llm_service.storage.deliveries import KNOWN, Deliveries, to_alert
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import alerts as table

KEPT = timedelta(days=400)
"""How long an alert can be read, and keeps its like from being raised: as long as windows of
budgets are kept."""

FORGOTTEN_AT_ONCE = 1_000

_LISTED = Listed(
    {
        "alert_id": Field(table.c.alert_id),
        "tenant": Field(table.c.tenant),
        "kind": Field(table.c.kind, members=AlertKind, prefix="ALERT_KIND_"),
        "subject": Field(table.c.subject),
        "window_start_time": Field(table.c.window_start_time, Kind.TIME),
        "threshold_percent": Field(table.c.threshold_percent, Kind.INTEGER),
        "action": Field(table.c.action, members=AlertAction, prefix="ACTION_"),
        "create_time": Field(table.c.create_time, Kind.TIME),
    },
    key=("create_time", "alert_id"),
)


class Alerts:
    """Immutable rows. `tenant` None means all tenants: operators only."""

    def __init__(self, connection: AsyncConnection, deliveries: Deliveries) -> None:
        self._connection = connection
        self._deliveries = deliveries
        self.added: list[Alert] = []
        """Those that nobody had stored before."""

    async def add_once(self, alert: Alert) -> bool:
        """Store an alert; False: there is one of its tenant, kind, subject, window and threshold.

        With it is stored for which webhooks it is: whoever dies now has lost none of them.

        Of several transactions that store the same one at once, one does, and the others wait for
        its end. The transaction is the service's own (`as_service`), whoever is being served: an
        alert may be another tenant's, and so may be those who are told of it.
        """
        values = rows.clip(table, _to_values(alert))
        statement = rows.insert_new(self._connection.dialect, table).values(values)
        # Without the option SQLAlchemy does not count what an insert did.
        result = await self._connection.execute(
            statement, execution_options={"preserve_rowcount": True}
        )
        if result.rowcount == 0:
            return False
        await self._deliveries.enqueue(alert)
        self.added.append(alert)
        return True

    async def list(self, tenant: str | None, listing: Listing) -> Page[Alert]:
        """One page of alerts, oldest first unless `order_by` says otherwise.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        found, after = await _LISTED.page(self._connection, _of(tenant), listing)
        return Page(tuple(map(to_alert, found)), after)

    async def since(
        self,
        alert_id: str,
        tenant: str | None,
        limit: int,
        *,
        kinds: Collection[AlertKind] = (),
        subject: str = "",
    ) -> tuple[Alert, ...]:
        """Up to `limit` alerts whose ids come after `alert_id` ("": all), in order of id.

        No `kinds` are all of them, no `subject` is any. An alert may arrive after another with a
        greater id: a feed must stay behind the present by more than a transaction lasts.
        """
        statement = _of(tenant).where(table.c.alert_id > alert_id)
        if kinds:
            statement = statement.where(table.c.kind.in_([kind.value for kind in kinds]))
        if subject:
            statement = statement.where(table.c.subject == subject)
        found = await self._connection.execute(statement.order_by(table.c.alert_id).limit(limit))
        return tuple(map(to_alert, found))

    async def forget(self, now: datetime) -> int:
        """Drop what is old, with its deliveries; up to a thousand alerts, and how many."""
        old = (
            select(table.c.alert_id)
            .where(table.c.create_time <= now - KEPT)
            .order_by(table.c.create_time, table.c.alert_id)
            .limit(FORGOTTEN_AT_ONCE)
        )
        some = delete(table).where(table.c.alert_id.in_(old))
        return (await self._connection.execute(some)).rowcount


def _of(tenant: str | None) -> Select[Any]:
    statement = select(table).where(KNOWN)
    return statement if tenant is None else statement.where(table.c.tenant == tenant)


def _to_values(alert: Alert) -> rows.Values:
    return {
        "alert_id": alert.alert_id,
        "tenant": alert.tenant,
        "kind": alert.kind.value,
        "subject": alert.subject,
        "window_start_time": alert.window_start_time,
        "threshold_percent": alert.threshold_percent,
        "action": alert.action.value,
        "observed": alert.observed,
        "limit_value": alert.limit,
        "unit": alert.unit.value,
        "create_time": alert.create_time,
    }
