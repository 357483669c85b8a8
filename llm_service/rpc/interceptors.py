"""What happens around every call: its span, and the status of its failure."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode
from grpc.aio import AbortError

from llm_service.errors import GatewayError
from llm_service.rpc.status import GENERATION_KEY, TRACE_ID_KEY, internal_status, to_status
from llm_service.telemetry import ServerCall, Telemetry

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

Metadata = Sequence[tuple[str, str | bytes]]
"""What a call came with, as gRPC tells it: it makes all of it anew whenever it is asked."""

Generation = Callable[[], int]
"""Of the configuration this replica works from, now."""

_FROM_THE_SNAPSHOT = ("/llmservice.v1.CompletionService/", "/llmservice.v1.EmbeddingService/")
"""Such a call uses the configuration it began with. The others read and write what is stored, and
their answers show the generation their own change is in."""

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # generic in the type stubs only


class Spans:
    """One server span and one measurement per call.

    In its trailing metadata: its trace id, and the generation of the configuration.
    """

    def __init__(self, telemetry: Telemetry, generation: Generation | None = None) -> None:
        self._telemetry = telemetry
        self.generation = generation
        self._idle = asyncio.Event()
        self._idle.set()
        self._active = 0

    async def until_idle(self) -> None:
        """Return when no call is in progress, each with its `finally` blocks behind it."""
        await self._idle.wait()

    def entered(self) -> None:
        self._active += 1
        if self._active == 1:
            self._idle.clear()

    def left(self) -> None:
        self._active -= 1
        if self._active == 0:
            self._idle.set()

    def around(
        self, method: str, context: Context, metadata: Metadata
    ) -> AbstractAsyncContextManager[object]:
        span = _CallSpan(self, self._telemetry.server_call(method, metadata), context)
        if self.generation is not None and method.startswith(_FROM_THE_SNAPSHOT):
            span.generation = self.generation()
        return span


class _CallSpan:
    __slots__ = ("_call", "_context", "_owner", "_started", "generation")

    def __init__(self, owner: Spans, call: ServerCall, context: Context) -> None:
        self._owner = owner
        self._call = call
        self._context = context
        self.generation: int | None = None

    async def __aenter__(self) -> None:
        self._started = monotonic()
        self._owner.entered()
        self._call.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = self._code(error)
        if code is not StatusCode.OK:
            self._call.status(code.name)
        if error is None:
            own: Any = (*self._shown_generation(), (TRACE_ID_KEY, self._call.trace_id))
            self._context.set_trailing_metadata((*(self._context.trailing_metadata() or ()), *own))
        self._call.__exit__(kind, error, trace)
        self._owner.left()

    def _shown_generation(self) -> tuple[tuple[str, str], ...]:
        if self._owner.generation is None:
            return ()
        began_with = self.generation
        shown = self._owner.generation() if began_with is None else began_with
        return ((GENERATION_KEY, str(shown)),)

    def _code(self, error: BaseException | None) -> StatusCode:
        if error is None or isinstance(error, AbortError):
            return _as_code(self._context.code())
        if isinstance(error, Exception):
            return StatusCode.UNKNOWN  # what grpc.aio answers for an exception nobody translated
        return self._why_cancelled()

    def _why_cancelled(self) -> StatusCode:
        """The caller left, or its deadline passed: grpc.aio cancels the handler in both cases.

        The client's clock runs out first: on the wire a timeout is rounded up, by as much as 1 %.
        """
        left = self._context.time_remaining()
        if left is None:
            return StatusCode.CANCELLED
        elapsed = monotonic() - self._started
        return (
            StatusCode.DEADLINE_EXCEEDED if left <= 0.02 + elapsed / 100 else StatusCode.CANCELLED
        )


class Errors:
    """Failures on purpose become their status; anything else is logged and becomes INTERNAL."""

    def __init__(self, telemetry: Telemetry, generation: Generation | None = None) -> None:
        self._telemetry = telemetry
        self._generation = generation

    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[object]:
        began_with = self._generation() if self._generation is not None else None
        return _Translated(self._telemetry, method, context, began_with)


class _Translated:
    __slots__ = ("_context", "_generation", "_method", "_telemetry")

    def __init__(
        self, telemetry: Telemetry, method: str, context: Context, generation: int | None
    ) -> None:
        self._telemetry = telemetry
        self._generation = generation
        self._method = method
        self._context = context

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, AbortError):
            return
        trace_id = self._telemetry.trace_id()
        if isinstance(error, GatewayError):
            self._telemetry.note_reason(error.reason)
            log.debug("%s failed: %s%s", self._method, error.reason, _cause(error))
            status = to_status(error, trace_id=trace_id, generation=self._generation)
            await self._context.abort_with_status(status)
        self._telemetry.note_reason("INTERNAL")
        log.error("%s broke", self._method, exc_info=error)
        await self._context.abort_with_status(internal_status(trace_id))


def _cause(error: GatewayError) -> str:
    return f", caused by {type(error.__cause__).__name__}" if error.__cause__ else ""


def _as_code(code: Any) -> StatusCode:
    """`context.code()` is 0 or None until somebody sets it, and the number after an abort."""
    if isinstance(code, StatusCode):
        return code
    return _BY_NUMBER.get(code or 0, StatusCode.UNKNOWN)


_BY_NUMBER = {code.value[0]: code for code in StatusCode}
