"""Where the tenant a request names meets the caller's: it may only narrow it.

Every resource name, parent and attribution is read through here, before anything is looked up.
"""

from llm_service.domain.access import CALLER, EVERY_TENANT
from llm_service.errors import InvalidField, PermissionDenied, ResourceNotFound, Violation

TENANT_HEADER = "llmservice-tenant"
"""Mirrors the tenant for proxies that limit by it; it decides nothing here."""


def narrowed(asked: str, *, unnamed: str) -> str:
    """The tenant that a call works for: the one it names, or else the caller's own.

    `asked` "" names none; then `unnamed` is that of a caller that belongs to no one tenant.

    Raises:
        PermissionDenied: it names a tenant that is not the caller's.
        InvalidField: the header says another than the call.
    """
    caller = CALLER.get()
    own = caller.principal.tenant
    if asked and own not in (EVERY_TENANT, asked):
        raise PermissionDenied("the caller belongs to another tenant")
    tenant = asked or own or unnamed
    if caller.tenant_header and tenant and caller.tenant_header != tenant:
        raise InvalidField(Violation(TENANT_HEADER, "differs from the tenant of the call"))
    return tenant


def widest() -> str | None:
    """The tenant of a caller that asks for all it may see; None: every tenant."""
    return CALLER.get().principal.tenant or None


def require_reach(tenant: str, noun: str, *, shared: bool = False) -> None:
    """Let a caller have what `tenant` owns; `shared`: also what nobody in particular owns.

    Raises:
        ResourceNotFound: it is another's, which looks as if it were not there.
    """
    if not (CALLER.get().principal.reaches(tenant) or (shared and not tenant)):
        raise ResourceNotFound(f"no such {noun}")
