"""Models as rows."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.content import Modality
from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import (
    Model,
    ModelCapabilities,
    ModelOrigin,
    ModelStage,
)
from llm_service.errors import ResourceNotFound
from llm_service.storage import reading, rows
from llm_service.storage.audit import AuditEntries
from llm_service.storage.expressions import JsonFlag
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.providers import DEFAULT_PRIORITY, resource_name
from llm_service.storage.tables import models as table
from llm_service.storage.tables import providers

_MODALITY = "MODALITY_"


def _capability(name: str) -> Field:
    flag = JsonFlag(table.c.capabilities, literal(name, String()))
    return Field(flag, Kind.BOOLEAN, nullable=True)


_LISTED = Listed(
    {
        "tenant": Field(providers.c.tenant),
        "provider_id": Field(providers.c.provider_id),
        "model_id": Field(table.c.model_id),
        "provider_model": Field(table.c.provider_model),
        "display_name": Field(table.c.display_name),
        "description": Field(table.c.description),
        "aliases": Field(table.c.aliases, Kind.LIST),
        "input_modalities": Field(
            table.c.input_modalities, Kind.LIST, members=Modality, prefix=_MODALITY
        ),
        "output_modalities": Field(
            table.c.output_modalities, Kind.LIST, members=Modality, prefix=_MODALITY
        ),
        "context_window_tokens": Field(table.c.context_window_tokens, Kind.INTEGER),
        "max_output_tokens": Field(table.c.max_output_tokens, Kind.INTEGER),
        "disabled": Field(table.c.disabled, Kind.BOOLEAN),
        "stage": Field(table.c.stage, nullable=True, members=ModelStage, prefix="STAGE_"),
        "origin": Field(table.c.origin, members=ModelOrigin, prefix="ORIGIN_"),
        "retire_time": Field(table.c.retire_time, Kind.TIME, nullable=True),
        "sync_time": Field(table.c.sync_time, Kind.TIME, nullable=True),
        "replacement_model": Field(table.c.replacement_model),
        "priority": Field(
            func.coalesce(table.c.priority, providers.c.priority, DEFAULT_PRIORITY), Kind.INTEGER
        ),
        "labels": Field(table.c.labels, Kind.MAP),
        **{
            f"capabilities.{field.name}": _capability(field.name)
            for field in dataclasses.fields(ModelCapabilities)
        },
    },
    key=("tenant", "provider_id", "model_id"),
)


class Models:
    """The models of providers. A provider is named by its uid, which no two tenants share."""

    def __init__(self, connection: AsyncConnection, audit: AuditEntries) -> None:
        self._connection = connection
        self._audit = audit

    async def get(self, provider_uid: str, model_id: str, *, for_update: bool = False) -> Model:
        """One model. `for_update` keeps others from changing it until the transaction ends.

        Raises:
            ResourceNotFound: the provider has none of that id.
        """
        statement = _named().where(_key(provider_uid, model_id))
        if for_update:
            statement = statement.with_for_update(of=table)
        row = await reading.first(self._connection, statement)
        if row is None:
            raise ResourceNotFound("no such model")
        return _to_model(row)

    async def add(self, provider_uid: str, model: Model) -> None:
        """Store a new model.

        Raises:
            AlreadyExists: the provider has one of that id. Nothing was written.
            InvalidField: a value does not fit its column.
            ResourceNotFound: there is no such provider; the transaction is lost.
        """
        await rows.add(self._connection, table, _to_values(provider_uid, model))
        self._audit.changed(None, model)

    async def update(self, provider_uid: str, model: Model, expected_version: int) -> Model:
        """Replace the provider's model of that id, and give it back with its next version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            InvalidField: a value does not fit its column.
            ResourceNotFound: it is gone.
        """
        values = _to_values(provider_uid, model)
        key = _key(provider_uid, model.model_id)
        before = await self._stored(provider_uid, model.model_id)
        version = await rows.replace(self._connection, table, key, expected_version, values)
        self._audit.changed(before, model)
        return dataclasses.replace(model, version=version, unreadable=())

    async def delete(
        self, provider_uid: str, model_id: str, expected_version: int | None = None
    ) -> None:
        """Destroy a model. `expected_version` None: whatever its version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        key = _key(provider_uid, model_id)
        before = await self._stored(provider_uid, model_id)
        await rows.remove(self._connection, table, key, expected_version)
        self._audit.changed(before, None)

    async def list(
        self, tenants: Sequence[str], listing: Listing, *, provider_uid: str | None = None
    ) -> Page[Model]:
        """One page of the models of these tenants' own providers ("" is the shared ones).

        `provider_uid` narrows to one provider. Models of deleted providers are left out.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = _live().where(providers.c.tenant.in_(tenants))
        if provider_uid is not None:
            statement = statement.where(table.c.provider_uid == provider_uid)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_model(row) for row in found), after)

    async def of_tenant(self, tenant: str) -> tuple[Model, ...]:
        """All models of a tenant's own providers that are not deleted, by provider and id."""
        statement = (
            _live()
            .where(providers.c.tenant == tenant)
            .order_by(providers.c.provider_id, table.c.model_id)
        )
        return tuple(map(_to_model, await reading.every(self._connection, statement)))

    async def _stored(self, provider_uid: str, model_id: str) -> Model | None:
        statement = _named().where(_key(provider_uid, model_id))
        row = await reading.first(self._connection, statement)
        return row and _to_model(row)


def _named() -> Select[Any]:
    """Models with what their names are made of."""
    return select(table, providers.c.tenant, providers.c.provider_id).join(providers)


def _live() -> Select[Any]:
    return _named().where(providers.c.delete_time.is_(None))


def _key(provider_uid: str, model_id: str) -> ColumnElement[bool]:
    return and_(table.c.provider_uid == provider_uid, table.c.model_id == model_id)


def _to_values(provider_uid: str, model: Model) -> rows.Values:
    return {
        "provider_uid": provider_uid,
        "model_id": model.model_id,
        "provider_model": model.provider_model,
        "origin": model.origin.value,
        "version": model.version,
        "aliases": rows.document(model.aliases),
        "display_name": model.display_name,
        "description": model.description,
        "input_modalities": rows.document(model.input_modalities),
        "output_modalities": rows.document(model.output_modalities),
        "capabilities": rows.document(model.capabilities),
        "context_window_tokens": model.context_window_tokens,
        "max_output_tokens": model.max_output_tokens,
        "price": rows.document(model.price),
        "dated_prices": rows.document(model.dated_prices),
        "rate_limits": rows.document(model.rate_limits),
        "embedding": rows.document(model.embedding),
        "default_params": rows.document(model.default_params),
        "disabled": model.disabled,
        "stage": model.stage and model.stage.value,
        "retire_time": model.retire_time,
        "replacement_model": model.replacement_model,
        "sync_time": model.sync_time,
        "labels": dict(model.labels),
        "priority": model.priority,
    }


def _to_model(row: Any) -> Model:  # noqa: ANN401 - a row
    # NULL in rows older than the column.
    known = {"dated_prices": ()} if row.dated_prices is None else {}
    return reading.value(Model, row, provider_name=resource_name(row), **known)
