"""Credentials: created, changed, rotated and destroyed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from llm_service import providers as kinds
from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Credential, Provider, ProviderKind
from llm_service.errors import AlreadyExists, InvalidField, ResourceNotFound, Violation
from llm_service.gateway.admin import rules
from llm_service.gateway.admin.drafts import (
    ChangeCredential,
    CredentialDraft,
    Source,
    values,
)
from llm_service.gateway.admin.once import NOT_REPEATED, Once
from llm_service.gateway.admin.providers import expect, new_credential
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.admin.states import CredentialView, credential_state
from llm_service.gateway.ids import new_id
from llm_service.storage.database import Database, Transaction

PREVIOUS = "-previous"
MAX_ID_LENGTH = 63
MAX_GRACE = timedelta(days=30)


class Credentials:
    """The operator's side of credentials. A secret goes in and never comes out."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._now = now

    async def create(  # noqa: PLR0913 - a credential, its parent and how
        self,
        tenant: str,
        provider_id: str,
        credential_id: str,
        draft: CredentialDraft,
        source: Source,
        *,
        validate_only: bool = False,
        once: Once[CredentialView] = NOT_REPEATED,
    ) -> CredentialView:
        """Store a new credential of a provider.

        Raises:
            InvalidField: names all that is wrong with it.
            AlreadyExists, ResourceNotFound: the id is taken; there is no such provider.
            EncryptionKeyMissing: there is no key to seal the secret with.
        """
        now = self._now()
        async with self._database.begin() as tx:
            await once.begin(tx, now)
            provider = await tx.providers.get(tenant, provider_id, for_update=True)
            rules.done((*rules.credential(draft), *self._secrets.check(source, _kind_of(provider))))
            credential = new_credential(provider, credential_id, draft, source, self._secrets, now)
            view = self._view(provider, credential)
            if validate_only:
                await _refuse_taken(tx, credential)
            else:
                await tx.credentials.add(credential)
                await once.end(tx, view)
                await tx.config.bump(tenant)
        return view

    async def get(self, tenant: str, provider_id: str, credential_id: str) -> CredentialView:
        async with self._database.read() as tx:
            provider = await tx.providers.get(tenant, provider_id)
            return self._view(provider, await tx.credentials.get(provider.uid, credential_id))

    async def list(self, tenant: str, provider_id: str, listing: Listing) -> Page[CredentialView]:
        """One page of a provider's credentials."""
        async with self._database.read() as tx:
            provider = await tx.providers.get(tenant, provider_id)
            page = await tx.credentials.list(provider.uid, listing)
        return Page(tuple(self._view(provider, one) for one in page.items), page.after)

    async def update(
        self,
        tenant: str,
        provider_id: str,
        credential_id: str,
        change: ChangeCredential,
        *,
        expected_version: int | None = None,
        pointer: Source | None = None,
    ) -> CredentialView:
        """Change all but the source, which only `rotate` does.

        A caller who read a `pointer` with the credential may send it along: it must be the same.
        """
        async with self._database.begin() as tx:
            provider, stored = await _locked(tx, tenant, provider_id, credential_id)
            expect(stored, expected_version)
            draft = change(CredentialDraft.of(stored))
            rules.done((*rules.credential(draft), *_same(pointer, stored)))
            changed = replace(stored, update_time=self._now(), **values(draft))
            changed = await tx.credentials.update(changed, stored.version)
            await tx.config.bump(tenant)
            return self._view(provider, changed)

    async def delete(
        self,
        tenant: str,
        provider_id: str,
        credential_id: str,
        *,
        expected_version: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        """Destroy a credential at once. A provider whose default it was has none after."""
        async with self._database.begin() as tx:
            try:
                provider, stored = await _locked(tx, tenant, provider_id, credential_id)
            except ResourceNotFound:
                if allow_missing:
                    return
                raise
            expect(stored, expected_version)
            await tx.credentials.delete(stored.uid, stored.version)
            if provider.default_credential == stored.name:
                orphan = replace(provider, default_credential="", update_time=self._now())
                await tx.providers.update(orphan, provider.version)
            await tx.config.bump(tenant)

    async def rotate(
        self,
        tenant: str,
        provider_id: str,
        credential_id: str,
        source: Source,
        *,
        grace_seconds: float = 0,
        expected_version: int | None = None,
    ) -> CredentialView:
        """Put a new secret in place of the old one.

        For `grace_seconds` the old one stays usable beside it, as "{id}-previous"; an older one of
        that id goes. An expiry that has passed was the old secret's, and is cleared.

        Raises:
            InvalidField: the source does not fit, or the grace period is negative or above 30 days.
            ProviderCredentialUnreadable: a grace period is asked for, and the old secret is lost.
        """
        async with self._database.begin() as tx:
            provider, stored = await _locked(tx, tenant, provider_id, credential_id)
            expect(stored, expected_version)
            rules.done(
                (
                    *self._secrets.check(source, _kind_of(provider)),
                    *_grace(grace_seconds, credential_id),
                )
            )
            if grace_seconds > 0 and not stored.rejected:
                await self._keep(tx, provider, stored, timedelta(seconds=grace_seconds))
            now = self._now()
            expired = stored.expire_time is not None and stored.expire_time <= now
            renewed = replace(
                stored,
                secret_version=stored.secret_version + 1,
                expire_time=None if expired else stored.expire_time,
                update_time=now,
            )
            renewed = self._secrets.stored(provider, renewed, source)
            renewed = await tx.credentials.update(renewed, stored.version)
            await tx.config.bump(tenant)
            return self._view(provider, renewed)

    async def _keep(
        self, tx: Transaction, provider: Provider, stored: Credential, grace: timedelta
    ) -> None:
        """The old secret in a row of its own, to be used until the grace period ends."""
        now = self._now()
        previous_id = stored.credential_id + PREVIOUS
        for one in await tx.credentials.of_provider(provider.uid):
            if one.credential_id == previous_id:
                await tx.credentials.delete(one.uid, one.version)
        end = now + grace
        copy = replace(
            stored,
            credential_id=previous_id,
            uid=new_id(),
            version=1,
            secret_version=1,
            expire_time=min(end, stored.expire_time) if stored.expire_time else end,
            create_time=now,
            update_time=now,
        )
        await tx.credentials.add(self._secrets.copied(provider, stored, copy))

    def _view(self, provider: Provider, credential: Credential) -> CredentialView:
        return CredentialView(credential, credential_state(credential, provider, self._now()))


def _grace(seconds: float, credential_id: str) -> tuple[Violation, ...]:
    if not 0 <= seconds <= MAX_GRACE.total_seconds():
        return (Violation("grace_period", "must be between 0s and 30 days"),)
    if seconds and len(credential_id + PREVIOUS) > MAX_ID_LENGTH:
        return (Violation("grace_period", "needs a credential id of at most 54 characters"),)
    return ()


def _same(pointer: Source | None, stored: Credential) -> tuple[Violation, ...]:
    if pointer is None or pointer == Source(stored.source_type, reference=stored.reference):
        return ()
    return (Violation(f"credential.{pointer.type}", "is changed with RotateCredential"),)


def _kind_of(provider: Provider) -> ProviderKind:
    if provider.kind not in kinds.kinds():
        raise InvalidField(
            Violation("parent", "this service no longer has the kind of that provider")
        )
    return kinds.provider_kind(provider.kind)


async def _locked(
    tx: Transaction, tenant: str, provider_id: str, credential_id: str
) -> tuple[Provider, Credential]:
    provider = await tx.providers.get(tenant, provider_id, for_update=True)
    return provider, await tx.credentials.get(provider.uid, credential_id, for_update=True)


async def _refuse_taken(tx: Transaction, credential: Credential) -> None:
    try:
        await tx.credentials.get(credential.provider_uid, credential.credential_id)
    except ResourceNotFound:
        return
    raise AlreadyExists(f"{credential.name} exists already")
