"""Providers as rows."""

import dataclasses
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Provider
from llm_service.errors import ResourceNotFound
from llm_service.storage import reading, rows
from llm_service.storage.audit import AuditEntries
from llm_service.storage.expressions import JsonFinds, Position
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import models
from llm_service.storage.tables import providers as table

DEFAULT_PRIORITY = 100
DEFAULT_WEIGHT = 1
MAX_PURGED = 500
"""Of one call, so that no transaction grows without bound."""


def _found_by(part: ColumnElement[str]) -> ColumnElement[bool]:
    """In its own texts, or in those of a model of it."""
    own = (table.c.provider_id, table.c.display_name, table.c.description)
    of_model = (
        models.c.model_id,
        models.c.provider_model,
        models.c.display_name,
        models.c.description,
    )
    in_model = or_(
        JsonFinds(models.c.aliases, part), *(Position(text, part) > 0 for text in of_model)
    )
    has_model = exists().where(models.c.provider_uid == table.c.uid, in_model)
    return or_(has_model, *(Position(text, part) > 0 for text in own))


_LISTED = Listed(
    {
        "tenant": Field(table.c.tenant),
        "provider_id": Field(table.c.provider_id),
        "uid": Field(table.c.uid),
        "kind": Field(table.c.kind),
        "display_name": Field(table.c.display_name),
        "description": Field(table.c.description),
        "base_uri": Field(table.c.base_uri),
        "default_credential": Field(table.c.default_credential),
        "disabled": Field(table.c.disabled, Kind.BOOLEAN),
        "priority": Field(func.coalesce(table.c.priority, DEFAULT_PRIORITY), Kind.INTEGER),
        "weight": Field(func.coalesce(table.c.weight, DEFAULT_WEIGHT), Kind.INTEGER),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "update_time": Field(table.c.update_time, Kind.TIME),
        "delete_time": Field(table.c.delete_time, Kind.TIME, nullable=True),
        "purge_time": Field(table.c.purge_time, Kind.TIME, nullable=True),
        "settings": Field(table.c.settings, Kind.MAP),
        "labels": Field(table.c.labels, Kind.MAP),
    },
    key=("tenant", "provider_id"),
    found_by=_found_by,
)


class Providers:
    """The providers of all tenants; each method but `purge_expired` says whose."""

    def __init__(self, connection: AsyncConnection, audit: AuditEntries) -> None:
        self._connection = connection
        self._audit = audit

    async def get(
        self,
        tenant: str,
        provider_id: str,
        *,
        show_deleted: bool = False,
        for_update: bool = False,
    ) -> Provider:
        """One provider. `for_update` keeps others from changing it until the transaction ends.

        Raises:
            ResourceNotFound: the tenant has none of that id, or it is deleted.
        """
        statement = _visible(show_deleted=show_deleted).where(
            table.c.tenant == tenant, table.c.provider_id == provider_id
        )
        if for_update:
            statement = statement.with_for_update()
        row = await reading.first(self._connection, statement)
        if row is None:
            raise ResourceNotFound("no such provider")
        return _to_provider(row)

    async def add(self, provider: Provider) -> None:
        """Store a new provider.

        Raises:
            AlreadyExists: the tenant has one of that id, maybe soft-deleted. Nothing was written.
            InvalidField: a value does not fit its column.
        """
        await rows.add(self._connection, table, _to_values(provider))
        self._audit.changed(None, provider)

    async def update(self, provider: Provider, expected_version: int) -> Provider:
        """Replace the provider of that uid, and give it back with its next version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            InvalidField: a value does not fit its column.
            ResourceNotFound: it is gone.
        """
        key = and_(table.c.tenant == provider.tenant, table.c.uid == provider.uid)
        before = await reading.first(self._connection, select(table).where(key))
        version = await rows.replace(
            self._connection, table, key, expected_version, _to_values(provider)
        )
        self._audit.changed(before and _to_provider(before), provider)
        return dataclasses.replace(provider, version=version, unreadable=())

    async def list(
        self, tenant: str | None, listing: Listing, *, show_deleted: bool = False
    ) -> Page[Provider]:
        """One page of a tenant's own providers ("": the shared ones; None: everybody's).

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = _visible(show_deleted=show_deleted)
        if tenant is not None:
            statement = statement.where(table.c.tenant == tenant)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_provider(row) for row in found), after)

    async def of_tenant(self, tenant: str) -> tuple[Provider, ...]:
        """All of a tenant's own providers that are not deleted, by id."""
        statement = (
            _visible(show_deleted=False)
            .where(table.c.tenant == tenant)
            .order_by(table.c.provider_id)
        )
        return tuple(map(_to_provider, await reading.every(self._connection, statement)))

    async def purge_expired(self, now: datetime) -> tuple[str, ...]:
        """Destroy soft-deleted providers past their purge time, with all under them. Their names.

        In one order for all callers, so that no two wait for each other; what another has taken
        already is left to it.
        """
        expired = (
            select(table.c.uid)
            .where(table.c.delete_time.is_not(None), table.c.purge_time <= now)
            .order_by(table.c.uid)
            .limit(MAX_PURGED)
            .with_for_update(skip_locked=True)
        )
        uids = [row.uid for row in await self._connection.execute(expired)]
        purged = delete(table).where(table.c.uid.in_(uids))
        gone = [
            _to_provider(row) for row in await self._connection.execute(purged.returning(table))
        ]
        for provider in gone:
            self._audit.changed(provider, None)
        return tuple(sorted(provider.name for provider in gone))


def resource_name(row: Any) -> str:  # noqa: ANN401 - a row
    """The name of the provider whose `tenant` and `provider_id` are in the row."""
    prefix = f"tenants/{row.tenant}/" if row.tenant else ""
    return f"{prefix}providers/{row.provider_id}"


def _visible(*, show_deleted: bool) -> Select[Any]:
    statement = select(table)
    return statement if show_deleted else statement.where(table.c.delete_time.is_(None))


def _to_values(provider: Provider) -> rows.Values:
    return {
        "uid": provider.uid,
        "tenant": provider.tenant,
        "provider_id": provider.provider_id,
        "kind": provider.kind,
        "version": provider.version,
        "display_name": provider.display_name,
        "description": provider.description,
        "base_uri": provider.base_uri,
        "settings": dict(provider.settings),
        "default_credential": provider.default_credential,
        "disabled": provider.disabled,
        "priority": provider.priority,
        "weight": provider.weight,
        "rate_limits": rows.document(provider.rate_limits),
        "timeouts": rows.document(provider.timeouts),
        "cancel_policy": provider.cancel_policy and provider.cancel_policy.value,
        "labels": dict(provider.labels),
        "create_time": provider.create_time,
        "update_time": provider.update_time,
        "delete_time": provider.delete_time,
        "purge_time": provider.purge_time,
    }


def _to_provider(row: Any) -> Provider:  # noqa: ANN401 - a row
    return reading.value(Provider, row)
