"""What Ollama means when it says no. It has no codes: the words are all there is."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_service import errors
from llm_service.providers import failures
from llm_service.providers.failures import VendorError
from llm_service.providers.lenient import mapping, text

# Matched here, shown nowhere.
_BY_PROSE: tuple[tuple[re.Pattern[str], type[errors.GatewayError]], ...] = (
    (
        re.compile(r"context (length|window|size)|prompt (is )?too long|too many tokens", re.I),
        errors.ContextLengthExceeded,
    ),
    (re.compile(r"model .{0,200}not found|try pulling it", re.I), errors.ModelNotFound),
    (re.compile(r"does not support", re.I), errors.CapabilityNotSupported),
    (re.compile(r"usage limit|requires a subscription", re.I), errors.ProviderQuotaExhausted),
    (re.compile(r"unauthorized|invalid api key", re.I), errors.ProviderCredentialRejected),
    (re.compile(r"rate limit|too many requests", re.I), errors.ProviderRateLimited),
)


def read_error(status: int, body: bytes) -> VendorError:
    """Understand an error body; anything, also a page or nothing, is one."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return VendorError(status)
    return from_object(said, status)


def from_object(said: Any, status: int = 200) -> VendorError:  # noqa: ANN401 - as it lies on the wire
    """Understand `{"error": "..."}`, also with an object inside, as a proxy may send it."""
    error = mapping(said).get("error")
    inside = mapping(error)
    message = text(error) or text(inside.get("message")) or text(mapping(said).get("message"))
    words = tuple(word for name in ("code", "type") if (word := text(inside.get(name))))
    return VendorError(status, words, message[:2000])


def failure(error: VendorError, headers: Mapping[str, str], *, hide: str) -> errors.GatewayError:
    """The failure to raise. `hide` is the secret: a code that holds it is not passed on."""
    kind = next((kind for words, kind in _BY_PROSE if words.search(error.message)), None)
    if kind is errors.CapabilityNotSupported:
        return kind("the model lacks a feature that the request needs", http_status=error.status)
    if kind is None and error.status == 200:  # noqa: PLR2004
        kind = errors.ProviderUnavailable
    return failures.failure(kind or failures.by_status(error.status), error, headers, hide)
