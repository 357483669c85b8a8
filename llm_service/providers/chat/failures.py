"""What a Chat Completions vendor means when it says no."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.providers import failures
from llm_service.providers.failures import VendorError

# The vendors' own words, which say more than the status: OpenAI answers 429 for a rate limit and
# for an empty account, Moonshot for an overload. Generic types ("invalid_request_error") are left
# out: there the status says more.
_BY_WORD: dict[str, type[errors.GatewayError]] = {
    "context_length_exceeded": errors.ContextLengthExceeded,
    "context_window_exceeded": errors.ContextLengthExceeded,
    "model_context_window_exceeded": errors.ContextLengthExceeded,
    "exceed_context_size_error": errors.ContextLengthExceeded,
    "insufficient_quota": errors.ProviderQuotaExhausted,
    "insufficient_balance": errors.ProviderQuotaExhausted,
    "insufficient_credits": errors.ProviderQuotaExhausted,
    "credit_limit": errors.ProviderQuotaExhausted,
    "billing_hard_limit_reached": errors.ProviderQuotaExhausted,
    "billing_not_active": errors.ProviderQuotaExhausted,
    "exceeded_current_quota_error": errors.ProviderQuotaExhausted,
    "arrearage": errors.ProviderQuotaExhausted,
    "rate_limit_exceeded": errors.ProviderRateLimited,
    "rate_limit_error": errors.ProviderRateLimited,
    "rate_limit_reached_error": errors.ProviderRateLimited,
    "too_many_requests": errors.ProviderRateLimited,
    "service_tier_capacity_exceeded": errors.ProviderRateLimited,
    "toomanyrequests": errors.ProviderRateLimited,
    "invalid_api_key": errors.ProviderCredentialRejected,
    "incorrect_api_key": errors.ProviderCredentialRejected,
    "invalid_authentication_error": errors.ProviderCredentialRejected,
    "incorrect_api_key_error": errors.ProviderCredentialRejected,
    "authentication_error": errors.ProviderCredentialRejected,
    "account_deactivated": errors.ProviderCredentialRejected,
    "model_not_found": errors.ModelNotFound,
    "model_not_exist": errors.ModelNotFound,
    "unknown_model": errors.ModelNotFound,
    "invalid_model": errors.ModelNotFound,
    "deploymentnotfound": errors.ModelNotFound,
    "permission_error": errors.ProviderPermissionDenied,
    "permission_denied": errors.ProviderPermissionDenied,
    "permission_denied_error": errors.ProviderPermissionDenied,
    "unsupported_country_region_territory": errors.ProviderPermissionDenied,
    "request_too_large": errors.RequestTooLarge,
    "engine_overloaded_error": errors.ProviderUnavailable,
    "overloaded_error": errors.ProviderUnavailable,
    "overloaded": errors.ProviderUnavailable,
    "service_unavailable": errors.ProviderUnavailable,
    "capacity_exceeded": errors.ProviderUnavailable,
    # The model, not the caller, wrote what cannot be read (Groq).
    "tool_use_failed": errors.ProviderProtocolError,
    "json_validate_failed": errors.ProviderProtocolError,
    "unsupported_parameter": errors.ProviderRejectedRequest,
    "unsupported_value": errors.ProviderRejectedRequest,
}

# For an error inside an answer of status 200, when no word above decides.
_BY_TYPE: dict[str, type[errors.GatewayError]] = {
    "invalid_request_error": errors.ProviderRejectedRequest,
    "badrequesterror": errors.ProviderRejectedRequest,
    "not_found_error": errors.ModelNotFound,
    "timeout": errors.ProviderTimeout,
    "timeout_error": errors.ProviderTimeout,
    "validation": errors.ProviderRejectedRequest,
}

# Many servers have no code for these, only prose. It is matched here and goes nowhere else.
_BY_PROSE = (
    (
        re.compile(
            r"context (length|window|size)|prompt is too long|too many tokens"
            r"|context .{0,20}overflow|`?inputs`? tokens .{0,40}must be <=",
            re.I,
        ),
        errors.ContextLengthExceeded,
    ),
    (
        re.compile(r"(incorrect|invalid) api key|api key not valid", re.I),
        errors.ProviderCredentialRejected,
    ),
    (re.compile(r"model[^.]{0,100}(does not exist|not exist\b)", re.I), errors.ModelNotFound),
)
_PROSE_STATUSES = frozenset({200, 400, 403, 413, 422, 500})

# An empty account, where the status means something else: xAI's 429, Fireworks' 412.
_SPENT = re.compile(
    r"used all available credits|monthly spending limit|insufficient (balance|credits|funds)", re.I
)
_SPENT_STATUSES = frozenset({200, 400, 403, 412, 429})

# A filter's verdict for which there is no code: DeepSeek's and xAI's.
_FILTERED = re.compile(r"content exists risk|content violates usage guidelines", re.I)

_FILTER_WORDS = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "data_inspection_failed",
        "datainspectionfailed",
    }
)


def read_error(status: int, body: bytes) -> VendorError:
    """Understand an error body; anything, also a page or nothing, is one."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return VendorError(status)
    return from_object(said, status)


