"""Webhooks as rows."""

import dataclasses
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.alert import AlertKind
from llm_service.domain.listing import Listing, Page
from llm_service.domain.webhook import Webhook
from llm_service.errors import ResourceNotFound
from llm_service.storage import caps, reading, rows
from llm_service.storage.audit import AuditEntries
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.sealed import WEBHOOK_SECRETS, kept
from llm_service.storage.tables import webhooks as table

_LISTED = Listed(
    {
        "tenant": Field(table.c.tenant),
        "webhook_id": Field(table.c.webhook_id),
        "display_name": Field(table.c.display_name),
        "target_uri": Field(table.c.target_uri),
        "disabled": Field(table.c.disabled, Kind.BOOLEAN),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "update_time": Field(table.c.update_time, Kind.TIME),
    },
    key=("tenant", "webhook_id"),
)
_KINDS = tuple(kind.value for kind in AlertKind)


class Webhooks:
    """The webhooks of all tenants; each method says whose."""

    def __init__(self, connection: AsyncConnection, audit: AuditEntries) -> None:
        self._connection = connection
        self._audit = audit

    async def get(self, tenant: str, webhook_id: str, *, for_update: bool = False) -> Webhook:
        """One webhook. `for_update` keeps others from changing it until the transaction ends.

        Raises:
            ResourceNotFound: the tenant has none of that id.
        """
        statement = select(table).where(table.c.tenant == tenant, table.c.webhook_id == webhook_id)
        if for_update:
            statement = statement.with_for_update()
        row = await reading.first(self._connection, statement)
        if row is None:
            raise ResourceNotFound("no such webhook")
        return to_webhook(row)

    async def add(self, webhook: Webhook) -> None:
        """Store a new webhook.

        Raises:
            AlreadyExists: the tenant has one of that id. Nothing was written.
            EncryptionKeyMissing: the secret is sealed with a key that was retired.
            InvalidField: a value does not fit its column.
        """
        await rows.add(self._connection, table, _to_values(webhook))
        self._audit.changed(None, webhook)

    async def update(self, webhook: Webhook, expected_version: int) -> Webhook:
        """Replace the webhook of that uid, and give it back with its next version.

        A secret of the same version stays as it is sealed in the database.

        Raises:
            EncryptionKeyMissing: the secret is sealed with a key that was retired.
            EtagMismatch: it is no longer at `expected_version`.
            InvalidField: a value does not fit its column.
            ResourceNotFound: it is gone.
        """
        key = and_(table.c.tenant == webhook.tenant, table.c.uid == webhook.uid)
        before = await reading.first(self._connection, select(table).where(key))
        secret = webhook.secret_version, webhook.sealed
        values = _to_values(webhook) | {"sealed": kept(WEBHOOK_SECRETS, *secret)}
        version = await rows.replace(self._connection, table, key, expected_version, values)
        self._audit.changed(before and to_webhook(before), webhook)
        return dataclasses.replace(webhook, version=version, unreadable=())

    async def delete(self, tenant: str, webhook_id: str, expected_version: int | None) -> None:
        """Destroy a webhook and its deliveries. `expected_version` None: whatever its version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: there is none.
        """
        key = and_(table.c.tenant == tenant, table.c.webhook_id == webhook_id)
        before = await reading.first(self._connection, select(table).where(key))
        await rows.remove(self._connection, table, key, expected_version)
        self._audit.changed(before and to_webhook(before), None)

    async def count_alone(self, tenant: str) -> int:
        """How many webhooks a tenant has; others who ask wait until this transaction ends."""
        return await caps.count_alone(self._connection, table, tenant)

    async def list(self, tenant: str | None, listing: Listing) -> Page[Webhook]:
        """One page of a tenant's webhooks ("": those of no one tenant; None: everybody's).

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = select(table)
        if tenant is not None:
            statement = statement.where(table.c.tenant == tenant)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(map(to_webhook, found)), after)


def _to_values(webhook: Webhook) -> rows.Values:
    return {
        "uid": webhook.uid,
        "tenant": webhook.tenant,
        "webhook_id": webhook.webhook_id,
        "version": webhook.version,
        "display_name": webhook.display_name,
        "target_uri": webhook.target_uri,
        "alert_kinds": [kind.value for kind in webhook.alert_kinds],
        "disabled": webhook.disabled,
        "secret_version": webhook.secret_version,
        "sealed": webhook.sealed,
        "create_time": webhook.create_time,
        "update_time": webhook.update_time,
    }


def to_webhook(row: Any) -> Webhook:  # noqa: ANN401 - a row
    kinds = row.alert_kinds
    if isinstance(kinds, list):  # a later release may know more
        kinds = [kind for kind in kinds if kind in _KINDS or not isinstance(kind, str)]
    return reading.value(Webhook, row, alert_kinds=kinds)
