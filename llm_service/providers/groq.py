"""Groq, which serves open models on hardware of its own."""

from llm_service.domain.provider import CancelPolicy, ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.connect import KEY_SOURCES, NO_SETTINGS, by_key
from llm_service.providers.chat.dialect import Audio, Dialect, Documents, Logprobs
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="groq",
    display_name="Groq",
    default_base_uri="https://api.groq.com/openai/v1",
    settings_schema_json=NO_SETTINGS,
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="groq",
    cancel_policy=CancelPolicy.DRAIN,
)

DIALECT = Dialect(
    kind=KIND.kind,
    max_tokens_field="max_completion_tokens",
    # "Not yet supported by any of our models", as are probabilities (console.groq.com/docs:
    # api-reference, openai).
    lacks=frozenset({"frequency_penalty", "presence_penalty"}),
    logprobs=Logprobs.NONE,
    reasoning=reasoning.groq,
    provider_tools=True,
    refusals=False,
    documents=Documents.NONE,
    audio=Audio.NONE,
    embeddings=None,
)


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with Groq; raises as `by_key` does."""
    return by_key(KIND, DIALECT, account, egress)
