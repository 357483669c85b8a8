"""Who calls, and what it may do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum, auto
from urllib.parse import unquote

from llm_service.domain.provider import RateLimits
from llm_service.domain.value import value

TENANT_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")

EVERY_TENANT = ""
"""The tenant of a principal that belongs to no one tenant: the operator's own."""


class Role(StrEnum):
    """What a principal may do. A method needs one of them; see the contract's services."""

    INVOKE = "invoke"
    ADMIN = "admin"
    CONFIG = "config"
    USAGE_READ = "usage-read"
    BUDGET = "budget"
    AUDIT_READ = "audit-read"
    ACCESS = "access"


@value
class Principal:
    """Whoever was authenticated.

    `name` says how and as whom, and holds no secret: "clientKeys/ci", "spiffe://corp/agent",
    "jwt:https://issuer#subject", "anonymous". `tenant` "" may act for every tenant and for what is
    shared; any other confines it to that one. `expire_time` is its client key's, None if it shows
    none or one for good; so are its `rate_limits`.
    """

    name: str
    tenant: str = EVERY_TENANT
    roles: frozenset[Role] = frozenset()
    expire_time: datetime | None = None
    rate_limits: RateLimits = RateLimits()

    def may(self, role: Role) -> bool:
        return role in self.roles

    def reaches(self, tenant: str) -> bool:
        """Whether what `tenant` owns ("": nobody in particular) is this principal's to change."""
        return self.tenant in (EVERY_TENANT, tenant)


class ClientKeyState(StrEnum):
    """Whether a client key opens anything."""

    ACTIVE = auto()
    DISABLED = auto()
    EXPIRED = auto()
    REVOKED = auto()
    QUARANTINED = auto()


@value
class ClientKey:
    """A key we gave to a caller; of its secret only a keyed hash is left.

    `digest` is the HMAC-SHA-256 of the secret, `pepper_id` the ring key whose pepper keyed it.
    `tenant` is the `Principal`'s. `unreadable` names the fields whose stored value cannot be read;
    such a key opens nothing.
    """

    key_id: str
    tenant: str
    roles: frozenset[Role]
    create_time: datetime
    update_time: datetime
    digest: bytes
    pepper_id: str
    display_name: str = ""
    disabled: bool = False
    expire_time: datetime | None = None
    revoke_time: datetime | None = None
    version: int = 1
    unreadable: tuple[str, ...] = ()
    rate_limits: RateLimits = RateLimits()

    @property
    def name(self) -> str:
        """Like "clientKeys/{key}", or "tenants/{tenant}/clientKeys/{key}"."""
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}clientKeys/{self.key_id}"

    def state(self, now: datetime) -> ClientKeyState:
        if self.revoke_time is not None:
            return ClientKeyState.REVOKED
        if self.unreadable:
            return ClientKeyState.QUARANTINED
        if self.expire_time is not None and self.expire_time <= now:
            return ClientKeyState.EXPIRED
        return ClientKeyState.DISABLED if self.disabled else ClientKeyState.ACTIVE

    @property
    def principal(self) -> Principal:
        """Whoever shows this key, while it is active."""
        return Principal(self.name, self.tenant, self.roles, self.expire_time, self.rate_limits)

    def __repr__(self) -> str:
        return f"ClientKey({self.name})"


ANYONE = Principal("anonymous", EVERY_TENANT, frozenset(Role))
"""Who calls a service that runs open: the embedded default on a loopback address."""


@value
class Caller:
    """One call: who makes it, which method, from where.

    `method` is "/llmservice.v1.UsageService/QueryUsage"; `peer` gRPC's "ipv4:10.0.0.7:4711".
    `tenant_header` is what the caller told the proxies before us, "" if nothing.
    """

    principal: Principal
    method: str = ""
    peer: str = ""
    trace_id: str = ""
    tenant_header: str = ""

    @property
    def peer_ip_address(self) -> str:
        """Of the peer, without its port; "" if it has none, as over a Unix socket."""
        family, _, rest = self.peer.partition(":")
        if family not in {"ipv4", "ipv6"}:
            return ""
        return unquote(rest.rpartition(":")[0]).strip("[]")


SERVICE = Caller(Principal("llm-service", EVERY_TENANT, frozenset(Role)))
"""The service itself: what it does at its start and in the background."""

CALLER: ContextVar[Caller] = ContextVar("caller", default=SERVICE)
"""Whom this task works for. An interceptor sets it for each call."""


@contextmanager
def as_service() -> Iterator[None]:
    """Work for the service itself within a call: what every tenant shares, read or kept for all."""
    token = CALLER.set(SERVICE)
    try:
        yield
    finally:
        CALLER.reset(token)
