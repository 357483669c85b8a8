"""Providers: created, changed, deleted and brought back."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llm_service import providers as kinds
from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Credential, Provider, ProviderKind
from llm_service.errors import (
    AlreadyExists,
    EgressDenied,
    EtagMismatch,
    InvalidField,
    ProviderCredentialMissing,
    ResourceNotFound,
    Violation,
)
from llm_service.gateway.admin import rules
from llm_service.gateway.admin.drafts import (
    ChangeProvider,
    CredentialDraft,
    ProviderDraft,
    Source,
    values,
)
from llm_service.gateway.admin.once import NOT_REPEATED, Once
from llm_service.gateway.admin.search import with_built_in_models
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.admin.states import ProviderView, provider_state
from llm_service.gateway.destinations import destination
from llm_service.gateway.ids import new_id
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database, Transaction

PURGE_AFTER = timedelta(days=30)
MAX_BATCH = 100
DEFAULT_CREDENTIAL = "default"


@dataclass(frozen=True, slots=True)
class ProviderUpdate:
    """A change to one provider. `expected_version` None: whatever its version."""

    tenant: str
    provider_id: str
    change: ChangeProvider
    expected_version: int | None = None
    path: str = ""
    """What violations' fields start with: the change's place in a batch."""


@dataclass(frozen=True, slots=True)
class ProviderDeletion:
    """`allow_missing`: that it is not there is as good."""

    tenant: str
    provider_id: str
    expected_version: int | None = None
    allow_missing: bool = False


class Providers:
    """The operator's side of providers. Every method names the tenant; "" is shared by everyone."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        egress: Egress,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._egress = egress
        self._now = now

    async def create(
        self,
        tenant: str,
        provider_id: str,
        draft: ProviderDraft,
        credential: tuple[CredentialDraft, Source] | None = None,
        *,
        validate_only: bool = False,
        once: Once[ProviderView] = NOT_REPEATED,
    ) -> ProviderView:
        """Store a new provider, with its credential "default" if one is given.

        Raises:
            InvalidField: names all that is wrong with either.
            AlreadyExists: the id is taken, maybe by a deleted provider.
            EncryptionKeyMissing: there is a secret and no key to seal it with.
        """
        now = self._now()
        draft, kind = known_kind(draft)
        provider = Provider(
            tenant, provider_id, new_id(), create_time=now, update_time=now, **values(draft)
        )
        rules.done(self._new_violations(provider, draft, kind, credential))
        await self._try(draft)
        added: tuple[Credential, ...] = ()
        if credential is not None:
            added = (new_credential(provider, DEFAULT_CREDENTIAL, *credential, self._secrets, now),)
            provider = replace(provider, default_credential=added[0].name)
        view = ProviderView(provider, provider_state(provider, kind, added, now))
        async with self._database.begin() as tx:
            await once.begin(tx, now)
            if validate_only:
                await _refuse_taken(tx, provider)
            else:
                await tx.providers.add(provider)
                for one in added:
                    await tx.credentials.add(one)
                await once.end(tx, view)
                await tx.config.bump(tenant)
        return view

    async def get(self, tenant: str, provider_id: str) -> ProviderView:
        """One provider, also a deleted one until it is purged."""
        async with self._database.read() as tx:
            provider = await tx.providers.get(tenant, provider_id, show_deleted=True)
            return await self._view(tx, provider)

    async def list(
        self, tenant: str | None, listing: Listing, *, show_deleted: bool = False
    ) -> Page[ProviderView]:
        """One page of a tenant's own providers; None: everybody's."""
        if listing.filter is not None:
            # It reads the catalogue, which blocks the first time.
            tree = await asyncio.to_thread(with_built_in_models, listing.filter)
            listing = replace(listing, filter=tree)
        async with self._database.read() as tx:
            page = await tx.providers.list(tenant, listing, show_deleted=show_deleted)
            held: dict[str, list[Credential]] = {}
            for one in await tx.credentials.of_providers([one.uid for one in page.items]):
                held.setdefault(one.provider_uid, []).append(one)
        now = self._now()
        return Page(
            tuple(
                ProviderView(item, provider_state(item, _kind(item), held.get(item.uid, ()), now))
                for item in page.items
            ),
            page.after,
        )

    async def update(
        self, updates: Sequence[ProviderUpdate], *, validate_only: bool = False
    ) -> tuple[ProviderView, ...]:
        """Change providers, all or none, and give them back in the order asked.

        A provider that moves to another scheme, host or port, by its address or by a setting that
        decides it, leaves its credentials unusable: they were entered for the old one. Rotating one
        binds it to the new address; moving back makes all usable again.

        Raises:
            InvalidField: names all that is wrong with one of them.
            EtagMismatch, ResourceNotFound: one of them has changed, or is not there.
        """
        views: dict[tuple[str, str], ProviderView] = {}
        async with self._database.begin() as tx:
            # In one order for all callers, so that no two wait for each other.
            for update in sorted(updates, key=_key):
                with _within(update.path):
                    views[_key(update)] = await self._update(tx, update, write=not validate_only)
            if not validate_only:
                await _bump(tx, updates)
        return tuple(views[_key(update)] for update in updates)

    async def delete(
        self, deletions: Sequence[ProviderDeletion], *, validate_only: bool = False
    ) -> tuple[ProviderView | None, ...]:
        """Delete providers, all or none, in a way that `undelete` undoes for 30 days.

        None stands for one that was missing.
        """
        views: dict[tuple[str, str], ProviderView | None] = {}
        async with self._database.begin() as tx:
            for deletion in sorted(deletions, key=_key):
                views[_key(deletion)] = await self._delete(tx, deletion, write=not validate_only)
            if not validate_only:
                await _bump(tx, deletions)
        return tuple(views[_key(deletion)] for deletion in deletions)

    async def undelete(self, tenant: str, provider_id: str) -> ProviderView:
        """Bring a deleted provider back.

        Raises:
            AlreadyExists: it is not deleted.
            ResourceNotFound: there is none, or its purge time has passed.
        """
        now = self._now()
        async with self._database.begin() as tx:
            provider = await tx.providers.get(
                tenant, provider_id, show_deleted=True, for_update=True
            )
            if provider.delete_time is None:
                raise AlreadyExists(f"{provider.name} is not deleted")
            if provider.purge_time is not None and provider.purge_time <= now:
                raise ResourceNotFound(f"{provider.name} is past its purge time")
            restored = replace(provider, delete_time=None, purge_time=None, update_time=now)
            restored = await tx.providers.update(restored, provider.version)
            await tx.config.bump(tenant)
            return await self._view(tx, restored)

    def _new_violations(
        self,
        provider: Provider,
        draft: ProviderDraft,
        kind: ProviderKind,
        credential: tuple[CredentialDraft, Source] | None,
    ) -> Iterable[Violation]:
        yield from rules.provider(draft, kind, self._egress)
        default = f"{provider.name}/credentials/{DEFAULT_CREDENTIAL}" if credential else ""
        if draft.default_credential not in ("", default):
            yield Violation("provider.default_credential", "must be created first")
        if credential is not None:
            yield from rules.credential(credential[0])
            yield from self._secrets.check(credential[1], kind)

    async def _update(
        self, tx: Transaction, update: ProviderUpdate, *, write: bool
    ) -> ProviderView:
        stored = await tx.providers.get(update.tenant, update.provider_id, for_update=True)
        expect(stored, update.expected_version)
        draft, kind = known_kind(update.change(ProviderDraft.of(stored)))
        credentials = await tx.credentials.of_provider(stored.uid)
        rules.done(self._changed_violations(stored, draft, kind, credentials))
        await self._try(draft)
        now = self._now()
        provider = replace(stored, update_time=now, **values(draft))
        if destination(provider) != destination(stored):
            credentials = tuple([await _left(tx, one, stored, write) for one in credentials])
        if write:
            provider = await tx.providers.update(provider, stored.version)
        return ProviderView(provider, provider_state(provider, kind, credentials, now))

    def _changed_violations(
        self,
        stored: Provider,
        draft: ProviderDraft,
        kind: ProviderKind,
        credentials: Iterable[Credential],
    ) -> Iterable[Violation]:
        if kind.kind != stored.kind:
            yield Violation("provider.kind", "cannot be changed; create another provider")
        yield from rules.provider(draft, kind, self._egress)
        known = {"", stored.default_credential, *(one.name for one in credentials)}
        if draft.default_credential not in known:
            yield Violation("provider.default_credential", "is no credential of this provider")

    async def _try(self, draft: ProviderDraft) -> None:
        """Let the adapter itself look at address and settings. Nothing is dialled."""
        account = Account(draft.base_uri, draft.settings)
        with suppress(ProviderCredentialMissing):
            try:
                adapter = await asyncio.to_thread(kinds.connect, draft.kind, account, self._egress)
            except EgressDenied as error:
                raise InvalidField(Violation("provider.base_uri", str(error))) from error
            await adapter.aclose()

    async def _delete(
        self, tx: Transaction, deletion: ProviderDeletion, *, write: bool
    ) -> ProviderView | None:
        try:
            stored = await tx.providers.get(deletion.tenant, deletion.provider_id, for_update=True)
        except ResourceNotFound:
            if deletion.allow_missing:
                return None
            raise
        expect(stored, deletion.expected_version)
        now = self._now()
        provider = replace(stored, delete_time=now, purge_time=now + PURGE_AFTER, update_time=now)
        if write:
            provider = await tx.providers.update(provider, stored.version)
        return ProviderView(provider, provider_state(provider, _kind(provider), (), now))

    async def _view(self, tx: Transaction, provider: Provider) -> ProviderView:
        credentials = await tx.credentials.of_provider(provider.uid)
        state = provider_state(provider, _kind(provider), credentials, self._now())
        return ProviderView(provider, state)


