"""Model configurations as rows."""

import dataclasses
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.listing import Listing, Page
from llm_service.domain.model_config import ModelConfig
from llm_service.errors import AlreadyExists, ResourceNotFound
from llm_service.storage import reading, rows
from llm_service.storage.audit import AuditEntries
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import model_configs as table

_LISTED = Listed(
    {
        "tenant": Field(table.c.tenant),
        "config_id": Field(table.c.config_id),
        "display_name": Field(table.c.display_name),
        "selector.agent": Field(table.c.agent),
        "selector.user": Field(table.c.user_id),
        "selector.interaction": Field(table.c.interaction),
        "disabled": Field(table.c.disabled, Kind.BOOLEAN),
        "locked": Field(table.c.locked, Kind.BOOLEAN),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "update_time": Field(table.c.update_time, Kind.TIME),
        "labels": Field(table.c.labels, Kind.MAP),
    },
    key=("tenant", "config_id"),
)


class ModelConfigs:
    """The model configurations of all tenants; each method says whose."""

    def __init__(self, connection: AsyncConnection, audit: AuditEntries) -> None:
        self._connection = connection
        self._audit = audit

    async def get(self, tenant: str, config_id: str, *, for_update: bool = False) -> ModelConfig:
        """One configuration. `for_update` keeps others from changing it until the end.

        Raises:
            ResourceNotFound: the tenant has none of that id.
        """
        statement = select(table).where(table.c.tenant == tenant, table.c.config_id == config_id)
        if for_update:
            statement = statement.with_for_update()
        row = await reading.first(self._connection, statement)
        if row is None:
            raise ResourceNotFound("no such model configuration")
        return _to_config(row)

    async def add(self, config: ModelConfig) -> None:
        """Store a new configuration.

        Raises:
            AlreadyExists: the tenant has one of that id, or of that selector. Nothing was written.
            InvalidField: a value does not fit its column.
        """
        try:
            await rows.add(self._connection, table, _to_values(config))
        except AlreadyExists:
            await self.refuse_taken(config)
            raise
        self._audit.changed(None, config)

    async def update(self, config: ModelConfig, expected_version: int) -> ModelConfig:
        """Replace the configuration of that uid, and give it back with its next version.

        Raises:
            AlreadyExists: another one of the tenant has the selector; the transaction is lost.
            EtagMismatch: it is no longer at `expected_version`.
            InvalidField: a value does not fit its column.
            ResourceNotFound: it is gone.
        """
        key = and_(table.c.tenant == config.tenant, table.c.uid == config.uid)
        before = await reading.first(self._connection, select(table).where(key))
        try:
            version = await rows.replace(
                self._connection, table, key, expected_version, _to_values(config)
            )
        except IntegrityError:
            raise _selector_taken() from None
        self._audit.changed(before and _to_config(before), config)
        return dataclasses.replace(config, version=version, unreadable=())

    async def delete(
        self, tenant: str, config_id: str, expected_version: int | None = None
    ) -> None:
        """Destroy a configuration. `expected_version` None: whatever its version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        key = and_(table.c.tenant == tenant, table.c.config_id == config_id)
        before = await reading.first(self._connection, select(table).where(key))
        await rows.remove(self._connection, table, key, expected_version)
        self._audit.changed(before and _to_config(before), None)

    async def list(self, tenant: str | None, listing: Listing) -> Page[ModelConfig]:
        """One page of a tenant's own configurations ("": everybody's; None: all there are).

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = select(table)
        if tenant is not None:
            statement = statement.where(table.c.tenant == tenant)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_config(row) for row in found), after)

    async def of_tenant(self, tenant: str) -> tuple[ModelConfig, ...]:
        """All of a tenant's own configurations, by id."""
        statement = select(table).where(table.c.tenant == tenant).order_by(table.c.config_id)
        return tuple(map(_to_config, await reading.every(self._connection, statement)))

    async def refuse_taken(self, config: ModelConfig) -> None:
        """Check that a configuration could be stored beside the others of its tenant.

        Raises:
            AlreadyExists: another one has its id, or its selector.
        """
        mine = select(table.c.uid).where(table.c.tenant == config.tenant, table.c.uid != config.uid)
        same_id = mine.where(table.c.config_id == config.config_id)
        if (await self._connection.execute(same_id)).first() is not None:
            raise AlreadyExists("there is a model configuration of that id")
        selector = config.selector
        same_selector = mine.where(
            table.c.agent == selector.agent,
            table.c.user_id == selector.user,
            table.c.interaction == selector.interaction,
        )
        if (await self._connection.execute(same_selector)).first() is not None:
            raise _selector_taken()


def _selector_taken() -> AlreadyExists:
    return AlreadyExists("there is a model configuration with that selector")


def _to_values(config: ModelConfig) -> rows.Values:
    return {
        "uid": config.uid,
        "tenant": config.tenant,
        "config_id": config.config_id,
        "version": config.version,
        "display_name": config.display_name,
        "agent": config.selector.agent,
        "user_id": config.selector.user,
        "interaction": config.selector.interaction,
        "targets": rows.document(config.targets),
        "params": rows.document(config.params),
        "limits": rows.document(config.limits),
        "routing": rows.document(config.routing),
        "disabled": config.disabled,
        "locked": config.locked,
        "labels": dict(config.labels),
        "create_time": config.create_time,
        "update_time": config.update_time,
    }


def _to_config(row: Any) -> ModelConfig:  # noqa: ANN401 - a row
    selector = {"agent": row.agent, "user": row.user_id, "interaction": row.interaction}
    return reading.value(ModelConfig, row, selector=selector)
