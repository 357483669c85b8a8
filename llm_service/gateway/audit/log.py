"""The audit log: what is written with each change and each refusal, and how it is read again."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from llm_service.domain.access import CALLER, Caller
from llm_service.domain.audit import (
    Anchor,
    AuditEntry,
    ChainHead,
    FieldChange,
    Hidden,
    Problem,
    Verdict,
    tenant_of,
)
from llm_service.domain.listing import Listing, Page
from llm_service.errors import EncryptionKeyMissing, StorageUnavailable
from llm_service.gateway.audit.chain import Reading, Sealer
from llm_service.storage.audit import Change
from llm_service.storage.database import Database, Transaction
from llm_service.vault import Vault

logger = logging.getLogger(__name__)

BATCH = 200
"""Entries read at once when a chain is verified."""

ANCHOR_SECONDS = 300.0

MAX_NAME = 512  # characters of a principal's or a resource's name
MAX_REQUEST_ID = 128

Fields = Mapping[str, str | Hidden]

Render = Callable[[object], tuple[str, Fields]]
"""A domain value's resource name, and its set fields by path as JSON text without secrets."""


@dataclass(slots=True)
class AdminCall:
    """An administrative call while it runs. `caller` is replaced once it has been authenticated.

    `resource` is what it names, `tenant` whose that is, as far as it can be told. `written`: it has
    an entry already, of a change.
    """

    caller: Caller
    resource: str = ""
    tenant: str = ""
    request_id: str = ""
    written: bool = False


ADMIN_CALL: ContextVar[AdminCall | None] = ContextVar("admin_call", default=None)
"""The call this task works for, if it is an administrative one."""


