"""Who makes a call, told once to everything that works for it; and whether it may."""

from collections.abc import Awaitable, Callable, Mapping

from llm_service.domain.access import ANYONE, Caller, Principal, Role
from llm_service.errors import PermissionDenied
from llm_service.rpc.interceptors import Context, Metadata
from llm_service.rpc.tenancy import TENANT_HEADER
from llm_service.telemetry import Telemetry

Authenticate = Callable[[str, Context, Metadata], Awaitable[Principal]]
"""From a method, its call's context and metadata to whoever makes it.

Raises:
    GatewayError: nobody the service knows.
"""

NOBODY = Principal("anonymous")
"""Who calls a method that is for everybody: its credentials are not looked at."""


async def anyone(
    method: str,  # noqa: ARG001 - the interface
    context: Context,  # noqa: ARG001
    metadata: Metadata,  # noqa: ARG001
) -> Principal:
    """Let everybody in, and let them do everything: the open loopback default."""
    return ANYONE


class Callers:
    """Says who makes a call, by `authenticate`.

    `roles` are the methods' own; those that need none are not asked for credentials.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        roles: Mapping[str, Role | None],
        authenticate: Authenticate = anyone,
    ) -> None:
        self._telemetry = telemetry
        self._authenticate = authenticate
        self._exempt = frozenset(method for method, role in roles.items() if role is None)

    async def caller(self, method: str, context: Context, metadata: Metadata) -> Caller:
        """Whoever makes the call; as `Authenticate`."""
        if method in self._exempt:
            principal = NOBODY
        else:
            principal = await self._authenticate(method, context, metadata)
        return Caller(
            principal,
            method,
            context.peer() or "",
            self._telemetry.trace_id(),
            _header(metadata, TENANT_HEADER),
        )


class Permits:
    """Refuses a caller that lacks the role of the method. A method with no policy is for nobody."""

    def __init__(self, roles: Mapping[str, Role | None]) -> None:
        self._roles = roles

    def require(self, method: str, caller: Caller) -> None:
        """Raise `PermissionDenied` unless the caller may make a call of the method."""
        role = self._roles.get(method)
        if role is None:
            if method in self._roles:
                return
        elif caller.principal.may(role):
            return
        raise PermissionDenied(f"this method needs the role {role}")


def _header(metadata: Metadata, name: str) -> str:
    """The one value of a header; "" if there is none, all of them if they contradict."""
    values = [str(value) for key, value in metadata if key == name]
    return ",".join(dict.fromkeys(values)) if values else ""
