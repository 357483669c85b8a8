"""What a settled attempt says of its target: nothing, that it works, that it does not."""

from typing import Any

from llm_service.domain.usage import UsageRecord
from llm_service.errors import (
    ProviderProtocolError,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnavailable,
    ProviderUnreachable,
)
from llm_service.gateway.call import Call
from llm_service.gateway.health.breaker import Outcome
from llm_service.gateway.targets import Target

STALLED = 5.0
"""A silence of so many times the usual says something, however impatient the caller was."""

LIMITED_SECONDS = 5.0
"""How long a target leaves the pool that takes no more and does not say for how long."""

EXHAUSTED_SECONDS = 60.0
"""The same for an empty account, which nobody fills within seconds."""

LONGEST_LIMIT_SECONDS = 300.0
"""What a vendor says of its limits is believed for so long."""

_OF_TARGET = frozenset(
    one.reason
    for one in (ProviderUnavailable, ProviderTimeout, ProviderUnreachable, ProviderProtocolError)
)
_SHARE_OF_TIMER = 0.95  # of a timeout, that it was this timer which ran out


def outcome(
    record: UsageRecord, call: Call[Any], target: Target, usual: float | None, patience: float
) -> Outcome:
    """`usual`: seconds to its first content; `patience`: the service's own, for that."""
    reason = record.error_reason
    if not reason:
        return Outcome.SERVED
    if reason not in _OF_TARGET:
        return Outcome.SILENT
    if reason == ProviderTimeout.reason and _impatient(record, call, target, usual, patience):
        return Outcome.SILENT
    return Outcome.FAILED


def limit_seconds(record: UsageRecord) -> float | None:
    """For how long the target takes no more; None: it did not say that."""
    reason, error = record.error_reason, record.attempt.error
    if reason == ProviderQuotaExhausted.reason:
        return EXHAUSTED_SECONDS
    if reason != ProviderRateLimited.reason:
        return None
    delay = error.retry_delay if error else None
    return LIMITED_SECONDS if delay is None else min(max(0.0, delay), LONGEST_LIMIT_SECONDS)


def is_of_provider(reason: str) -> bool:
    """Whether the failure is the provider's, or its account's, rather than the request's."""
    return reason.startswith("PROVIDER_") and reason != ProviderRejectedRequest.reason


def _impatient(
    record: UsageRecord, call: Call[Any], target: Target, usual: float | None, patience: float
) -> bool:
    """The caller's own short timer ran out: others must not pay for its hurry."""
    routing = call.request.routing
    if routing.min_output_tokens_per_second is not None and record.first_token is not None:
        return True  # it came, and too slowly for this caller
    timers = [t for t in (routing.attempt_timeout, routing.first_token_timeout) if t is not None]
    took = record.attempt.duration
    if not timers or took < min(timers) * _SHARE_OF_TIMER:
        return False
    enough = target.provider.timeouts.first_token or patience
    if usual is not None:
        enough = min(enough, STALLED * usual)
    return took < enough
