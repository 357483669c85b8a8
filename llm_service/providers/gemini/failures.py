"""What Google means when it says no: a `google.rpc.Status` and its details."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_service import errors
from llm_service.providers import failures
from llm_service.providers.failures import VendorError
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.retry_after import MAX_SECONDS

_REJECTED = errors.ProviderCredentialRejected
_DENIED = errors.ProviderPermissionDenied
_SPENT = errors.ProviderQuotaExhausted
_UNAVAILABLE = errors.ProviderUnavailable

# Reasons of ErrorInfo, of the domains googleapis.com and generativelanguage.googleapis.com.
_BY_REASON: dict[str, type[errors.GatewayError]] = {
    "API_KEY_INVALID": _REJECTED,
    "API_KEY_EXPIRED": _REJECTED,
    "ACCESS_TOKEN_EXPIRED": _REJECTED,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": _REJECTED,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": _REJECTED,
    "ACCOUNT_STATE_INVALID": _REJECTED,
    "CREDENTIALS_MISSING": _REJECTED,
    "API_KEY_SERVICE_BLOCKED": _DENIED,
    "API_KEY_HTTP_REFERRER_BLOCKED": _DENIED,
    "API_KEY_IP_ADDRESS_BLOCKED": _DENIED,
    "API_KEY_ANDROID_APP_BLOCKED": _DENIED,
    "API_KEY_IOS_APP_BLOCKED": _DENIED,
    "SERVICE_DISABLED": _DENIED,
    "CONSUMER_INVALID": _DENIED,
    "CONSUMER_SUSPENDED": _DENIED,
    "USER_PROJECT_DENIED": _DENIED,
    "IAM_PERMISSION_DENIED": _DENIED,
    "LOCATION_POLICY_VIOLATED": _DENIED,
    "SECURITY_POLICY_VIOLATED": _DENIED,
    "ORG_RESTRICTION_VIOLATION": _DENIED,
    "BILLING_DISABLED": _SPENT,
    "MODEL_CAPACITY_EXHAUSTED": _UNAVAILABLE,
}

# Google has no code for these, only prose. It is matched here and goes nowhere else.
_BY_PROSE = (
    (
        re.compile(
            r"input token count|exceeds the maximum number of tokens|context (length|window)"
            r"|(input|prompt|context) is too long|too many (input )?tokens",
            re.I,
        ),
        errors.ContextLengthExceeded,
    ),
    (
        re.compile(r"payload size exceeds|request (body )?is too large", re.I),
        errors.RequestTooLarge,
    ),
    (
        re.compile(r"api key (not valid|expired|not found)|reported as leaked", re.I),
        _REJECTED,
    ),
    (
        re.compile(r"location is not supported|not available in your", re.I),
        _DENIED,
    ),
    (
        re.compile(
            r"credits? (are|is|has been|have been) (depleted|exhausted)|spend(ing)? (cap|limit)"
            r"|billing (account|to be enabled|is disabled)|enable billing",
            re.I,
        ),
        _SPENT,
    ),
    (re.compile(r"model is overloaded|no capacity", re.I), _UNAVAILABLE),
)
_PROSE_STATUSES = frozenset({200, 400, 403, 413, 429, 500, 503})

_BY_STATUS_WORD: dict[str, type[errors.GatewayError]] = {
    "INVALID_ARGUMENT": errors.ProviderRejectedRequest,
    "FAILED_PRECONDITION": errors.ProviderRejectedRequest,
    "OUT_OF_RANGE": errors.ProviderRejectedRequest,
    "ALREADY_EXISTS": errors.ProviderRejectedRequest,
    "UNIMPLEMENTED": errors.ProviderRejectedRequest,
    "UNAUTHENTICATED": _REJECTED,
    "PERMISSION_DENIED": _DENIED,
    "NOT_FOUND": errors.ModelNotFound,
    "RESOURCE_EXHAUSTED": errors.ProviderRateLimited,
    "DEADLINE_EXCEEDED": errors.ProviderTimeout,
    "UNAVAILABLE": _UNAVAILABLE,
    "INTERNAL": _UNAVAILABLE,
    "ABORTED": _UNAVAILABLE,
    "CANCELLED": _UNAVAILABLE,
    "DATA_LOSS": _UNAVAILABLE,
    "UNKNOWN": _UNAVAILABLE,
}

_LENGTHS = re.compile(r"token count\D{0,8}(\d{1,12})\D{1,80}?(\d{1,12})")
_LONG_TERM = re.compile(r"per_?(day|month)", re.I)
_BILLION = 1_000_000_000
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_RETRY_IN = re.compile(r"retry in (\d{1,9}(?:\.\d{1,9})?)s\b", re.I)


def read_error(status: int, body: bytes) -> VendorError:
    """Understand an error body; anything, also a page or nothing, is one."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return VendorError(status)
    return from_object(said, status)


