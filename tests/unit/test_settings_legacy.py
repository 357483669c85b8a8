"""Older variables that say which model serves: honoured where one process is all there is."""

import pytest

from llm_service.settings import Settings

ALL = {
    "DEFAULT_OPENAI_MODEL": "gpt-4",
    "DEFAULT_ANTHROPIC_MODEL": "claude-3",
    "DEFAULT_GOOGLE_MODEL": "gemini-pro",
    "OLLAMA_CHAT_MODEL": "llama3:8b",
    "OLLAMA_URL": "http://10.0.0.1:11434",
}


@pytest.mark.parametrize(
    ("environment", "model", "variable"),
    [
        ({}, "", ""),
        (ALL, "providers/openai/models/gpt-4", "DEFAULT_OPENAI_MODEL"),
        (
            {**ALL, "LLM_PROVIDER": "Claude"},
            "providers/anthropic/models/claude-3",
            "DEFAULT_ANTHROPIC_MODEL",
        ),
        (
            {**ALL, "LLM_PROVIDER": "ollama"},
            "providers/ollama/models/llama3:8b",
            "OLLAMA_CHAT_MODEL",
        ),
        ({"LLM_PROVIDER": "openai", "OLLAMA_CHAT_MODEL": "x"}, "", ""),
        ({**ALL, "LLM_PROVIDER": "acme"}, "", ""),
        ({**ALL, "LLM_DEFAULT_MODEL": "m"}, "m", "LLM_DEFAULT_MODEL"),
    ],
)
def test_the_model_of_last_resort_says_which_variable_it_is_from(environment, model, variable):
    settings = Settings.from_env(environment)

    assert (settings.default_model, settings.default_model_variable) == (model, variable)


def test_with_other_tenants_in_the_house_older_variables_decide_nothing():
    settings = Settings.from_env({**ALL, "LLM_DATABASE_URL": "postgresql://db/llm"})

    assert (settings.default_model, settings.default_model_variable, settings.ollama_url) == (
        "",
        "",
        "",
    )
    assert Settings.from_env(ALL).ollama_url == "http://10.0.0.1:11434"