class AuditLog:
    """Writes entries, and reads and verifies them."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        render: Render,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._vault = vault
        self._render = render
        self._now = now

    async def witness(self, tx: Transaction) -> None:
        """Write an entry of what a transaction has changed, within it and as its last.

        There is one for each tenant whose resources it changed; almost always that is one. What the
        service does by itself has none unless it shows, as secrets that are sealed anew do not.

        Raises:
            StorageUnavailable: it cannot be written: the change must not be made.
        """
        changes = self._field_changes(tx.audit.changes)
        call = ADMIN_CALL.get()
        for tenant in sorted(changes):
            if call is not None or changes[tenant]:
                await self._append(tx, tenant, self._entry(CALLER.get(), call, changes[tenant]))
        if changes and call is not None:
            call.written = True

    async def ended(self, call: AdminCall, error_reason: str = "") -> None:
        """Write an entry of a call that ended without a change; `error_reason`: it was refused.

        Raises:
            StorageUnavailable: it could not be written.
        """
        async with self._database.begin() as tx:
            entry = self._entry(call.caller, call, (), error_reason)
            await self._append(tx, _tenant_of_call(call), entry)

    async def run(self, every: float = ANCHOR_SECONDS) -> None:
        """Keep the chains, until cancelled: see `advance`, and log where each has come to.

        Whoever keeps the log thereby keeps anchors, out of reach of who can write the database.
        """
        logged: dict[str, int] = {}
        while True:
            with suppress(StorageUnavailable):  # a later time will do
                for head in await self.advance():
                    if logged.get(head.tenant) != head.sequence:
                        logged[head.tenant] = head.sequence
                        chain = f"tenants/{head.tenant}" if head.tenant else "shared"
                        logger.info("audit anchor: %s %d %s", chain, head.sequence, head.digest)
            await asyncio.sleep(every)

    async def advance(self) -> tuple[ChainHead, ...]:
        """Seal each chain's end with the primary key, where that is a new one; gives the ends.

        So a chain that ends under another key was tampered with.
        """
        primary = Sealer.of(self._vault).primary
        heads = []
        for head in await self._heads():
            if primary not in ("", head.key_id) and not await self._knows(head.tenant, primary):
                async with self._database.begin() as tx:
                    entry = self._entry(CALLER.get(), None, ())
                    head = await self._append(tx, head.tenant, entry)  # noqa: PLW2901
            heads.append(head)
        return tuple(heads)

    async def _heads(self) -> tuple[ChainHead, ...]:
        async with self._database.read() as tx:
            return await tx.audit.heads(None)

    async def _knows(self, tenant: str, key_id: str) -> bool:
        """Whether the key has sealed already: then another has replaced it since."""
        async with self._database.read() as tx:
            return await tx.audit.was_sealed_with(tenant, key_id)

    async def list(self, tenant: str | None, listing: Listing) -> Page[AuditEntry]:
        """One page of a tenant's entries; None: everybody's."""
        async with self._database.read() as tx:
            return await tx.audit.list(tenant, listing)

    async def verify(
        self, tenant: str | None, anchors: Sequence[Anchor] = ()
    ) -> AsyncGenerator[Verdict]:
        """One verdict for each chain, or for the tenant's; `anchors` of others are passed over.

        Raises:
            EncryptionKeyMissing: there is no key to verify with.
        """
        sealer = Sealer.of(self._vault)
        if not sealer.keys:
            raise EncryptionKeyMissing("no encryption key is configured")
        async with self._database.read() as tx:
            heads = {head.tenant: head for head in await tx.audit.heads(tenant)}
            last = await tx.audit.last_sequences(tenant)
        kept = [one for one in anchors if tenant in (None, one.tenant)]
        for owner in sorted({*heads, *last, *(one.tenant for one in kept), tenant or ""}):
            own = [one for one in kept if one.tenant == owner]
            head = heads.get(owner, ChainHead(owner))
            yield await self._verify(Reading(sealer, owner), head, last.get(owner, 0), own)

    async def _verify(
        self, reading: Reading, head: ChainHead, last: int, anchors: Sequence[Anchor]
    ) -> Verdict:
        anchor = Anchor(head.tenant, head.sequence, head.digest)
        wanted = {one.sequence: one for one in anchors if one.sequence}
        mismatch = Problem.ANCHOR_MISMATCH
        while reading.end.sequence < head.sequence:
            entries = await self._after(reading.end, head.sequence)
            if not entries:
                return Verdict(anchor, Problem.ENTRY_MISSING, reading.end.sequence + 1)
            for entry in entries:
                if (problem := reading.problem(entry)) is not None:
                    return Verdict(anchor, problem, reading.end.sequence + 1)
                if (kept := wanted.get(entry.sequence)) and kept.digest != entry.digest:
                    return Verdict(anchor, mismatch, entry.sequence)
        return _of_the_end(reading, head, last) or _beyond(anchor, wanted) or Verdict(anchor)

    async def _after(self, end: ChainHead, last: int) -> tuple[AuditEntry, ...]:
        async with self._database.read() as tx:
            return await tx.audit.after(end.tenant, end.sequence, min(BATCH, last - end.sequence))

    async def _append(self, tx: Transaction, tenant: str, entry: AuditEntry) -> ChainHead:
        sealer = Sealer.of(self._vault)
        head = await tx.audit.lock(tenant)
        used = head.key_id not in ("", sealer.primary) and await tx.audit.was_sealed_with(
            tenant, sealer.primary
        )
        key_id = sealer.key_after(head, primary_was_used=used)
        sealed = sealer.sealed(entry, head, key_id)
        await tx.audit.append(sealed)
        return sealed.head

    def _entry(
        self,
        caller: Caller,
        call: AdminCall | None,
        changes: tuple[FieldChange, ...],
        error_reason: str = "",
    ) -> AuditEntry:
        """An entry before it has its place: tenant and sequence are its chain's to give."""
        changed = tuple(sorted({change.resource for change in changes}))
        resource = call.resource if call else (changed[0] if changed else "")
        return AuditEntry(
            tenant="",
            sequence=0,
            create_time=self._now(),
            principal=_text(caller.principal.name, MAX_NAME),
            peer_ip_address=caller.peer_ip_address,
            method=caller.method,
            resource=_text(resource, MAX_NAME),
            changes=changes,
            changed_resources=changed,
            error_reason=error_reason,
            request_id=_text(call.request_id, MAX_REQUEST_ID) if call else "",
            trace_id=caller.trace_id,
        )

    def _field_changes(self, changes: Iterable[Change]) -> dict[str, tuple[FieldChange, ...]]:
        """By tenant, field by field, what became of each resource, however often it was written."""
        first: dict[str, Fields] = {}
        last: dict[str, Fields] = {}
        for change in changes:
            old_name, old = self._rendered(change.before)
            new_name, new = self._rendered(change.after)
            first.setdefault(old_name or new_name, old)
            last[old_name or new_name] = new
        found: dict[str, tuple[FieldChange, ...]] = {}
        for name in sorted(first):
            tenant = tenant_of(name)
            found[tenant] = (*found.get(tenant, ()), *_differences(name, first[name], last[name]))
        return found

    def _rendered(self, value: object | None) -> tuple[str, Fields]:
        return ("", {}) if value is None else self._render(value)


def _differences(name: str, before: Fields, after: Fields) -> Iterable[FieldChange]:
    for path in sorted({*before, *after}):
        old, new = before.get(path, ""), after.get(path, "")
        if old != new:
            yield FieldChange(name, path, str(old), str(new))


def _of_the_end(reading: Reading, head: ChainHead, last: int) -> Verdict | None:
    anchor = Anchor(head.tenant, head.sequence, head.digest)
    if last > head.sequence:
        return Verdict(anchor, Problem.ENTRY_MISSING, head.sequence + 1)
    if reading.end != head:
        return Verdict(anchor, Problem.ENTRY_ALTERED, head.sequence)
    found = reading.last_problem()
    return Verdict(anchor, *found) if found else None


def _beyond(anchor: Anchor, wanted: Mapping[int, Anchor]) -> Verdict | None:
    """Entries that an anchor has seen and that are no longer there."""
    cut = [sequence for sequence in wanted if sequence > anchor.sequence]
    return Verdict(anchor, Problem.ENTRY_MISSING, anchor.sequence + 1) if cut else None


def _tenant_of_call(call: AdminCall) -> str:
    """Whose chain a call without a change belongs to: its caller's, or what an operator names.

    Nobody the service knows is let into a tenant's chain.
    """
    principal = call.caller.principal
    return principal.tenant or (call.tenant if principal.name else "")


def _text(text: str, most: int) -> str:
    """What both databases can hold."""
    return text.replace("\0", "").encode(errors="replace").decode()[:most]