def known_kind(draft: ProviderDraft) -> tuple[ProviderDraft, ProviderKind]:
    """The draft with its kind's own name in place of an alias, and the kind.

    Raises:
        InvalidField: this service has no such kind.
    """
    name = kinds.canonical(draft.kind)
    if name not in kinds.kinds():
        known = ", ".join(kinds.kinds())
        raise InvalidField(Violation("provider.kind", f"must be one of {known}"))
    return replace(draft, kind=name), kinds.provider_kind(name)


def new_credential(
    provider: Provider,
    credential_id: str,
    draft: CredentialDraft,
    source: Source,
    secrets: Secrets,
    now: datetime,
) -> Credential:
    """A credential that is checked already, its secret sealed to its new row."""
    credential = Credential(
        provider_uid=provider.uid,
        provider_name=provider.name,
        credential_id=credential_id,
        uid=new_id(),
        source_type=source.type,
        create_time=now,
        update_time=now,
        **values(draft),
    )
    return secrets.stored(provider, credential, source)


def expect(stored: Provider | Credential, version: int | None) -> None:
    """Refuse to change what the caller has not seen; a `version` of None is any.

    Raises:
        EtagMismatch: the caller has read another version.
    """
    if version is not None and version != stored.version:
        raise EtagMismatch(f"{stored.name} has changed since it was read")


