"""Client keys as operators handle them: made, changed, revoked; nobody gives what it has not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llm_service.domain.access import CALLER, EVERY_TENANT, ClientKey, ClientKeyState, Role
from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import RateLimits
from llm_service.errors import (
    EtagMismatch,
    InvalidField,
    PermissionDenied,
    ResourceInUse,
    Violation,
)
from llm_service.gateway.access import key_text
from llm_service.gateway.admin.rules import rate_limits
from llm_service.storage.database import Database, Transaction
from llm_service.vault import Vault

MAX_DISPLAY_NAME = 256
FIRST_KEY = "first key, made by the service"


@dataclass(frozen=True, slots=True)
class ClientKeyDraft:
    """What may be chosen of a key."""

    display_name: str = ""
    roles: frozenset[Role] = frozenset()
    disabled: bool = False
    expire_time: datetime | None = None
    rate_limits: RateLimits = RateLimits()

    @staticmethod
    def of(key: ClientKey) -> "ClientKeyDraft":
        return ClientKeyDraft(
            key.display_name, key.roles, key.disabled, key.expire_time, key.rate_limits
        )


class ClientKeys:
    """Administers keys for whoever `CALLER` says."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._vault = vault
        self._now = now

    async def create(self, tenant: str, draft: ClientKeyDraft) -> tuple[ClientKey, str]:
        """A new key and its text, which nobody can tell again.

        Raises:
            InvalidField: names all that is wrong with it.
            PermissionDenied: it could do what its maker cannot, or more of it, or for longer.
            EncryptionKeyMissing: there is no key ring.
        """
        _check(draft)
        _refuse_gain(tenant, draft.roles, draft)
        key, text = self._new(tenant, draft)
        async with self._database.begin() as tx:
            await tx.client_keys.add(key)
            await tx.config.bump(tenant)
        return key, text

    async def create_first(self) -> str:
        """The text of a key with every role, if there is no key at all; else ""."""
        async with self._database.begin() as tx:
            # First, so that replicas that start together make one key and not two.
            await tx.config.bump(EVERY_TENANT)
            if await tx.client_keys.count():
                return ""
            draft = ClientKeyDraft(FIRST_KEY, frozenset(Role))
            key, text = self._new(EVERY_TENANT, draft)
            await tx.client_keys.add(key)
        return text

    async def get(self, tenant: str, key_id: str) -> ClientKey:
        """One key, revoked or not.

        Raises:
            ResourceNotFound: the tenant has none of that id.
        """
        async with self._database.read() as tx:
            return await tx.client_keys.get(tenant, key_id)

    async def list(self, tenant: str | None, listing: Listing) -> Page[ClientKey]:
        """One page of a tenant's keys; None: everybody's."""
        async with self._database.read() as tx:
            return await tx.client_keys.list(tenant, listing)

    async def update(
        self,
        tenant: str,
        key_id: str,
        change: Callable[[ClientKeyDraft], ClientKeyDraft],
        *,
        expected_version: int | None = None,
    ) -> ClientKey:
        """Change a key.

        Raises:
            EtagMismatch, ResourceNotFound: it has changed, or is not there.
            InvalidField: names all that is wrong with the change.
            PermissionDenied: it would do more than before, and what its caller cannot.
            ResourceInUse: it is revoked, which is for good; or broken, and may have been.
        """
        now = self._now()
        async with self._database.begin() as tx:
            stored = await _stored(tx, tenant, key_id, expected_version)
            if stored.revoke_time is not None:
                raise ResourceInUse("the client key is revoked, which is for good")
            if stored.unreadable:
                raise ResourceInUse("what is stored of the client key is broken: revoke it")
            draft = change(ClientKeyDraft.of(stored))
            _check(draft)
            changed = replace(
                stored,
                display_name=draft.display_name,
                roles=draft.roles,
                disabled=draft.disabled,
                expire_time=draft.expire_time,
                rate_limits=draft.rate_limits,
                update_time=now,
            )
            _refuse_gain(tenant, _gained(stored, changed, now), draft)
            changed = await tx.client_keys.update(changed, stored.version)
            await tx.config.bump(tenant)
        return changed

    async def revoke(
        self, tenant: str, key_id: str, *, expected_version: int | None = None
    ) -> ClientKey:
        """End a key for good; one that is revoked stays as it is.

        Raises:
            EtagMismatch, ResourceNotFound: it has changed, or is not there.
        """
        now = self._now()
        async with self._database.begin() as tx:
            stored = await _stored(tx, tenant, key_id, expected_version)
            if stored.revoke_time is not None:
                return stored
            # Its digest is of no use any more, and needs its ring key no longer.
            revoked = replace(stored, digest=b"", pepper_id="", revoke_time=now, update_time=now)
            revoked = await tx.client_keys.update(revoked, stored.version)
            await tx.config.bump(tenant)
        return revoked

    def state(self, key: ClientKey) -> ClientKeyState:
        return key.state(self._now())

    def _new(self, tenant: str, draft: ClientKeyDraft) -> tuple[ClientKey, str]:
        text = key_text.new()
        pepper_id, digest = key_text.digest(text.secret, self._vault)
        now = self._now()
        key = ClientKey(
            key_id=text.key_id,
            tenant=tenant,
            roles=draft.roles,
            create_time=now,
            update_time=now,
            digest=digest,
            pepper_id=pepper_id,
            display_name=draft.display_name,
            disabled=draft.disabled,
            expire_time=draft.expire_time,
            rate_limits=draft.rate_limits,
        )
        return key, str(text)


async def _stored(
    tx: Transaction, tenant: str, key_id: str, expected_version: int | None
) -> ClientKey:
    stored = await tx.client_keys.get(tenant, key_id, for_update=True)
    if expected_version not in (None, stored.version):
        raise EtagMismatch("the client key has changed since it was read")
    return stored


def _check(draft: ClientKeyDraft) -> None:
    violations = []
    if not draft.roles:
        violations.append(Violation("client_key.roles", "must name at least one"))
    if len(draft.display_name) > MAX_DISPLAY_NAME or not draft.display_name.isprintable():
        violations.append(
            Violation(
                "client_key.display_name",
                f"must be at most {MAX_DISPLAY_NAME} printable characters",
            )
        )
    violations += rate_limits("client_key.rate_limits", draft.rate_limits)
    if violations:
        raise InvalidField(*violations)


def _gained(before: ClientKey, after: ClientKey, now: datetime) -> frozenset[Role]:
    """The roles that a change gives the key, or lets it use again, more or for longer."""
    if after.state(now) is ClientKeyState.ACTIVE:
        revived = before.state(now) is not ClientKeyState.ACTIVE
        wider = not after.rate_limits.within(before.rate_limits)
        if revived or wider or _is_later(after.expire_time, before.expire_time):
            return after.roles
    return after.roles - before.roles


def _is_later(one: datetime | None, other: datetime | None) -> bool:
    """None is for good."""
    return other is not None and (one is None or one > other)


def _refuse_gain(tenant: str, gained: frozenset[Role], draft: ClientKeyDraft) -> None:
    giver = CALLER.get().principal
    if not gained:
        return
    if not giver.reaches(tenant):
        raise PermissionDenied("a client key cannot reach further than its maker")
    if _is_later(draft.expire_time, giver.expire_time):
        raise PermissionDenied("a client key cannot outlast its maker's")
    if not draft.rate_limits.within(giver.rate_limits):
        raise PermissionDenied("a client key's rate limits cannot be wider than its maker's")
    if lacking := sorted(gained - giver.roles):
        raise PermissionDenied(f"only who has a role can give it: {', '.join(lacking)}")
