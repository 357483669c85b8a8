"""Any server that speaks one of OpenAI's APIs: a vendor without a kind, or one's own."""

import re
from dataclasses import replace
from functools import partial

from llm_service import errors
from llm_service.domain.provider import ProviderKind, SourceType
from llm_service.providers import tokenizers
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.chat.dialect import Dialect, EmbeddingRules
from llm_service.providers.egress import Egress, Endpoint
from llm_service.providers.responses import choice, dialect
from llm_service.providers.vendor import Api, Inquire, VendorAdapter

KIND = ProviderKind(
    kind="openai-compatible",
    display_name="OpenAI-compatible server",
    default_base_uri="",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"auth_header":{"type":"string","pattern":"^[A-Za-z0-9-]{1,64}$","description":'
        '"Header that carries the bare key, e.g. api-key. Default: authorization, with Bearer."},'
        + choice.SETTING
        + ',"token_counts":{"type":"string","enum":["continuous","vllm","llama.cpp","tgi"],'
        '"description":"How the server says what an answer that broke off has used: with every'
        " piece of a stream (vLLM and SGLang take continuous_usage_stats), or asked at /tokenize"
        ' beside the API, as the server named does (SGLang as vllm). Default: it does not."'
        '}},"additionalProperties":false}'
    ),
    credential_source_types=(
        SourceType.API_KEY,
        SourceType.ENVIRONMENT_VARIABLE,
        SourceType.SECRET_REFERENCE,
    ),
    discovers_models=True,
    telemetry_name="openai-compatible",
    credential_optional=True,
)

# Not all of them send [DONE].
_DIALECT = Dialect(
    kind=KIND.kind,
    shows_tokens_if_asked=True,
    marks_end=False,
    video=True,
    embeddings=EmbeddingRules(),
)
_RESPONSES = dialect.Dialect(
    kind=KIND.kind, allowed_tools=False, breakpoints=False, vocabulary=False
)
_CONTINUOUS = "continuous"
_HEADER = re.compile(r"[a-z0-9-]{1,64}")
# They frame the message or are set elsewhere.
_NOT_FOR_KEYS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with a compatible server; raises as `endpoint` and `key_headers` do."""
    said = settings(account, ["auth_header", "api", "token_counts"])
    name = said.get("auth_header", "").lower()
    if name and (not _HEADER.fullmatch(name) or name in _NOT_FOR_KEYS):
        raise errors.InvalidField(
            errors.Violation("provider.settings.auth_header", "is no header for a key")
        )
    bare = name and name != "authorization"
    authenticator = key_headers(
        account,
        KIND.kind,
        name if bare else "authorization",
        "" if bare else "Bearer ",
        needed=False,
    )
    where = endpoint(account, egress, KIND.default_base_uri)
    counts = said.get("token_counts", "")
    api = _api(choice.wanted(said), continuous=counts == _CONTINUOUS)
    inquire = _inquire(counts, where)
    return VendorAdapter(api, where, egress, authenticator, account.secret, inquire)


def _inquire(counts: str, where: Endpoint) -> Inquire | None:
    if counts in ("", _CONTINUOUS):
        return None
    tokenizer = tokenizers.SERVERS.get(counts)
    if tokenizer is None:
        known = ", ".join((_CONTINUOUS, *tokenizers.SERVERS))
        violation = errors.Violation("provider.settings.token_counts", f"must be one of {known}")
        raise errors.InvalidField(violation)
    return partial(tokenizer.inquiry, endpoint=tokenizers.beside(where))


def _api(wanted: str, *, continuous: bool) -> Api:
    chat = ChatApi(replace(_DIALECT, continuous_usage=continuous))
    if wanted != "responses":
        return chat
    from llm_service.providers.responses.api import ResponsesApi  # few servers speak it

    return choice.EitherApi(KIND.kind, chat, ResponsesApi(_RESPONSES), wanted)
