"""What it means when a vendor says no, whatever its API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_service import errors
from llm_service.providers.retry_after import retry_delay

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_WORD = frozenset({"", "none", "null", "error", "unknown"})

_BY_STATUS: dict[int, type[errors.GatewayError]] = {
    401: errors.ProviderCredentialRejected,
    402: errors.ProviderQuotaExhausted,
    403: errors.ProviderPermissionDenied,
    404: errors.ModelNotFound,
    408: errors.ProviderTimeout,
    409: errors.ProviderUnavailable,
    413: errors.RequestTooLarge,
    424: errors.ProviderUnavailable,
    425: errors.ProviderUnavailable,
    429: errors.ProviderRateLimited,
    451: errors.ProviderPermissionDenied,
    498: errors.ProviderUnavailable,  # Groq: capacity
}

_MESSAGES: dict[type[errors.GatewayError], str] = {
    errors.ContextLengthExceeded: "the request is longer than the model's context window",
    errors.RequestTooLarge: "the request has more bytes than the provider takes",
    errors.ProviderRejectedRequest: "the provider rejected the request",
    errors.ModelNotFound: "the provider has no such model",
    errors.ProviderCredentialRejected: "the provider refused the credential",
    errors.ProviderPermissionDenied: "the provider does not let this account make the call",
    errors.ProviderQuotaExhausted: "the account with the provider has nothing left to spend",
    errors.ProviderRateLimited: "the provider's rate limit is reached",
    errors.ProviderUnavailable: "the provider failed to serve the call",
    errors.ProviderTimeout: "the provider gave up waiting for its model",
    errors.ProviderProtocolError: "the provider answered what is not an answer",
}


@dataclass(frozen=True, slots=True)
class VendorError:
    """An error as a vendor put it. `status` is HTTP's or the body's; 200: neither says.

    What it says is the vendor's: match on it, never show it. `retry_delay` in seconds, where the
    body names one; None: the headers may.
    """

    status: int
    words: tuple[str, ...] = field(default=(), repr=False)
    message: str = field(default="", repr=False)
    inner: Any = field(default=None, repr=False)
    retry_delay: float | None = None


def failure(
    kind: type[errors.GatewayError], error: VendorError, headers: Mapping[str, str], hide: str
) -> errors.GatewayError:
    """The failure to raise. `hide` is the secret: a code that holds it is not passed on."""
    delay = error.retry_delay
    if delay is None:
        delay = retry_delay(headers)
    return kind(
        _MESSAGES[kind],
        retry_delay=delay if kind.retriable else None,
        http_status=error.status,
        provider_code=_code(error.words, hide),
    )


def by_status(status: int) -> type[errors.GatewayError]:
    """What a status means when nothing the vendor said decides."""
    if (kind := _BY_STATUS.get(status)) is not None:
        return kind
    if status >= 500:  # noqa: PLR2004
        return errors.ProviderUnavailable
    if status >= 400:  # noqa: PLR2004
        return errors.ProviderRejectedRequest
    return errors.ProviderProtocolError


def _code(words: tuple[str, ...], hide: str) -> str:
    for word in words:
        if word.lower() in _NO_WORD or (hide and hide in word):
            continue
        if _CODE.fullmatch(word):
            return word
    return ""
