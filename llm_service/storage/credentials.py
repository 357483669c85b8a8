"""Credentials as rows; the secrets in them stay sealed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Credential, SourceType
from llm_service.errors import ResourceNotFound
from llm_service.storage import reading, rows
from llm_service.storage.audit import AuditEntries
from llm_service.storage.expressions import Position
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.providers import DEFAULT_WEIGHT, resource_name
from llm_service.storage.sealed import CREDENTIAL_SECRETS, kept
from llm_service.storage.tables import credentials as table
from llm_service.storage.tables import providers


def _found_by(part: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(*(Position(t, part) > 0 for t in (table.c.credential_id, table.c.display_name)))


_LISTED = Listed(
    {
        "credential_id": Field(table.c.credential_id),
        "uid": Field(table.c.uid),
        "display_name": Field(table.c.display_name),
        "source_type": Field(table.c.source_type, members=SourceType, prefix="SOURCE_TYPE_"),
        "disabled": Field(table.c.disabled, Kind.BOOLEAN),
        "rejected": Field(table.c.rejected, Kind.BOOLEAN),
        "weight": Field(func.coalesce(table.c.weight, DEFAULT_WEIGHT), Kind.INTEGER),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "update_time": Field(table.c.update_time, Kind.TIME),
        "expire_time": Field(table.c.expire_time, Kind.TIME, nullable=True),
        "last_use_time": Field(table.c.last_use_time, Kind.TIME, nullable=True),
        "last_check_time": Field(table.c.last_check_time, Kind.TIME, nullable=True),
    },
    key=("credential_id",),
    found_by=_found_by,
)


class Credentials:
    """The credentials of providers. A provider is named by its uid, which no two tenants share."""

    def __init__(self, connection: AsyncConnection, audit: AuditEntries) -> None:
        self._connection = connection
        self._audit = audit

    async def get(
        self, provider_uid: str, credential_id: str, *, for_update: bool = False
    ) -> Credential:
        """One credential. `for_update` keeps others from changing it until the transaction ends.

        Raises:
            ResourceNotFound: the provider has none of that id.
        """
        statement = _of_provider(provider_uid).where(table.c.credential_id == credential_id)
        if for_update:
            statement = statement.with_for_update(of=table)
        row = await reading.first(self._connection, statement)
        if row is None:
            raise ResourceNotFound("no such credential")
        return _to_credential(row)

    async def add(self, credential: Credential) -> None:
        """Store a new credential.

        Raises:
            AlreadyExists: the provider has one of that id. Nothing was written.
            EncryptionKeyMissing: the secret is sealed with a key that was retired.
            InvalidField: a value does not fit its column.
            ResourceNotFound: there is no such provider; the transaction is lost.
        """
        await rows.add(self._connection, table, _to_values(credential))
        self._audit.changed(None, credential)

    async def update(self, credential: Credential, expected_version: int) -> Credential:
        """Replace the credential of that uid, and give it back with its next version.

        A secret of the same version stays as it is sealed in the database.

        Raises:
            EncryptionKeyMissing: the secret is sealed with a key that was retired.
            EtagMismatch: it is no longer at `expected_version`.
            InvalidField: a value does not fit its column.
            ResourceNotFound: it is gone.
        """
        secret = credential.secret_version, credential.sealed
        values = _to_values(credential) | {"sealed": kept(CREDENTIAL_SECRETS, *secret)}
        key = table.c.uid == credential.uid
        before = await self._stored(credential.uid)
        version = await rows.replace(self._connection, table, key, expected_version, values)
        self._audit.changed(before, credential)
        return dataclasses.replace(credential, version=version, unreadable=())

    async def delete(self, uid: str, expected_version: int | None = None) -> None:
        """Destroy a credential. `expected_version` None: whatever its version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        before = await self._stored(uid)
        await rows.remove(self._connection, table, table.c.uid == uid, expected_version)
        self._audit.changed(before, None)

    async def list(self, provider_uid: str, listing: Listing) -> Page[Credential]:
        """One page of a provider's credentials.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = _of_provider(provider_uid)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_credential(row) for row in found), after)

    async def of_provider(self, provider_uid: str) -> tuple[Credential, ...]:
        """All of a provider's credentials, by id."""
        return await self._all(_of_provider(provider_uid))

    async def of_providers(self, provider_uids: Sequence[str]) -> tuple[Credential, ...]:
        """All credentials of these providers, by provider and id."""
        return await self._all(_named().where(table.c.provider_uid.in_(provider_uids)))

    async def of_tenant(self, tenant: str) -> tuple[Credential, ...]:
        """All credentials of a tenant's own providers that are not deleted."""
        return await self._all(
            _named().where(providers.c.tenant == tenant, providers.c.delete_time.is_(None))
        )

    async def _stored(self, uid: str) -> Credential | None:
        row = await reading.first(self._connection, _named().where(table.c.uid == uid))
        return row and _to_credential(row)

    async def _all(self, statement: Select[Any]) -> tuple[Credential, ...]:
        ordered = statement.order_by(table.c.provider_uid, table.c.credential_id)
        return tuple(map(_to_credential, await reading.every(self._connection, ordered)))


def _named() -> Select[Any]:
    """Credentials with what their names are made of."""
    return select(table, providers.c.tenant, providers.c.provider_id).join(providers)


def _of_provider(provider_uid: str) -> Select[Any]:
    return _named().where(table.c.provider_uid == provider_uid)


def _to_values(credential: Credential) -> rows.Values:
    return {
        "uid": credential.uid,
        "provider_uid": credential.provider_uid,
        "credential_id": credential.credential_id,
        "source_type": credential.source_type.value,
        "version": credential.version,
        "secret_version": credential.secret_version,
        "sealed": credential.sealed,
        "reference": credential.reference,
        "origin": credential.origin,
        "obfuscated_secret": credential.obfuscated_secret,
        "display_name": credential.display_name,
        "disabled": credential.disabled,
        "rejected": credential.rejected,
        "weight": credential.weight,
        "rate_limits": rows.document(credential.rate_limits),
        "create_time": credential.create_time,
        "update_time": credential.update_time,
        "expire_time": credential.expire_time,
        "last_use_time": credential.last_use_time,
        "last_check_time": credential.last_check_time,
    }


def _to_credential(row: Any) -> Credential:  # noqa: ANN401 - a row
    return reading.value(Credential, row, provider_name=resource_name(row))
