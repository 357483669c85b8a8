"""What is delivered to webhooks, as rows: an outbox that each transaction with an alert fills."""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.alert import Alert, AlertAction, AlertKind, AlertUnit
from llm_service.domain.listing import Listing, Page
from llm_service.domain.webhook import (
    DeliveryAttempt,
    DeliveryProblem,
    DeliveryState,
    DueDelivery,
    WebhookDelivery,
)
from llm_service.storage import reading
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import alerts, webhooks
from llm_service.storage.tables import webhook_deliveries as table
from llm_service.storage.webhooks import to_webhook

TRIED = timedelta(days=3)
"""How long a delivery is tried before it is given up."""
KEPT = timedelta(days=30)
"""How long a settled delivery can be read and repeated."""

KNOWN = alerts.c.kind.in_([kind.value for kind in AlertKind])
"""Alerts this release can read: a later one, beside it for a while, may have more kinds."""

_PENDING = table.c.state == DeliveryState.PENDING.value
_LISTED = Listed(
    {
        "delivery_id": Field(table.c.delivery_id),
        "state": Field(table.c.state, members=DeliveryState, prefix="STATE_"),
        "problem": Field(
            table.c.problem, nullable=True, members=DeliveryProblem, prefix="PROBLEM_"
        ),
        "attempt_count": Field(table.c.attempt_count, Kind.INTEGER),
        "http_status": Field(table.c.http_status, Kind.INTEGER),
        "create_time": Field(table.c.create_time, Kind.TIME),
    },
    key=("create_time", "delivery_id"),
)
_SHOWN = select(table, alerts.c.tenant.label("alert_tenant")).join(alerts)


class Deliveries:
    """The outbox. What is claimed belongs to one replica until its lease ends."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def enqueue(self, alert: Alert) -> None:
        """Note for which webhooks an alert is that this transaction has stored."""
        wanted = (
            select(webhooks.c.uid, webhooks.c.tenant, webhooks.c.alert_kinds)
            .where(or_(webhooks.c.tenant == alert.tenant, webhooks.c.tenant == ""))
            .where(webhooks.c.disabled.is_(False))
            .order_by(webhooks.c.uid)
            # None of them goes while the alert is stored for it.
            .with_for_update(read=True, key_share=True)
        )
        found = await self._connection.execute(wanted)
        values = [
            {
                "delivery_id": _delivery_id(alert, row.uid),
                "tenant": row.tenant,
                "webhook_uid": row.uid,
                "alert_id": alert.alert_id,
                "state": DeliveryState.PENDING.value,
                "attempt_count": 0,
                "next_attempt_time": alert.create_time,
                "http_status": 0,
                "create_time": alert.create_time,
                "expire_time": alert.create_time + TRIED,
            }
            for row in found
            if _wants(row.alert_kinds, alert)
        ]
        if values:
            await self._connection.execute(insert(table), values)

    async def due(self, now: datetime, limit: int) -> tuple[DueDelivery, ...]:
        """What may be claimed now, at most one delivery a webhook, the longest waiting first."""
        place = func.row_number().over(
            partition_by=table.c.webhook_uid,
            order_by=(table.c.next_attempt_time, table.c.delivery_id),
        )
        waiting = (
            select(table.c.delivery_id, place.label("place"))
            .join(webhooks)
            .join(alerts)
            .where(KNOWN, _PENDING, table.c.next_attempt_time <= now, table.c.expire_time > now)
            .where(webhooks.c.disabled.is_(False))
            .subquery()
        )
        chosen = (
            select(table)
            .join(waiting, waiting.c.delivery_id == table.c.delivery_id)
            .where(waiting.c.place == 1)
            .order_by(table.c.next_attempt_time, table.c.delivery_id)
            .limit(limit)
        )
        rows = (await self._connection.execute(chosen)).all()
        return tuple([await self._due(row) for row in rows])

    async def claim(self, due: DueDelivery, now: datetime, lease: timedelta) -> bool:
        """Begin the next attempt; False: another replica has begun it, or it is settled."""
        statement = (
            update(table)
            .where(table.c.delivery_id == due.delivery_id, _PENDING)
            .where(table.c.attempt_count == due.attempt_count)
            .values(
                attempt_count=due.attempt_count + 1,
                next_attempt_time=now + lease,
                last_attempt_time=now,
            )
        )
        return (await self._connection.execute(statement)).rowcount > 0

    async def settle(
        self, due: DueDelivery, attempt: DeliveryAttempt, now: datetime, next_time: datetime
    ) -> bool:
        """Note how a claimed attempt ended; it is tried again at `next_time` if it failed.

        False: its lease ended long ago, and another replica has begun the next.
        """
        delivered = attempt.problem is None
        statement = (
            update(table)
            .where(table.c.delivery_id == due.delivery_id, _PENDING)
            .where(table.c.attempt_count == due.attempt_count + 1)
            .values(
                state=(DeliveryState.DELIVERED if delivered else DeliveryState.PENDING).value,
                http_status=attempt.http_status,
                problem=attempt.problem and attempt.problem.value,
                next_attempt_time=None if delivered else next_time,
                settle_time=now if delivered else None,
            )
        )
        return (await self._connection.execute(statement)).rowcount > 0

    async def overdue(self, now: datetime) -> bool:
        """Whether `give_up` has something to do."""
        found = await self._connection.execute(select(table.c.delivery_id).where(_late(now)))
        return found.first() is not None

    async def give_up(self, now: datetime) -> int:
        """Settle what was tried for too long. How many deliveries that are."""
        statement = update(table).where(_late(now))
        given_up = statement.values(
            state=DeliveryState.GIVEN_UP.value, next_attempt_time=None, settle_time=now
        )
        return (await self._connection.execute(given_up)).rowcount

    async def forget(self, now: datetime) -> int:
        """Drop what was settled long ago. How many deliveries that are."""
        old = table.c.settle_time <= now - KEPT
        return (await self._connection.execute(delete(table).where(old))).rowcount

    async def oldest(self) -> datetime | None:
        """Since when the longest waiting one waits to be delivered; None: none does."""
        waiting = table.c.next_attempt_time.is_not(None)
        statement = select(func.min(table.c.create_time)).where(_PENDING, waiting)
        found: datetime | None = (await self._connection.execute(statement)).scalar_one()
        return found

    async def list(self, webhook_uid: str, listing: Listing) -> Page[WebhookDelivery]:
        """One page of a webhook's deliveries, oldest first unless `order_by` says otherwise.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = _SHOWN.where(table.c.webhook_uid == webhook_uid)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(map(_to_delivery, found)), after)

    async def again(self, webhook_uid: str, delivery_ids: Collection[str], now: datetime) -> int:
        """Have these, or all that were given up, tried anew for as long as new ones. How many."""
        statement = update(table).where(table.c.webhook_uid == webhook_uid)
        if delivery_ids:
            statement = statement.where(table.c.delivery_id.in_(delivery_ids))
        else:
            statement = statement.where(table.c.state == DeliveryState.GIVEN_UP.value)
        renewed = statement.values(
            state=DeliveryState.PENDING.value,
            next_attempt_time=now,
            expire_time=now + TRIED,
            settle_time=None,
        )
        return (await self._connection.execute(renewed)).rowcount

    async def _due(self, row: Row[Any]) -> DueDelivery:
        webhook = await reading.first(
            self._connection, select(webhooks).where(webhooks.c.uid == row.webhook_uid)
        )
        alert = await self._connection.execute(
            select(alerts).where(alerts.c.alert_id == row.alert_id)
        )
        return DueDelivery(
            row.delivery_id, row.attempt_count, to_webhook(webhook), to_alert(alert.one())
        )


