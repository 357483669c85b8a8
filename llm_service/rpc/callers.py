"""Who makes a call, told once to everything that works for it; and whether it may."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import grpc

from llm_service.domain.access import ANYONE, CALLER, Caller, Principal, Role
from llm_service.errors import PermissionDenied
from llm_service.rpc.interceptors import Around, Handler
from llm_service.rpc.tenancy import TENANT_HEADER
from llm_service.telemetry import Telemetry

Context = grpc.aio.ServicerContext[Any, Any]

Authenticate = Callable[[str, Context], Awaitable[Principal]]
"""From a method and its call's context to whoever makes it.

Raises:
    GatewayError: nobody the service knows.
"""

NOBODY = Principal("anonymous")
"""Who calls a method that is for everybody: its credentials are not looked at."""


async def anyone(method: str, context: Context) -> Principal:  # noqa: ARG001 - the interface
    """Let everybody in, and let them do everything: the open loopback default."""
    return ANYONE


class Callers(Around):
    """Sets `CALLER` for the length of a call, after `authenticate` has said who it is.

    `roles` are the methods' own; those that need none are not asked for credentials.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        roles: Mapping[str, Role | None],
        authenticate: Authenticate = anyone,
    ) -> None:
        super().__init__()
        self._telemetry = telemetry
        self._authenticate = authenticate
        self._exempt = frozenset(method for method, role in roles.items() if role is None)

    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[object]:
        return _Called(self, method, context)

    async def caller(self, method: str, context: Context) -> Caller:
        if method in self._exempt:
            principal = NOBODY
        else:
            principal = await self._authenticate(method, context)
        return Caller(
            principal,
            method,
            context.peer() or "",
            self._telemetry.trace_id(),
            _header(context, TENANT_HEADER),
        )


class _Called:
    __slots__ = ("_context", "_method", "_owner", "_token")

    def __init__(self, owner: Callers, method: str, context: Context) -> None:
        self._owner = owner
        self._method = method
        self._context = context

    async def __aenter__(self) -> None:
        self._token = CALLER.set(await self._owner.caller(self._method, self._context))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        CALLER.reset(self._token)


class Permits(Around):
    """Refuses a caller that lacks the role of the method. A method with no policy is for nobody."""

    def __init__(self, roles: Mapping[str, Role | None]) -> None:
        super().__init__()
        self._roles = roles

    def _wrap(self, method: str, handler: Any) -> Handler:
        if method in self._roles and self._roles[method] is None:
            untouched: Handler = handler
            return untouched
        return super()._wrap(method, handler)

    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[object]:
        return _Permitted(self._roles.get(method))


class _Permitted:
    __slots__ = ("_role",)

    def __init__(self, role: Role | None) -> None:
        self._role = role

    async def __aenter__(self) -> None:
        if self._role is None or not CALLER.get().principal.may(self._role):
            raise PermissionDenied(f"this method needs the role {self._role}")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


def _header(context: Context, name: str) -> str:
    """The one value of a header; "" if there is none, all of them if they contradict."""
    metadata: Any = context.invocation_metadata() or ()
    return ",".join(dict.fromkeys(str(value) for key, value in metadata if key == name))
