"""Who makes a call: told once, at its start, to everything that works for it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import grpc

from llm_service.domain.access import ANYONE, CALLER, Caller, Principal
from llm_service.rpc.interceptors import Around
from llm_service.telemetry import Telemetry

Context = grpc.aio.ServicerContext[Any, Any]

Authenticate = Callable[[str, Context], Principal]
"""From a method and its call's context to whoever makes it.

Raises:
    GatewayError: nobody the service knows, or somebody who may not.
"""


def anyone(method: str, context: Context) -> Principal:  # noqa: ARG001 - the interface
    """Let everybody in, and let them do everything: the open loopback default."""
    return ANYONE


class Callers(Around):
    """Sets `CALLER` for the length of a call, after `authenticate` has let it in."""

    def __init__(self, telemetry: Telemetry, authenticate: Authenticate = anyone) -> None:
        super().__init__()
        self._telemetry = telemetry
        self._authenticate = authenticate

    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[object]:
        return _Called(self, method, context)

    def caller(self, method: str, context: Context) -> Caller:
        principal = self._authenticate(method, context)
        return Caller(principal, method, context.peer() or "", self._telemetry.trace_id())


class _Called:
    __slots__ = ("_context", "_method", "_owner", "_token")

    def __init__(self, owner: Callers, method: str, context: Context) -> None:
        self._owner = owner
        self._method = method
        self._context = context

    async def __aenter__(self) -> None:
        self._token = CALLER.set(self._owner.caller(self._method, self._context))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        CALLER.reset(self._token)
