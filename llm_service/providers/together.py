"""Together AI, which serves open models."""

from llm_service.domain.provider import ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.connect import KEY_SOURCES, NO_SETTINGS, by_key
from llm_service.providers.chat.dialect import (
    Audio,
    Dialect,
    Documents,
    EmbeddingRules,
    Logprobs,
    Thoughts,
)
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="together",
    display_name="Together AI",
    default_base_uri="https://api.together.xyz/v1",
    settings_schema_json=NO_SETTINGS,
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="together_ai",
)

DIALECT = Dialect(
    kind=KIND.kind,
    top_k=True,
    logprobs=Logprobs.NUMBER,
    reasoning=reasoning.together,
    shows_tokens=True,
    strict=False,
    parallel=False,
    thoughts=Thoughts.REASONING,
    content_with_calls=True,
    refusals=False,
    documents=Documents.NONE,
    audio=Audio.URL,
    video=True,
    embeddings=EmbeddingRules(),
)


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with Together AI; raises as `by_key` does."""
    return by_key(KIND, DIALECT, account, egress)
