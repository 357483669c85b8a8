"""What a vendor of the Responses API means when it says no."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.providers import failures
from llm_service.providers.chat import failures as chat
from llm_service.providers.failures import VendorError
from llm_service.providers.lenient import items, mapping, text

# Beside the words that this API shares with Chat Completions: `ResponseError.code` of the SDK.
_BY_WORD: dict[str, type[errors.GatewayError]] = {
    "server_error": errors.ProviderUnavailable,
    "vector_store_timeout": errors.ProviderTimeout,
    "data_residency_mismatch": errors.ProviderPermissionDenied,
    "invalid_prompt": errors.ProviderRejectedRequest,
    "failed_to_download_image": errors.ProviderRejectedRequest,
    "empty_image_file": errors.ProviderRejectedRequest,
    "unsupported_image_media_type": errors.ProviderRejectedRequest,
    "invalid_base64_image": errors.ProviderRejectedRequest,
}
_ABOUT_AN_IMAGE = re.compile(r"(invalid_)?image_[a-z_]+")
_FILTER_WORDS = frozenset(
    {
        "bio_policy",
        "cyber_policy",
        "cyber_policy_violation",
        "misalignment_policy_violation",
        "image_content_policy_violation",
        "moderation_blocked",
    }
)
# "invalid_prompt" is said of prompts against the vendor's policy and of prompts with a mistake.
_AGAINST_POLICY = re.compile(r"usage polic|flagged|limited access", re.I)


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, hide: str
) -> errors.GatewayError | ContentFilter:
    """What a response other than a success means; a filter that struck is a result."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        said = None
    error = chat.from_object(said, status)
    struck = content_filter(error, mapping(said), FilterStage.INPUT)
    return struck or failure(error, headers, hide)


def content_filter(
    error: VendorError, said: Mapping[str, Any], stage: FilterStage
) -> ContentFilter | None:
    """The filter, when the error is one that struck; `said` is the object that holds the error."""
    known = chat.content_filter(error, stage)
    if known is None and not _is_policy(error):
        return None
    listed = struck(said) or struck(mapping(said.get("error")))
    return listed or known or ContentFilter(stage, tuple(_policies(error)))


def struck(said: Mapping[str, Any]) -> ContentFilter | None:
    """What Azure's list of filter results says was blocked; None: nothing."""
    blocked = [
        result
        for result in map(mapping, items(said.get("content_filters")))
        if result.get("blocked") is True
    ]
    if not blocked:
        return None
    stage = FilterStage.INPUT if blocked[0].get("source_type") == "prompt" else FilterStage.OUTPUT
    names = [name for result in blocked for name in chat.struck(result.get(_RESULTS))]
    return ContentFilter(stage, tuple(dict.fromkeys(names)))


_RESULTS = "content_filter_results"


def failure(error: VendorError, headers: Mapping[str, str], hide: str) -> errors.GatewayError:
    """The failure to raise. `hide` is the secret: a code that holds it is not passed on."""
    for word in error.words:
        kind = _BY_WORD.get(word.lower())
        if kind is None and _ABOUT_AN_IMAGE.fullmatch(word.lower()):
            kind = errors.ProviderRejectedRequest
        if kind is not None:
            return failures.failure(kind, error, headers, hide)
    return chat.failure(error, headers, hide=hide)


def _is_policy(error: VendorError) -> bool:
    if any(_policies(error)):
        return True
    of_prompt = any(word.lower() == "invalid_prompt" for word in error.words)
    return of_prompt and bool(_AGAINST_POLICY.search(text(error.message)))


def _policies(error: VendorError) -> list[str]:
    return [word.lower() for word in error.words if word.lower() in _FILTER_WORDS]
