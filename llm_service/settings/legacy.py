"""Older variables that still say which model serves where nothing newer does.

They are read by the embedded default alone: with other tenants in the house, a variable of one
process must not decide what everybody's calls use.
"""

from collections.abc import Mapping

MODELS = {
    "openai": "DEFAULT_OPENAI_MODEL",
    "anthropic": "DEFAULT_ANTHROPIC_MODEL",
    "google": "DEFAULT_GOOGLE_MODEL",
    "ollama": "OLLAMA_CHAT_MODEL",
}
"""The variable that names a model, by the id of the provider it is a model of."""

VARIABLES = ("LLM_PROVIDER", *MODELS.values(), "OLLAMA_URL")

_ALIASES = {"claude": "anthropic", "gemini": "google"}


def default_model(environment: Mapping[str, str]) -> tuple[str, str]:
    """The model they name, pinned to its provider, and the variable; "" and "" if none does.

    LLM_PROVIDER chooses among them; without it the first one that is set counts.
    """
    asked = environment.get("LLM_PROVIDER", "").strip().lower()
    provider = _ALIASES.get(asked, asked)
    for provider_id, variable in MODELS.items():
        model = environment.get(variable, "").strip()
        if model and provider in ("", provider_id):
            return f"providers/{provider_id}/models/{model}", variable
    return "", ""