def _late(now: datetime) -> ColumnElement[bool]:
    return and_(_PENDING, table.c.next_attempt_time.is_not(None), table.c.expire_time <= now)


def _wants(kinds: object, alert: Alert) -> bool:
    """Kinds that cannot be read are all, as `to_webhook` has it: no alert may fail for them."""
    return not kinds or not isinstance(kinds, list) or alert.kind.value in kinds


def _delivery_id(alert: Alert, webhook_uid: str) -> str:
    """The same for the same two, so that a receiver knows again what it had."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{alert.alert_id}/{webhook_uid}"))


def _to_delivery(row: Row[Any]) -> WebhookDelivery:
    prefix = f"tenants/{row.alert_tenant}/" if row.alert_tenant else ""
    return WebhookDelivery(
        delivery_id=row.delivery_id,
        webhook_uid=row.webhook_uid,
        alert=f"{prefix}alerts/{row.alert_id}",
        state=DeliveryState(row.state),
        attempt_count=row.attempt_count,
        create_time=row.create_time,
        next_attempt_time=row.next_attempt_time,
        last_attempt_time=row.last_attempt_time,
        http_status=row.http_status,
        problem=row.problem and DeliveryProblem(row.problem),
        settle_time=row.settle_time,
    )


def to_alert(row: Row[Any]) -> Alert:
    return Alert(
        alert_id=row.alert_id,
        tenant=row.tenant,
        kind=AlertKind(row.kind),
        subject=row.subject,
        window_start_time=row.window_start_time,
        threshold_percent=row.threshold_percent,
        observed=row.observed,
        limit=row.limit_value,
        unit=AlertUnit(row.unit),
        create_time=row.create_time,
        action=AlertAction(row.action),
    )