@contextmanager
def _within(path: str) -> Iterator[None]:
    """Put `path` before the fields of what is found wrong."""
    try:
        yield
    except InvalidField as error:
        if not path:
            raise
        found = (Violation(path + one.field, one.description) for one in error.violations)
        raise InvalidField(*found) from error


async def _left(tx: Transaction, one: Credential, provider: Provider, write: bool) -> Credential:  # noqa: FBT001
    """A credential whose provider moves: bound to where it is, if it is older than that rule."""
    if one.origin:
        return one
    bound = replace(one, origin=destination(provider))
    return await tx.credentials.update(bound, one.version) if write else bound


def _kind(provider: Provider) -> ProviderKind | None:
    return kinds.provider_kind(provider.kind) if provider.kind in kinds.kinds() else None


def _key(change: ProviderUpdate | ProviderDeletion) -> tuple[str, str]:
    return change.tenant, change.provider_id


async def _bump(
    tx: Transaction, changes: Sequence[ProviderUpdate] | Sequence[ProviderDeletion]
) -> None:
    for tenant in sorted({change.tenant for change in changes}):
        await tx.config.bump(tenant)


async def _refuse_taken(tx: Transaction, provider: Provider) -> None:
    try:
        await tx.providers.get(provider.tenant, provider.provider_id, show_deleted=True)
    except ResourceNotFound:
        return
    raise AlreadyExists(f"{provider.name} exists already")
