"""Audit entries as rows: added at the end of their tenant's chain, and never touched again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Row, Select, func, insert, literal, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.audit import AuditEntry, ChainHead, FieldChange
from llm_service.domain.listing import Listing, Page
from llm_service.errors import StorageUnavailable
from llm_service.storage import rows
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import audit_chains as chains
from llm_service.storage.tables import audit_entries as table

_LISTED = Listed(
    {
        "tenant": Field(table.c.tenant),
        "sequence": Field(table.c.sequence, Kind.INTEGER),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "principal": Field(table.c.principal),
        "peer_ip_address": Field(table.c.peer_ip_address),
        "method": Field(table.c.method),
        "resource": Field(table.c.resource),
        "changes.resource": Field(table.c.changed_resources, Kind.LIST),
        "error.reason": Field(table.c.error_reason),
        "request_id": Field(table.c.request_id),
        "trace_id": Field(table.c.trace_id),
        "sealing_key_id": Field(table.c.key_id),
    },
    key=("create_time", "tenant", "sequence"),
)
_STORED = tuple(column.name for column in table.c)
_UNREADABLE = (FieldChange("", "unreadable"),)


@dataclass(frozen=True, slots=True)
class Change:
    """A resource before and after, as domain values; None: there was or is none."""

    before: object | None
    after: object | None


class AuditEntries:
    """Chains of immutable rows, one chain per tenant; and what this transaction has changed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.changes: list[Change] = []

    def changed(self, before: object | None, after: object | None) -> None:
        """Told by whatever stores configuration, so that it is audited with the transaction."""
        self.changes.append(Change(before, after))

    async def lock(self, tenant: str) -> ChainHead:
        """The end of a tenant's chain, which stays the end until this transaction ends.

        Others that append to it wait that long: so do it last.

        Raises:
            StorageUnavailable: it cannot be had.
        """
        new = rows.insert_new(self._connection.dialect, chains).values(
            tenant=tenant, sequence=0, digest="", key_id="", epoch=0
        )
        statement = select(chains).where(chains.c.tenant == tenant).with_for_update()
        with _needed():
            await self._connection.execute(new)
            return _to_head((await self._connection.execute(statement)).one())

    async def append(self, entry: AuditEntry) -> None:
        """Store the entry that follows a chain's locked end.

        Raises:
            StorageUnavailable: it cannot be stored, so neither must be what it tells of.
        """
        head = rows.document(entry.head)
        grown = update(chains).where(chains.c.tenant == head.pop("tenant")).values(head)
        with _needed():
            await self._connection.execute(insert(table).values(_to_values(entry)))
            await self._connection.execute(grown)

    async def was_sealed_with(self, tenant: str, key_id: str) -> bool:
        """Whether some entry of the chain is sealed with that key."""
        found = select(literal(1)).where(table.c.tenant == tenant, table.c.key_id == key_id)
        with _needed():
            return (await self._connection.execute(found.limit(1))).first() is not None

    async def heads(self, tenant: str | None) -> tuple[ChainHead, ...]:
        """The ends of all chains, or of one if there is such a chain, by tenant."""
        statement = select(chains).order_by(chains.c.tenant)
        if tenant is not None:
            statement = statement.where(chains.c.tenant == tenant)
        return tuple(_to_head(row) for row in await self._connection.execute(statement))

    async def last_sequences(self, tenant: str | None) -> dict[str, int]:
        """The greatest sequence of each tenant's entries, whatever the chains' ends say."""
        statement = select(table.c.tenant, func.max(table.c.sequence)).group_by(table.c.tenant)
        if tenant is not None:
            statement = statement.where(table.c.tenant == tenant)
        return {row[0]: row[1] for row in await self._connection.execute(statement)}

    async def after(self, tenant: str, sequence: int, limit: int) -> tuple[AuditEntry, ...]:
        """Up to `limit` entries of one chain that follow `sequence`, in order."""
        statement = (
            select(table)
            .where(table.c.tenant == tenant, table.c.sequence > sequence)
            .order_by(table.c.sequence)
            .limit(limit)
        )
        return tuple(_to_entry(row) for row in await self._connection.execute(statement))

    async def list(self, tenant: str | None, listing: Listing) -> Page[AuditEntry]:
        """One page of a tenant's entries; None: everybody's.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement: Select[Any] = select(table)
        if tenant is not None:
            statement = statement.where(table.c.tenant == tenant)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_entry(row) for row in found), after)


@contextmanager
def _needed() -> Iterator[None]:
    """Whatever keeps an entry from being written is a reason not to do what it tells of."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StorageUnavailable("the audit entry cannot be written") from error


def _to_values(entry: AuditEntry) -> rows.Values:
    values = {name: getattr(entry, name) for name in _STORED}
    return {**values, "changes": msgspec.json.encode(entry.changes).decode()}


def _to_entry(row: Row[Any]) -> AuditEntry:
    values = {name: getattr(row, name) for name in _STORED}
    changed = tuple(row.changed_resources)
    return AuditEntry(
        **{**values, "changes": _to_changes(row.changes), "changed_resources": changed}
    )


def _to_changes(text: str) -> tuple[FieldChange, ...]:
    try:
        return msgspec.json.decode(text, type=tuple[FieldChange, ...])
    except msgspec.MsgspecError:
        return _UNREADABLE  # whoever verifies the chain is to find it, and not to fail at it


def _to_head(row: Row[Any]) -> ChainHead:
    return ChainHead(row.tenant, row.sequence, row.digest, row.key_id, row.epoch)
