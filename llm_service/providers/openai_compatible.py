"""Any server that speaks one of OpenAI's APIs: a vendor without a kind, or one's own."""

import re

from llm_service import errors
from llm_service.domain.provider import ProviderKind, SourceType
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.chat.dialect import Dialect, EmbeddingRules
from llm_service.providers.egress import Egress
from llm_service.providers.responses import choice, dialect
from llm_service.providers.vendor import Api, VendorAdapter

KIND = ProviderKind(
    kind="openai-compatible",
    display_name="OpenAI-compatible server",
    default_base_uri="",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"auth_header":{"type":"string","pattern":"^[A-Za-z0-9-]{1,64}$","description":'
        '"Header that carries the bare key, e.g. api-key. Default: authorization, with Bearer."},'
        + choice.SETTING
        + '},"additionalProperties":false}'
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
_DIALECT = Dialect(kind=KIND.kind, marks_end=False, video=True, embeddings=EmbeddingRules())
_RESPONSES = dialect.Dialect(
    kind=KIND.kind, allowed_tools=False, breakpoints=False, vocabulary=False
)
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
    said = settings(account, ["auth_header", "api"])
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
    return VendorAdapter(_api(choice.wanted(said)), where, egress, authenticator, account.secret)


def _api(wanted: str) -> Api:
    chat = ChatApi(_DIALECT)
    if wanted != "responses":
        return chat
    from llm_service.providers.responses.api import ResponsesApi  # few servers speak it

    return choice.EitherApi(KIND.kind, chat, ResponsesApi(_RESPONSES), wanted)
