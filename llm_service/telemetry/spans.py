"""The span and the measurements of one inbound call, and of one upstream attempt."""

import random
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from time import monotonic
from types import TracebackType
from typing import Self

from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llm_service.errors import GatewayError
from llm_service.telemetry import conventions as names
from llm_service.telemetry.metrics import AttemptLabels, Metrics

_PROPAGATOR = TraceContextTextMapPropagator()
_PARENT_HEADERS = ("traceparent", "tracestate")
_NO_TRACE = "0" * 32

current_call: ContextVar["ServerCall | None"] = ContextVar("current_call", default=None)


class ServerCall:
    """One inbound call: a SERVER span that continues the caller's trace, and the call's duration.

    Without a tracer nobody would read the span: there is the trace id alone.

    A context manager. Inside it, `Telemetry.trace_id()` and every attempt belong to this call.
    """

    __slots__ = (
        "_code",
        "_method",
        "_metrics",
        "_reason",
        "_span",
        "_started",
        "_token",
        "trace_id",
    )

    def __init__(
        self,
        tracer: Tracer | None,
        metrics: Metrics,
        method: str,
        metadata: Iterable[tuple[str, str | bytes]],
    ) -> None:
        self._method = method.lstrip("/")
        self._metrics = metrics
        self._code = "OK"
        self._reason = ""
        carrier: dict[str, str] = {}
        for key, value in metadata:
            if key in _PARENT_HEADERS and isinstance(value, str):
                carrier[key] = value  # noqa: PERF403 - a comprehension is a call
        self._span: Span | None = None
        if tracer is None:
            # 128 random bits, never all zero; as the SDK makes them.
            number = (carrier and _inherited(carrier)) or random.getrandbits(128) or 1
        else:
            self._span = tracer.start_span(
                self._method,
                context=_PROPAGATOR.extract(carrier, Context()),
                kind=SpanKind.SERVER,
                attributes={names.RPC_SYSTEM: "grpc", names.RPC_METHOD: self._method},
                record_exception=False,
                set_status_on_exception=False,
            )
            number = self._span.get_span_context().trace_id
        self.trace_id = number.to_bytes(16, "big").hex()
        """32 lower-case hexadecimal digits."""
        self._token: Token[ServerCall | None] | None = None

    def status(self, code_name: str) -> None:
        """What the call ended with, a `grpc.StatusCode` name. "OK" unless said otherwise."""
        self._code = code_name

    def failed(self, reason: str) -> None:
        """Why it failed, an `ErrorReason` name: becomes the span's status description."""
        self._reason = reason

    def context(self) -> Context:
        """What spans inside this call have as their parent."""
        return set_span_in_context(self._span) if self._span else Context()

    def __enter__(self) -> Self:
        self._token = current_call.set(self)
        self._metrics.active_calls += 1
        self._started = monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._metrics.active_calls -= 1
        if self._metrics.is_collected:
            self._metrics.call(self._method, self._code, monotonic() - self._started)
        if (span := self._span) is not None:
            self._describe(span)
            span.end()
        if self._token is not None:
            current_call.reset(self._token)

    def _describe(self, span: Span) -> None:
        if not span.is_recording():
            return
        span.set_attribute(names.RPC_STATUS, self._code)
        if self._reason or self._code in names.SERVER_FAULTS:
            span.set_attribute(names.ERROR_TYPE, self._reason or self._code)
        if self._code in names.SERVER_FAULTS:
            span.set_status(Status(StatusCode.ERROR, self._reason or self._code))


class AttemptSpan:
    """One upstream attempt: a CLIENT span by the GenAI conventions, and its measurements.

    A context manager. Left by an exception that nobody named with `failed`, it names it itself: a
    `GatewayError` by its reason, a cancellation as CANCELLED, anything else as INTERNAL.
    """

    __slots__ = ("_error", "_labels", "_metrics", "_span", "_started")

    def __init__(self, metrics: Metrics, labels: AttemptLabels, span: Span | None) -> None:
        self._metrics = metrics
        self._labels = labels
        self._error = ""
        self._span = span

    def first_chunk(self, seconds: float) -> None:
        """Content began `seconds` after the attempt."""
        self._metrics.first_chunk(self._labels, seconds)
        if self._span is not None:
            self._span.set_attribute(names.FIRST_CHUNK, seconds)

    def finished(  # noqa: PLR0913  counts, by name
        self,
        *,
        response_model: str = "",
        response_id: str = "",
        finish_reason: str = "",
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read: int = 0,
        cache_write: int = 0,
        reasoning: int = 0,
    ) -> None:
        """What came back. Totals are inclusive; the last three are subsets of them."""
        self._metrics.tokens(self._labels, input_tokens, output_tokens)
        span = self._span
        if span is None or not span.is_recording():
            return
        told: dict[str, str | int] = {
            names.RESPONSE_MODEL: response_model,
            names.RESPONSE_ID: response_id,
            names.CACHE_READ_TOKENS: cache_read,
            names.CACHE_WRITE_TOKENS: cache_write,
            names.REASONING_TOKENS: reasoning,
        }
        span.set_attributes(
            {
                **{name: value for name, value in told.items() if value},
                names.FINISH_REASONS: [finish_reason] if finish_reason else [],
                names.INPUT_TOKENS: input_tokens,
                names.OUTPUT_TOKENS: output_tokens,
            }
        )

    def failed(self, reason: str) -> None:
        """`reason` is an `ErrorReason` name, CANCELLED or DEADLINE_EXCEEDED."""
        self._error = reason

    def __enter__(self) -> Self:
        self._started = monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not self._error:
            self._error = _reason(error)
        self._metrics.attempt(self._labels, monotonic() - self._started, self._error)
        if (span := self._span) is None:
            return
        if self._error:
            span.set_attribute(names.ERROR_TYPE, self._error)
            span.set_status(Status(StatusCode.ERROR, self._error))
        span.end()


class _Unwatched(AttemptSpan):
    """Of which nobody hears: it has nothing of its own, and is every such attempt's."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def first_chunk(self, seconds: float) -> None:
        pass

    def finished(self, **_counts: object) -> None:
        pass

    def failed(self, reason: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass


UNWATCHED = _Unwatched()


def attempt_span(tracer: Tracer, attributes: Mapping[str, str | bool | int]) -> Span:
    """A CLIENT span inside the current call's."""
    call = current_call.get()
    return tracer.start_span(
        f"{attributes[names.OPERATION]} {attributes[names.REQUEST_MODEL]}",
        context=call.context() if call else Context(),
        kind=SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    )


def trace_id() -> str:
    """The current call's trace id; 32 zeros outside a call."""
    call = current_call.get()
    return call.trace_id if call else _NO_TRACE


def _inherited(carrier: dict[str, str]) -> int:
    """The caller's trace id; 0: it names none."""
    parent = get_current_span(_PROPAGATOR.extract(carrier, Context())).get_span_context()
    return parent.trace_id if parent.is_valid else 0


def _reason(error: BaseException) -> str:
    if isinstance(error, GatewayError):
        return error.reason
    return "INTERNAL" if isinstance(error, Exception) else "CANCELLED"
