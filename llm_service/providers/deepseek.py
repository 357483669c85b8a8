"""DeepSeek, whose models think unless told not to."""

from llm_service.domain.provider import ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.connect import KEY_SOURCES, NO_SETTINGS, by_key
from llm_service.providers.chat.dialect import Audio, Dialect, Documents, Thoughts
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="deepseek",
    display_name="DeepSeek",
    default_base_uri="https://api.deepseek.com",
    settings_schema_json=NO_SETTINGS,
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="deepseek",
)

DIALECT = Dialect(
    kind=KIND.kind,
    lacks=frozenset({"seed", "frequency_penalty", "presence_penalty"}),
    reasoning=reasoning.deepseek,
    thinks_unasked=True,
    thinking_ignores=("temperature",),
    forced_tools_stop_thinking=True,
    json_schema=False,
    strict=False,
    parallel=False,
    thoughts=Thoughts.REASONING_CONTENT,
    thoughts_with_calls=True,
    content_with_calls=True,
    refusals=False,
    documents=Documents.NONE,
    audio=Audio.NONE,
    embeddings=None,
)


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with DeepSeek; raises as `by_key` does."""
    return by_key(KIND, DIALECT, account, egress)
