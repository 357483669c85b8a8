"""Fireworks AI, which serves open models."""

from llm_service.domain.provider import ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.connect import KEY_SOURCES, NO_SETTINGS, by_key
from llm_service.providers.chat.dialect import Audio, Dialect, Documents, EmbeddingRules, Thoughts
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="fireworks",
    display_name="Fireworks AI",
    default_base_uri="https://api.fireworks.ai/inference/v1",
    settings_schema_json=NO_SETTINGS,
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="fireworks",
)

DIALECT = Dialect(
    kind=KIND.kind,
    top_k=True,
    reasoning=reasoning.fireworks,
    shows_tokens=True,
    return_token_ids=True,
    thoughts=Thoughts.REASONING_CONTENT,
    refusals=False,
    documents=Documents.NONE,
    audio=Audio.NONE,
    embeddings=EmbeddingRules(),
)


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with Fireworks AI; raises as `by_key` does."""
    return by_key(KIND, DIALECT, account, egress)