def from_object(said: Any, status: int = 200) -> VendorError:  # noqa: ANN401 - as it lies on the wire
    """Understand an error object: `{"error": {...}}`, its inside, or one of the flat forms."""
    if type(said) is not dict:
        return VendorError(status, message=said[:2000] if type(said) is str else "")
    error = said.get("error")
    if type(error) is not dict:
        error = {**said, "message": error} if type(error) is str else said
    names = ("code", "type", "error_type")
    words = tuple(word for name in names if type(word := error.get(name)) is str)
    if status == 200:  # noqa: PLR2004
        status = _own_status(error)
    return VendorError(status, words, _message(error), _inner(error))


def _own_status(error: dict[str, Any]) -> int:
    """The status an error says it would have had; 200: none."""
    for name in ("code", "status_code", "http_status_code", "status"):
        said = error.get(name)
        if type(said) is int and 400 <= said <= 599:  # noqa: PLR2004
            return said
    return 200


def _message(error: dict[str, Any]) -> str:
    """The vendor's prose, with that of the vendor behind it where it is a gateway itself."""
    message = error.get("message") or error.get("detail")
    metadata = error.get("metadata")
    raw = metadata.get("raw") if type(metadata) is dict else None
    return " ".join(said[:2000] for said in (message, raw) if type(said) is str)


def _inner(error: dict[str, Any]) -> Any:  # noqa: ANN401
    return error.get("innererror") or error.get("metadata")


def content_filter(error: VendorError, stage: FilterStage) -> ContentFilter | None:
    """The filter, when the error is one that struck: that is a result and no failure."""
    inner = error.inner if type(error.inner) is dict else {}
    words = (*error.words, inner.get("code"))
    if any(type(word) is str and word.lower() in _FILTER_WORDS for word in words):
        return ContentFilter(stage, struck(inner.get("content_filter_result")))
    reasons = inner.get("reasons")
    if type(reasons) is list and "flagged_input" in inner:  # OpenRouter's moderation
        return ContentFilter(stage, tuple(reason for reason in reasons if type(reason) is str))
    if _FILTERED.search(error.message):
        return ContentFilter(stage)
    return None


def struck(results: Any) -> tuple[str, ...]:  # noqa: ANN401 - as it lies on the wire
    """The categories of Azure's filter results that were filtered."""
    if type(results) is not dict:
        return ()
    return tuple(
        name
        for name, result in results.items()
        if type(result) is dict and result.get("filtered") is True
    )


def failure(
    error: VendorError, headers: Mapping[str, str], *, hide: str = ""
) -> errors.GatewayError:
    """The failure to raise. `hide` is the secret: a code that holds it is not passed on."""
    return failures.failure(_kind(error), error, headers, hide)


def _kind(error: VendorError) -> type[errors.GatewayError]:
    for word in error.words:
        if (kind := _BY_WORD.get(word.lower())) is not None:
            return kind
    if error.status in _SPENT_STATUSES and _SPENT.search(error.message):
        return errors.ProviderQuotaExhausted
    if error.status in _PROSE_STATUSES:
        for pattern, kind in _BY_PROSE:
            if pattern.search(error.message):
                return kind
    if error.status == 200:  # noqa: PLR2004
        types = (_BY_TYPE.get(word.lower()) for word in error.words)
        return next((kind for kind in types if kind), errors.ProviderUnavailable)
    return failures.by_status(error.status)
