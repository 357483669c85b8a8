"""Mistral AI, the strictest speaker of the dialect."""

import re

from llm_service.domain.provider import CancelPolicy, ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.connect import KEY_SOURCES, NO_SETTINGS, by_key
from llm_service.providers.chat.dialect import (
    Audio,
    CallIds,
    Dialect,
    Documents,
    EmbeddingRules,
    Logprobs,
    Thoughts,
)
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="mistral",
    display_name="Mistral AI",
    default_base_uri="https://api.mistral.ai/v1",
    settings_schema_json=NO_SETTINGS,
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="mistral_ai",
    cancel_policy=CancelPolicy.DRAIN,
)

DIALECT = Dialect(
    kind=KIND.kind,
    seed_field="random_seed",
    logprobs=Logprobs.NONE,
    reasoning=reasoning.mistral,
    include_usage=False,
    required="any",
    provider_tools=True,
    thoughts=Thoughts.BLOCKS,
    call_ids=CallIds(re.compile("[a-zA-Z0-9]{9}"), 9),
    names=False,
    empty_messages=False,
    refusals=False,
    user_after_tool=False,
    prefixes=True,
    image_objects=False,
    documents=Documents.DOCUMENT_URLS,
    audio=Audio.TEXT,
    embeddings=EmbeddingRules(max_tokens=16_384, dimensions_field="output_dimension"),
)


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with Mistral AI; raises as `by_key` does."""
    return by_key(KIND, DIALECT, account, egress)
