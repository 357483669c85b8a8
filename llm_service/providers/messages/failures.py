"""What the Messages API means when it says no."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.providers import failures
from llm_service.providers.failures import VendorError
from llm_service.providers.lenient import mapping, text
from llm_service.providers.retry_after import MAX_SECONDS, retry_delay

# `error.details.error_code` names the cause and `error.type` the class; codes come first. Where
# neither is here ("invalid_request_error"), prose and the status say more.
_BY_WORD: dict[str, type[errors.GatewayError]] = {
    "contract_spend_limit_reached": errors.ProviderQuotaExhausted,
    "enforced_spend_limit_reached": errors.ProviderQuotaExhausted,
    "linked_organization_spend_limit_reached": errors.ProviderQuotaExhausted,
    "linked_organization_billing_unavailable": errors.ProviderQuotaExhausted,
    "user_profile_not_billable": errors.ProviderQuotaExhausted,
    "user_profile_billing_not_authorized": errors.ProviderPermissionDenied,
    "organization_on_hold": errors.ProviderPermissionDenied,
    "ramp_limit_exceeded": errors.ProviderRateLimited,
    "request_body_too_large_after_decoding": errors.RequestTooLarge,
    "billing_error": errors.ProviderQuotaExhausted,
    "authentication_error": errors.ProviderCredentialRejected,
    "permission_error": errors.ProviderPermissionDenied,
    "request_too_large": errors.RequestTooLarge,
    "overloaded_error": errors.ProviderUnavailable,
    "api_error": errors.ProviderUnavailable,
    "internal_server_error": errors.ProviderUnavailable,
    "conflict_error": errors.ProviderUnavailable,
    "timeout_error": errors.ProviderTimeout,
    "gateway_timeout_error": errors.ProviderTimeout,
}

# Classes that stand for several causes: an empty account also comes as a rate limit.
_BY_TYPE: dict[str, type[errors.GatewayError]] = {
    "rate_limit_error": errors.ProviderRateLimited,
    "not_found_error": errors.ModelNotFound,
    "invalid_request_error": errors.ProviderRejectedRequest,
}

# Causes that have no code, only prose. It is matched here and goes nowhere else.
_BY_PROSE = (
    (
        re.compile(
            r"prompt is too long|exceeds? (the )?(context|model's maximum)|context (window|limit)"
            r"|too many (input )?tokens",
            re.I,
        ),
        errors.ContextLengthExceeded,
    ),
    (
        re.compile(
            r"credit balance|spend(ing)? limit|api usage limit|usage limits?\b.{0,60}regain"
            r"|monthly (spend|usage|limit)|purchase credits",
            re.I,
        ),
        errors.ProviderQuotaExhausted,
    ),
    (re.compile(r"invalid (x-)?api[- ]key", re.I), errors.ProviderCredentialRejected),
)
_PROSE_TYPES = frozenset({"invalid_request_error", "rate_limit_error", ""})
_NOT_A_MODEL = re.compile(r"\b(file|container|skill|thread|workspace|profile)\b", re.I)
_FILTERED = re.compile(
    r"\b(?P<stage>input|output|prompt|request)\b.{0,20}blocked by.{0,20}filter", re.I
)

_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")


def read_error(status: int, body: bytes) -> VendorError:
    """Understand an error body; anything, also a page or nothing, is one."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return VendorError(status)
    return from_object(mapping(said).get("error", said), status)


def from_object(said: Any, status: int = 200) -> VendorError:  # noqa: ANN401 - as it lies on the wire
    """Understand the object under `error`."""
    if type(said) is str:
        return VendorError(status, message=said[:2000])
    error = mapping(said)
    details = mapping(error.get("details"))
    words = (text(details.get("error_code")), text(error.get("type")))
    message = text(error.get("message"))[:2000]
    return VendorError(status, tuple(word for word in words if word), message)


def content_filter(error: VendorError) -> ContentFilter | None:
    """The filter, when the error is one that struck: that is a result and no failure."""
    struck = _FILTERED.search(error.message)
    if struck is None or not _PROSE_TYPES.issuperset(error.words):
        return None
    is_output = struck["stage"].lower() == "output"
    return ContentFilter(FilterStage.OUTPUT if is_output else FilterStage.INPUT)


def failure(
    error: VendorError, headers: Mapping[str, str], *, hide: str = ""
) -> errors.GatewayError:
    """The failure to raise. `hide` is the secret: a code that holds it is not passed on."""
    kind = _kind(error)
    if kind is errors.ProviderRateLimited and retry_delay(headers) is None:
        delay = _until_reset(headers)
        error = VendorError(error.status, error.words, error.message, retry_delay=delay)
    return failures.failure(kind, error, headers, hide)


def _kind(error: VendorError) -> type[errors.GatewayError]:
    for word in error.words:
        if (kind := _BY_WORD.get(word)) is not None:
            return kind
    if _PROSE_TYPES.intersection(error.words or ("",)):
        for pattern, kind in _BY_PROSE:
            if pattern.search(error.message):
                return kind
    return _by_type(error)


def _by_type(error: VendorError) -> type[errors.GatewayError]:
    known = (_BY_TYPE.get(word) for word in error.words)
    kind = next((kind for kind in known if kind), None)
    if kind is errors.ModelNotFound and _NOT_A_MODEL.search(error.message):
        return errors.ProviderRejectedRequest
    if kind is errors.ProviderRejectedRequest and error.status not in (200, 400, 422):
        return failures.by_status(error.status)
    if kind is not None:
        return kind
    return errors.ProviderUnavailable if error.status == 200 else failures.by_status(error.status)  # noqa: PLR2004


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limits that are used up are full again."""
    waits = [
        wait
        for name in _LIMITS
        if headers.get(f"anthropic-ratelimit-{name}-remaining", "").strip() == "0"
        and (wait := _until(headers.get(f"anthropic-ratelimit-{name}-reset", ""))) is not None
    ]
    return max(waits, default=None)


def _until(moment: str) -> float | None:
    try:
        at = datetime.fromisoformat(moment.strip())
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max((at - datetime.now(UTC)).total_seconds(), 0.0), MAX_SECONDS)
