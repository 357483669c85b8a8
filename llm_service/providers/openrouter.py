"""OpenRouter, a gateway to many vendors that keeps their signatures and cache marks."""

from llm_service.domain.provider import ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import generations, reasoning
from llm_service.providers.chat.connect import KEY_SOURCES, by_key
from llm_service.providers.chat.dialect import Dialect, Documents, EmbeddingRules, Thoughts
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="openrouter",
    display_name="OpenRouter",
    default_base_uri="https://openrouter.ai/api/v1",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"referer":{"type":"string","description":"Address of the calling app, for rankings."},'
        '"title":{"type":"string","description":"Name of the calling app, for rankings."}'
        '},"additionalProperties":false}'
    ),
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="openrouter",
)

DIALECT = Dialect(
    kind=KIND.kind,
    max_tokens_field="max_completion_tokens",
    top_k=True,
    reasoning=reasoning.openrouter,
    provider_tools=True,
    thoughts=Thoughts.DETAILS,
    cache_marks=True,
    tool_images=True,
    documents=Documents.FILES_OR_URLS,
    video=True,
    embeddings=EmbeddingRules(),
)

_HEADERS = {"referer": "http-referer", "title": "x-title"}


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with OpenRouter; raises as `by_key` does."""
    return by_key(KIND, DIALECT, account, egress, _HEADERS, generations.inquiry)
