"""Client keys as rows; of their secrets only keyed hashes."""

import dataclasses
from collections.abc import Collection
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.access import ClientKey, Role
from llm_service.domain.listing import Listing, Page
from llm_service.errors import ResourceNotFound
from llm_service.storage import reading, rows
from llm_service.storage.audit import AuditEntries
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import client_keys as table

_LISTED = Listed(
    {
        "tenant": Field(table.c.tenant),
        "key_id": Field(table.c.key_id),
        "display_name": Field(table.c.display_name),
        "disabled": Field(table.c.disabled, Kind.BOOLEAN),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "update_time": Field(table.c.update_time, Kind.TIME),
        "expire_time": Field(table.c.expire_time, Kind.TIME, nullable=True),
        "revoke_time": Field(table.c.revoke_time, Kind.TIME, nullable=True),
    },
    key=("tenant", "key_id"),
)


_ROLES = tuple(role.value for role in Role)


class ClientKeys:
    """The keys of all tenants. An id is unique among all of them."""

    def __init__(self, connection: AsyncConnection, audit: AuditEntries) -> None:
        self._connection = connection
        self._audit = audit

    async def get(self, tenant: str, key_id: str, *, for_update: bool = False) -> ClientKey:
        """One key. `for_update` keeps others from changing it until the transaction ends.

        Raises:
            ResourceNotFound: the tenant has none of that id.
        """
        statement = select(table).where(table.c.tenant == tenant, table.c.key_id == key_id)
        if for_update:
            statement = statement.with_for_update()
        row = await reading.first(self._connection, statement)
        if row is None:
            raise ResourceNotFound("no such client key")
        return _to_key(row)

    async def find(self, key_id: str) -> ClientKey | None:
        """The key of that id, whosever it is."""
        statement = select(table).where(table.c.key_id == key_id)
        row = await reading.first(self._connection, statement)
        return None if row is None else _to_key(row)

    async def add(self, key: ClientKey) -> None:
        """Store a new key.

        Raises:
            AlreadyExists: there is one of that id. Nothing was written.
            InvalidField: a value does not fit its column.
        """
        await rows.add(self._connection, table, _to_values(key))
        self._audit.changed(None, key)

    async def update(self, key: ClientKey, expected_version: int) -> ClientKey:
        """Replace the key of that id, and give it back with its next version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            InvalidField: a value does not fit its column.
            ResourceNotFound: it is gone.
        """
        where = and_(table.c.tenant == key.tenant, table.c.key_id == key.key_id)
        before = await reading.first(self._connection, select(table).where(where))
        version = await rows.replace(
            self._connection, table, where, expected_version, _to_values(key)
        )
        self._audit.changed(before and _to_key(before), key)
        return dataclasses.replace(key, version=version, unreadable=())

    async def list(self, tenant: str | None, listing: Listing) -> Page[ClientKey]:
        """One page of a tenant's keys ("": those of no one tenant; None: everybody's).

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = select(table)
        if tenant is not None:
            statement = statement.where(table.c.tenant == tenant)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_key(row) for row in found), after)

    async def newest(
        self, limit: int, tenants: Collection[str] | None = None
    ) -> tuple[ClientKey, ...]:
        """The keys made last, of these tenants or of all, at most `limit`."""
        statement = select(table).order_by(table.c.create_time.desc(), table.c.key_id)
        statement = statement.limit(limit)
        if tenants is not None:
            statement = statement.where(table.c.tenant.in_(tenants))
        return tuple(map(_to_key, await reading.every(self._connection, statement)))

    async def hashed_with(self, pepper_id: str) -> int:
        """How many keys need that ring key's pepper; those that are revoked do not."""
        counting = select(func.count()).where(table.c.pepper_id == pepper_id)
        return int((await self._connection.execute(counting)).scalar_one())

    async def count(self) -> int:
        """How many keys there are, revoked ones too."""
        counted = await self._connection.execute(select(func.count()).select_from(table))
        return int(counted.scalar_one())


def _to_values(key: ClientKey) -> rows.Values:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "version": key.version,
        "display_name": key.display_name,
        "roles": sorted(key.roles),
        "disabled": key.disabled,
        "digest": key.digest,
        "pepper_id": key.pepper_id,
        "create_time": key.create_time,
        "update_time": key.update_time,
        "expire_time": key.expire_time,
        "revoke_time": key.revoke_time,
        "rate_limits": rows.document(key.rate_limits),
    }


def _to_key(row: Any) -> ClientKey:  # noqa: ANN401 - a row
    roles = row.roles
    if isinstance(roles, list):  # a later release may know more
        roles = [role for role in roles if role in _ROLES or not isinstance(role, str)]
    limits = {} if row.rate_limits is None else row.rate_limits
    return reading.value(ClientKey, row, roles=roles, rate_limits=limits)
