"""What `llm-service seed` plants: a registry of providers and models, and defaults by interaction.

All of it is data an operator owns from then on: planting again leaves what is there as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from llm_service.domain.completion import GenerationParams
from llm_service.domain.model_config import Selector, TargetSpec
from llm_service.gateway.admin.drafts import ModelConfigDraft, ProviderDraft

NOWHERE = "https://azure-openai.invalid"
"""An address that by RFC 6761 no one has: no key can go astray before an operator writes theirs."""


@dataclass(frozen=True, slots=True)
class Account:
    """A provider to plant, and the variable its key is usually in; "": it has none."""

    draft: ProviderDraft
    variable: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A model to plant. Lower priorities are tried first."""

    provider_id: str
    provider_model: str
    display_name: str
    priority: int
    disabled: bool = False


def _account(
    kind: str, variable: str = "", base_uri: str = "", settings: Mapping[str, str] | None = None
) -> Account:
    return Account(ProviderDraft(kind=kind, base_uri=base_uri, settings=settings or {}), variable)


ACCOUNTS = {
    "openai": _account("openai", "OPENAI_API_KEY"),
    "azure": _account("azure", "AZURE_OPENAI_API_KEY", NOWHERE),
    "anthropic": _account("anthropic", "ANTHROPIC_API_KEY"),
    "bedrock": _account("bedrock", settings={"region": "us-east-1"}),
    "google": _account("google", "GOOGLE_API_KEY"),
    "fireworks": _account("fireworks", "FIREWORKS_API_KEY"),
    "ollama": _account("ollama"),
}
"""By the id of the provider."""

_MIXTRAL = "accounts/fireworks/models/mixtral-8x7b-instruct"

ENTRIES = (
    Entry("openai", "gpt-4", "OpenAI GPT-4", 10),
    Entry("openai", "gpt-3.5-turbo", "OpenAI GPT-3.5 Turbo", 20),
    Entry("azure", "gpt-4", "Azure OpenAI", 30, disabled=True),
    Entry("anthropic", "claude-3-haiku-20240307", "Claude 3 Haiku", 40, disabled=True),
    Entry("anthropic", "claude-3-sonnet-20240229", "Claude 3 Sonnet", 41, disabled=True),
    Entry("anthropic", "claude-3-opus-20240229", "Claude 3 Opus", 42, disabled=True),
    Entry("bedrock", "anthropic.claude-v2", "Bedrock Claude v2", 50, disabled=True),
    Entry("google", "gemini-pro", "Google Gemini Pro", 60, disabled=True),
    Entry("fireworks", _MIXTRAL, "Mixtral 8x7B via Fireworks", 70, disabled=True),
    Entry("ollama", "llama2", "Ollama Llama2", 80),
    Entry("ollama", "llama3", "Ollama Llama3", 81, disabled=True),
)


@dataclass(frozen=True, slots=True)
class Interaction:
    """What calls of one purpose use: a model of OpenAI."""

    model: str
    temperature: float

    def draft(self, interaction: str) -> ModelConfigDraft:
        return ModelConfigDraft(
            display_name=f"Default for {interaction}",
            selector=Selector(interaction=interaction),
            targets=(TargetSpec(f"providers/openai/models/{self.model}"),),
            params=GenerationParams(temperature=self.temperature),
        )


INTERACTIONS = {
    "reasoning": Interaction("gpt-4o", 0.7),
    "tools": Interaction("gpt-4o-mini", 0.1),
    "subagents": Interaction("gpt-4o-mini", 0.5),
    "planning": Interaction("gpt-4o", 0.2),
    "embeddings": Interaction("text-embedding-3-small", 0.0),
}
"""By interaction, which is also the id of the configuration."""
