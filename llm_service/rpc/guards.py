"""What stands around every call, put together: one coroutine a call, whatever it must pass."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc

from llm_service.domain.access import CALLER
from llm_service.rpc.audits import Audits, admitted
from llm_service.rpc.callers import Callers, Permits
from llm_service.rpc.door import Door
from llm_service.rpc.interceptors import Context, Errors, Handler, Metadata, Spans

Behave = Callable[[Any, Context], Awaitable[Any]]

_STANDARD = "/grpc."
"""Health and reflection are not traced: a probe every second says nothing, and a watch lasts as
long as its client. Nor does the door stop them: health tells that the service stops."""

_NOTHING = nullcontext()

_BURST_SECONDS = 0.005
_PASSES_TO_HEAR = 2
"""Of the event loop, from what wakes it up for a reset to the cancellation of the handler."""


@dataclass(frozen=True, slots=True)
class Guards:
    """From the outermost: the span, the status of failures, the door, the audit, the caller."""

    spans: Spans
    errors: Errors
    door: Door
    audits: Audits | None
    callers: Callers
    permits: Permits

    def around(self, method: str, handler: Any) -> Handler:
        """The handler within all of them; one that takes a stream of requests is left as it is.

        A handler that returns a generator of its replies is drained inside, so a failure between
        two chunks is seen just like one before the first.
        """
        if handler.request_streaming:
            untouched: Handler = handler
            return untouched
        behave = handler.unary_stream or handler.unary_unary
        if not inspect.iscoroutinefunction(behave):
            behave = _drained(behave)
        guarded: Any = self._guarded(method, behave, self._auditing(method, handler))
        make: Any = (
            grpc.unary_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        made: Handler = make(guarded, handler.request_deserializer, handler.response_serializer)
        return made

    def _guarded(
        self,
        method: str,
        behave: Behave,
        auditing: Callable[[Any, Context], AbstractAsyncContextManager[object]],
    ) -> Behave:
        errors, callers, permits = self.errors, self.callers, self.permits
        standard = method.startswith(_STANDARD)
        tracing = _untraced if standard else self.spans.around
        enter = _always if standard else self.door.enter

        async def guarded(request: Any, context: Context) -> Any:
            metadata: Any = context.invocation_metadata() or ()
            async with tracing(method, context, metadata), errors.around(method, context):
                enter()
                async with auditing(request, context):
                    caller = await callers.caller(method, context, metadata)
                    del (
                        metadata
                    )  # the credential is in it, and this frame lives as long as a stream
                    token = CALLER.set(caller)
                    try:
                        admitted(caller)
                        permits.require(method, caller)
                        return await behave(request, context)
                    finally:
                        CALLER.reset(token)

        return guarded

    def _auditing(
        self, method: str, handler: Any
    ) -> Callable[[Any, Context], AbstractAsyncContextManager[object]]:
        audits = self.audits
        if audits is None or not audits.concern(method, handler):
            return _unaudited
        return lambda request, context: audits.around(method, request, context)


def _drained(behave: Any) -> Behave:
    async def drained(request: Any, context: Context) -> None:
        # Writing, not yielding again: a chunk passes no second generator, and all of it, also the
        # end of a cancelled stream, runs in the one task of the call.
        async with aclosing(behave(request, context)) as replies:
            write = context.write
            written = 0.0
            async for reply in replies:
                # A write to a caller who is gone fails, and what gRPC allocated for it is lost
                # (grpc/grpc#43360, some 270 bytes). Between two that follow each other at once the
                # loop would not get to hear of it.
                if monotonic() - written < _BURST_SECONDS:
                    for _ in range(_PASSES_TO_HEAR):
                        await asyncio.sleep(0)
                await write(reply)
                written = monotonic()

    return drained


def _untraced(
    method: str,  # noqa: ARG001 - as Spans.around
    context: Context,  # noqa: ARG001
    metadata: Metadata,  # noqa: ARG001
) -> AbstractAsyncContextManager[object]:
    return _NOTHING


def _unaudited(request: Any, context: Context) -> AbstractAsyncContextManager[object]:  # noqa: ARG001 - as Audits.around
    return _NOTHING


def _always() -> None:
    pass
