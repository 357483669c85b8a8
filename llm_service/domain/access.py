"""Who calls, and what it may do."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

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
    """One call: who makes it, which method, from where. `peer` is an address without its port."""

    principal: Principal
    method: str = ""
    peer: str = ""
    trace_id: str = ""


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller(ANYONE))
"""The call this task works for. An interceptor sets it; outside of calls it is the service's own."""
