"""Who calls, and what it may do."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

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


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever was authenticated.

    `name` says how and as whom, and holds no secret: "clientKeys/ci", "spiffe://corp/agent",
    "jwt:https://issuer#subject", "anonymous". `tenant` "" may act for every tenant and for what is
    shared; any other confines it to that one.
    """

    name: str
    tenant: str = EVERY_TENANT
    roles: frozenset[Role] = frozenset()

    def may(self, role: Role) -> bool:
        return role in self.roles


ANYONE = Principal("anonymous", EVERY_TENANT, frozenset(Role))
"""Who calls a service that runs open: the embedded default on a loopback address."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One call: who makes it, which method, from where.

    `method` is "/llmservice.v1.UsageService/QueryUsage"; `peer` gRPC's "ipv4:10.0.0.7:4711".
    """

    principal: Principal
    method: str = ""
    peer: str = ""
    trace_id: str = ""

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
