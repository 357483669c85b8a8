"""xAI's Grok, by its Chat Completions API."""

from llm_service.domain.provider import ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.connect import KEY_SOURCES, NO_SETTINGS, by_key
from llm_service.providers.chat.dialect import Audio, Dialect, Documents
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="xai",
    display_name="xAI",
    default_base_uri="https://api.x.ai/v1",
    settings_schema_json=NO_SETTINGS,
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


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with xAI; raises as `by_key` does."""
    return by_key(KIND, DIALECT, account, egress)
