"""xAI's Grok, by Chat Completions, or by Responses where the account says so."""

from llm_service.domain.provider import ProviderKind
from llm_service.providers import tokenizers
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.chat.connect import KEY_SOURCES
from llm_service.providers.chat.dialect import Audio, Dialect, Documents
from llm_service.providers.egress import Egress
from llm_service.providers.responses import choice, dialect
from llm_service.providers.responses.api import ResponsesApi
from llm_service.providers.vendor import VendorAdapter

KIND = ProviderKind(
    kind="xai",
    display_name="xAI",
    default_base_uri="https://api.x.ai/v1",
    settings_schema_json=(
        '{"type":"object","properties":{' + choice.SETTING + '},"additionalProperties":false}'
    ),
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="x_ai",
)

DIALECT = Dialect(
    kind=KIND.kind,
    max_tokens_field="max_completion_tokens",
    reasoning=reasoning.xai,
    thinking_ignores=("frequency_penalty", "presence_penalty", "stop_sequences"),
    strict=False,
    provider_tools=True,
    empty_messages=False,
    refusals=False,
    documents=Documents.NONE,
    audio=Audio.NONE,
    embeddings=None,
)
_RESPONSES = dialect.Dialect(
    kind=KIND.kind,
    allowed_tools=False,
    breakpoints=False,
    vocabulary=False,
    effort=reasoning.xai_effort,
    logprobs_flag=True,
)


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with xAI; raises as `endpoint`, `key_headers` and `choice.wanted` do."""
    wanted = choice.wanted(settings(account, ["api"]))
    return VendorAdapter(
        choice.EitherApi(KIND.kind, ChatApi(DIALECT), ResponsesApi(_RESPONSES), wanted),
        endpoint(account, egress, KIND.default_base_uri),
        egress,
        key_headers(account, KIND.kind, "authorization", "Bearer "),
        account.secret,
        tokenizers.XAI.inquiry,
    )
