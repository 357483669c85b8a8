"""What Bedrock means when it says no, whichever way it says it."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_service import errors
from llm_service.providers import failures
from llm_service.providers.failures import VendorError
from llm_service.providers.lenient import mapping, text

# AWS names its errors in a header or in the body: "com.amazon.coral#ThrottlingException:http://…".
_BY_WORD: dict[str, type[errors.GatewayError]] = {
    "throttlingexception": errors.ProviderRateLimited,
    "throttledexception": errors.ProviderRateLimited,
    "toomanyrequestsexception": errors.ProviderRateLimited,
    "servicequotaexceededexception": errors.ProviderQuotaExhausted,
    "modelnotreadyexception": errors.ProviderUnavailable,
    "modelerrorexception": errors.ProviderUnavailable,
    "modelstreamerrorexception": errors.ProviderUnavailable,
    "internalserverexception": errors.ProviderUnavailable,
    "internalfailure": errors.ProviderUnavailable,
    "internalservererror": errors.ProviderUnavailable,
    "serviceunavailableexception": errors.ProviderUnavailable,
    "serviceunavailable": errors.ProviderUnavailable,
    "modeltimeoutexception": errors.ProviderTimeout,
    "requesttimeoutexception": errors.ProviderTimeout,
    "resourcenotfoundexception": errors.ModelNotFound,
    "accessdeniedexception": errors.ProviderPermissionDenied,
    "optinrequired": errors.ProviderPermissionDenied,
    "unrecognizedclientexception": errors.ProviderCredentialRejected,
    "invalidclienttokenid": errors.ProviderCredentialRejected,
    "invalidsignatureexception": errors.ProviderCredentialRejected,
    "signaturedoesnotmatch": errors.ProviderCredentialRejected,
    "incompletesignatureexception": errors.ProviderCredentialRejected,
    "incompletesignature": errors.ProviderCredentialRejected,
    "missingauthenticationtokenexception": errors.ProviderCredentialRejected,
    "missingauthenticationtoken": errors.ProviderCredentialRejected,
    "expiredtokenexception": errors.ProviderCredentialRejected,
    "expiredtoken": errors.ProviderCredentialRejected,
    "invalidaccesskeyid": errors.ProviderCredentialRejected,
    "validationexception": errors.ProviderRejectedRequest,
    "conflictexception": errors.ProviderRejectedRequest,
    "serializationexception": errors.ProviderRejectedRequest,
    "unknownoperationexception": errors.ProviderRejectedRequest,
    "requestentitytoolargeexception": errors.RequestTooLarge,
}

# A word that says too little: the sentence after it decides first. It is matched and goes nowhere.
_BY_PROSE: tuple[tuple[frozenset[str], re.Pattern[str], type[errors.GatewayError]], ...] = (
    (
        frozenset({"", "validationexception", "modelerrorexception", "modelstreamerrorexception"}),
        re.compile(
            r"(input|prompt|request) is too long|too many (input )?tokens|too many total text bytes"
            r"|context (length|window|limit|size)|maximum context"
            r"|expected maxLength: \d+, actual: \d+"
            r"|(input|prompt) (tokens?|length)[^.]{0,60}exceed",
            re.I,
        ),
        errors.ContextLengthExceeded,
    ),
    (
        frozenset({"", "validationexception"}),
        re.compile(r"provided model identifier is invalid|model[^.]{0,60}end of its life", re.I),
        errors.ModelNotFound,
    ),
    (
        frozenset({"", "accessdeniedexception"}),
        re.compile(
            r"authentication failed|api key[^.]{0,40}(is|was|has) (not valid|invalid|expired)"
            r"|api key is valid|bearer token|security token[^.]{0,40}(invalid|expired)",
            re.I,
        ),
        errors.ProviderCredentialRejected,
    ),
    (
        frozenset({"resourcenotfoundexception", "validationexception"}),
        re.compile(r"use case details have not been submitted|don't have access", re.I),
        errors.ProviderPermissionDenied,
    ),
)
_PROSE_STATUSES = frozenset({200, 400, 401, 403, 404, 413, 422, 424, 500})
_OK = 200
_MESSAGE_LENGTH = 2000


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> VendorError:
    """Understand an error response; anything, also a page or nothing, is one."""
    try:
        said = mapping(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        said = {}
    return from_object(said, status, headers.get("x-amzn-errortype", ""))


def from_object(said: dict[str, Any], status: int = _OK, kind: str = "") -> VendorError:
    """Understand an error object; `kind` is its type, where something beside it says so."""
    wrapped = mapping(said.get("Output"))
    kinds = (kind, said.get("__type"), wrapped.get("__type"), said.get("code"), said.get("Code"))
    words = tuple(word for word in map(_word, kinds) if word)
    message = text(said.get("message")) or text(said.get("Message"))
    original = said.get("originalStatusCode")
    if status == _OK and type(original) is int and 400 <= original <= 599:  # noqa: PLR2004
        status = original
    return VendorError(status, words, message[:_MESSAGE_LENGTH])


def says_error(said: dict[str, Any]) -> bool:
    """Whether an object that came with status 200 is an error and no answer."""
    wrapped = mapping(said.get("Output"))
    return bool(_word(said.get("__type")) or _word(wrapped.get("__type"))) or (
        "output" not in said and bool(text(said.get("message")) or text(said.get("Message")))
    )


def failure(
    error: VendorError, headers: Mapping[str, str], *, hide: str = ""
) -> errors.GatewayError:
    """The failure to raise. `hide` is the secret: a code that holds it is not passed on."""
    return failures.failure(_kind(error), error, headers, hide)


def _word(said: Any) -> str:  # noqa: ANN401 - as it lies on the wire
    """The name inside "com.amazonaws.bedrock#ValidationException:http://internal.amazon.com/"."""
    return text(said).partition(":")[0].rpartition("#")[2].strip()


def _kind(error: VendorError) -> type[errors.GatewayError]:
    word = error.words[0].lower() if error.words else ""
    if error.status in _PROSE_STATUSES:
        for words, pattern, kind in _BY_PROSE:
            if word in words and pattern.search(error.message):
                return kind
    for said in error.words:
        if (known := _BY_WORD.get(said.lower())) is not None:
            return known
    if error.status == _OK:
        return errors.ProviderUnavailable
    return failures.by_status(error.status)
