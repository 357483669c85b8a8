"""Which gRPC status each failure becomes, and the details that travel with it."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from llm_service import errors
from llm_service.domain.completion import FailedCompletion
from llm_service.rpc.codes import STATUS
from llm_service.rpc.convert.completion import from_failure

if TYPE_CHECKING:
    from llm_service.rpc.stubs import error_pb2

DOMAIN = "llm-service"
"""`ErrorInfo.domain` of every error this service makes."""

DETAILS_MAX = 4096
"""Bytes of a status with its details. From about 8 KiB on clients lose the code itself."""

MESSAGE_MAX = 512
"""Bytes of a status message: it travels twice, and once percent-encoded."""

METADATA_MAX = 8
TEXT_MAX = 200
"""Bytes of a description or of a value of `ErrorInfo.metadata`."""

TRACE_ID_KEY = "llmservice-trace-id"
COMPLETION_ID_KEY = "llmservice-completion-id"
GENERATION_KEY = "llmservice-config-generation"
PUSHBACK_KEY = "grpc-retry-pushback-ms"


@dataclass(frozen=True)
class Status(grpc.Status):
    """What `context.abort_with_status` takes; the details are in the trailing metadata."""

    code: StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def to_status(
    error: errors.GatewayError, *, trace_id: str, generation: int | None = None
) -> Status:
    """The status of a failure on purpose, its details at most `DETAILS_MAX` bytes.

    Retriable errors carry RetryInfo, and no others do. After an upstream attempt the trailing
    metadata tells the client's library not to retry by itself: the chain has been tried.
    """
    failure = error.failure if isinstance(error.failure, FailedCompletion) else None
    code = STATUS[type(error)]
    proto = status_pb2.Status(code=code.value[0], message=_cut(str(error), MESSAGE_MAX))
    _add(proto, _error_info(error))
    if error.retriable:
        _add(proto, _retry_info(error))
    for detail in _particulars(error):
        _add(proto, detail)
    if failure is not None:
        _add_failure(proto, failure)
    if isinstance(error, errors.InvalidField):
        _add_violations(proto, error)
    trailing = _trailing(proto, trace_id, failure)
    if generation is not None:
        trailing = (*trailing, (GENERATION_KEY, str(generation)))
    return Status(code, proto.message, trailing)


def internal_status(trace_id: str) -> Status:
    """The status of a bug: nothing but the trace id, under which the log has the rest."""
    proto = status_pb2.Status(
        code=StatusCode.INTERNAL.value[0], message=f"internal error; incident {trace_id}"
    )
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"incident": trace_id}
    )
    _add(proto, info)
    return Status(StatusCode.INTERNAL, proto.message, _trailing(proto, trace_id, None))


def _error_info(error: errors.GatewayError) -> error_details_pb2.ErrorInfo:
    kept = list(error.metadata.items())[:METADATA_MAX]
    return error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={_cut(key, 64): _cut(value, TEXT_MAX) for key, value in kept},
    )


def _retry_info(error: errors.GatewayError) -> error_details_pb2.RetryInfo:
    delay = error.retry_delay
    if delay is None:
        # Spread out, so that callers refused together do not come back together.
        longest = 30.0 if isinstance(error, errors.ProviderRateLimited) else 2.0
        delay = random.uniform(1.0, longest)  # noqa: S311  jitter
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromTimedelta(timedelta(seconds=max(0.0, delay)))
    return info


def _particulars(error: errors.GatewayError) -> Iterable[Message]:
    provider = _cut(error.metadata.get("provider", ""), TEXT_MAX)
    if isinstance(error, errors.ProviderRateLimited):
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=provider, api_service=provider, description=_cut(str(error), TEXT_MAX)
        )
        yield error_details_pb2.QuotaFailure(violations=[violation])
    if isinstance(error, errors.RateLimited):
        limited = error_details_pb2.QuotaFailure.Violation(
            subject=_cut(error.quota.subject, TEXT_MAX),
            quota_metric=error.quota.metric,
            quota_value=error.quota.limit,
            description=_cut(str(error), TEXT_MAX),
        )
        yield error_details_pb2.QuotaFailure(violations=[limited])
    if isinstance(error, errors.BudgetExceeded):
        exceeded = error_details_pb2.QuotaFailure.Violation(
            subject=_cut(error.metadata.get("budget", ""), TEXT_MAX),
            description=_cut(str(error), TEXT_MAX),
        )
        yield error_details_pb2.QuotaFailure(violations=[exceeded])
    if isinstance(error, errors.NoRoute):
        subject = _cut(error.metadata.get("model", ""), TEXT_MAX) or provider
        missing = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason, subject=subject, description=_cut(str(error), TEXT_MAX)
        )
        yield error_details_pb2.PreconditionFailure(violations=[missing])


def _add_failure(proto: status_pb2.Status, failed: FailedCompletion) -> None:
    """The failure with as many of its attempts as fit, the first ones: they say what went wrong."""
    failure = from_failure(failed)
    while not _fits(proto, failure) and failure.attempts:
        failure.attempts.pop()
    if not _fits(proto, failure):
        failure = _bare(failure)
    _add(proto, failure)


def _bare(failure: "error_pb2.CompletionFailure") -> "error_pb2.CompletionFailure":
    bare = type(failure)(
        completion_id=_cut(failure.completion_id, TEXT_MAX), content_sent=failure.content_sent
    )
    if failure.HasField("cost"):
        bare.cost.total_nano_usd = failure.cost.total_nano_usd
        bare.cost.incomplete = failure.cost.incomplete
        bare.cost.estimated = failure.cost.estimated
    return bare


def _add_violations(proto: status_pb2.Status, error: errors.InvalidField) -> None:
    request = error_details_pb2.BadRequest()
    for violation in error.violations:
        request.field_violations.add(
            field=_cut(violation.field, TEXT_MAX),
            description=_cut(violation.description, TEXT_MAX),
            reason=error.reason,
        )
        if not _fits(proto, request):
            request.field_violations.pop()
            break
    _add(proto, request)


def _add(proto: status_pb2.Status, detail: Message) -> None:
    proto.details.add().Pack(detail)


def _fits(proto: status_pb2.Status, detail: Message) -> bool:
    trial = status_pb2.Status()
    trial.CopyFrom(proto)
    _add(trial, detail)
    return bool(trial.ByteSize() <= DETAILS_MAX)


def _trailing(
    proto: status_pb2.Status, trace_id: str, failure: FailedCompletion | None
) -> tuple[tuple[str, str | bytes], ...]:
    metadata: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", proto.SerializeToString()),
        (TRACE_ID_KEY, trace_id),
    ]
    if failure is not None:
        metadata.append((COMPLETION_ID_KEY, failure.id))
        if failure.dials:
            metadata.append((PUSHBACK_KEY, "-1"))
    return tuple(metadata)


def _cut(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8, never half a character."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= size else data[:size].decode("utf-8", "ignore")