def from_object(said: Any, status: int = 200) -> VendorError:  # noqa: ANN401 - as it lies on the wire
    """Understand `{"error": {...}}`, alone or in an array, or its inside."""
    if type(said) is list:
        said = said[0] if said else None
    error = mapping(said).get("error", said)
    if type(error) is str:  # of a server in between
        return VendorError(status, message=error[:2000])
    error = mapping(error)
    details = [mapping(detail) for detail in items(error.get("details"))]
    reasons = (text(detail.get("reason")) for detail in details)
    words = tuple(word for word in (*reasons, text(error.get("status"))) if word)
    code = error.get("code")
    if status == 200 and type(code) is int and 400 <= code <= 599:  # noqa: PLR2004
        status = code
    message = text(error.get("message"))[:2000]
    return VendorError(status, words, message, details, _retry_delay(details, message))


def failure(
    error: VendorError, headers: Mapping[str, str], *, hide: str = ""
) -> errors.GatewayError:
    """The failure to raise. `hide` is the secret: a code that holds it is not passed on."""
    failed = failures.failure(_kind(error), error, headers, hide)
    if isinstance(failed, errors.ContextLengthExceeded) and (
        said := _LENGTHS.search(error.message)
    ):
        failed.metadata |= {"requestedTokens": said[1], "limitTokens": said[2]}
    return failed


def _kind(error: VendorError) -> type[errors.GatewayError]:
    return _by_words(error) or _by_prose(error) or _by_status(error)


def _by_words(error: VendorError) -> type[errors.GatewayError] | None:
    return next((_BY_REASON[word] for word in error.words if word in _BY_REASON), None)


def _by_prose(error: VendorError) -> type[errors.GatewayError] | None:
    if error.status not in _PROSE_STATUSES:
        return None
    return next((kind for pattern, kind in _BY_PROSE if pattern.search(error.message)), None)


def _by_status(error: VendorError) -> type[errors.GatewayError]:
    word = error.words[-1] if error.words else ""
    if word == "RESOURCE_EXHAUSTED" and _is_used_up(items(error.inner)):
        return _SPENT
    if (kind := _BY_STATUS_WORD.get(word)) is not None:
        return kind
    if error.status == 200:  # noqa: PLR2004
        return _UNAVAILABLE
    return failures.by_status(error.status)


def _is_used_up(details: list[dict[str, Any]]) -> bool:
    """Whether a quota is spent that no short wait brings back: a day's, a month's, or one of 0."""
    violations = [
        mapping(violation) for detail in details for violation in items(detail.get("violations"))
    ]
    return any(
        _LONG_TERM.search(text(violation.get("quotaId")))
        or text(violation.get("quotaValue")) == "0"
        for violation in violations
    )


def _retry_delay(details: list[dict[str, Any]], message: str) -> float | None:
    """Seconds by RetryInfo, else by the prose that Google repeats it in."""
    for detail in details:
        said = detail.get("retryDelay")
        if type(said) is str and (match := _SECONDS.fullmatch(said)):
            return min(float(match[1]), MAX_SECONDS)
        if type(said) is dict:
            seconds, nanos = said.get("seconds", 0), said.get("nanos", 0)
            if str(seconds).isdecimal() and type(nanos) is int and 0 <= nanos < _BILLION:
                return min(int(str(seconds)[:9]) + nanos / _BILLION, MAX_SECONDS)
    match = _RETRY_IN.search(message)
    return min(float(match[1]), MAX_SECONDS) if match else None
