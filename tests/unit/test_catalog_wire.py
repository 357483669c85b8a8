"""The catalogue: which form of a vendor's API a model takes."""

import pytest

from llm_service import catalog
from llm_service.catalog import wire


@pytest.mark.parametrize(
    "model",
    [
        "gpt-5",
        "gpt-5-mini-2025-08-07",
        "gpt-5-codex",
        "gpt-5.1-codex-max",
        "gpt-5.5-pro-2026-04-23",
        "gpt-6.1-sol",
        "gpt-10",
        "o1",
        "o1-pro",
        "o3-deep-research",
        "o4-mini-2025-04-16",
        "ft:o4-mini-2025-04-16:acme::1",
        "codex-mini-latest",
        "computer-use-preview",
    ],
)
@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_reasoning_models_speak_responses(kind, model):
    assert catalog.wire_facts(kind, model) == {"api": "responses"}


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4",
        "gpt-4-0613",
        "gpt-4.1-nano",
        "gpt-4o-2024-08-06",
        "gpt-4o-audio-preview",
        "gpt-4o-mini-search-preview",
        "gpt-5-search-api",
        "gpt-audio-mini",
        "gpt-3.5-turbo",
        "ft:gpt-4o-mini-2024-07-18:acme::1",
        "o1-mini",
        "chatgpt-4o-latest",
    ],
)
def test_other_models_speak_chat_completions(model):
    assert catalog.wire_facts("openai", model) == {"api": "chat"}


@pytest.mark.parametrize(
    ("model", "version", "reasoning"),
    [
        ("claude-2.1", "2023-06-01", "budget"),
        ("claude-3-opus-20240229", "2023-06-01", "budget"),
        ("claude-3-7-sonnet-latest", "2023-06-01", "budget"),
        ("claude-sonnet-4-20250514", "2023-06-01", "budget"),
        ("claude-4-opus-20250514", "2023-06-01", "budget"),
        ("claude-opus-4-1@20250805", "2023-06-01", "budget"),
        ("claude-haiku-4-5-20251001", "2023-06-01", "budget"),
        ("claude-sonnet-4-6", "2023-06-01", "adaptive"),
        ("claude-opus-4-7", "2026-10-21", "adaptive"),
        ("claude-opus-4-8", "2026-10-21", "adaptive"),
        ("claude-sonnet-5-5", "2026-10-21", "adaptive"),
        ("claude-mythos-5-2", "2026-10-21", "adaptive"),
        ("claude-fable-5", "2026-10-21", "adaptive"),
        ("claude-opus-12-20300101", "2026-10-21", "adaptive"),
    ],
)
def test_claude_models_take_the_version_and_the_thinking_of_their_time(model, version, reasoning):
    facts = catalog.wire_facts("anthropic", model)

    assert facts == {"anthropic_version": version, "reasoning": reasoning}


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        ("us.anthropic.claude-opus-4-7", {"reasoning": "adaptive"}),
        ("anthropic.claude-opus-4-6-v1", {"reasoning": "adaptive"}),
        ("eu.anthropic.claude-sonnet-4-20250514-v1:0", {"reasoning": "budget"}),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"reasoning": "budget"}),
        ("global.anthropic.claude-fable-5-2", {"reasoning": "adaptive"}),
        ("amazon.nova-pro-v1:0", {}),
    ],
)
def test_claude_on_bedrock_thinks_as_claude_does(model, facts):
    assert catalog.wire_facts("bedrock", model) == facts


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        ("gemini-2.0-flash", {}),
        ("gemini-2.5-flash-lite", {"thinking": "budget"}),
        ("models/gemini-2.5-pro", {"thinking": "budget"}),
        ("gemini-3-pro-preview", {"thinking": "level"}),
        ("gemini-3.8-flash", {"thinking": "level"}),
        ("gemini-4-argon", {"thinking": "level"}),
        ("gemini-flash-latest", {"thinking": "level"}),
        ("gemini-pro", {}),
        ("gemini-embedding-001", {}),
    ],
)
def test_gemini_thinks_by_budget_or_by_level(model, facts):
    assert catalog.wire_facts("google", model) == facts


@pytest.mark.parametrize(
    ("kind", "model"),
    [("openai", "nobody-knows"), ("openai", ""), ("azure", "our-deployment"), ("xai", "gpt-5")],
)
def test_nothing_is_made_up_about_the_wire_of_a_stranger(kind, model):
    assert catalog.wire_facts(kind, model) == {}


def test_facts_are_asked_for_under_known_names_only():
    named = {name for rules in wire._rules().values() for _, facts in rules for name in facts}

    assert named == {"api", "anthropic_version", "reasoning", "thinking"}


def test_facts_cannot_be_changed_by_who_reads_them():
    with pytest.raises(TypeError):
        catalog.wire_facts("openai", "gpt-5")["api"] = "chat"


def test_what_a_claude_takes_and_the_version_it_is_asked_in_agree():
    for model in catalog._models("anthropic").values():
        version = catalog.wire_facts("anthropic", model.provider_model)["anthropic_version"]

        assert (version == "2023-06-01") is model.capabilities.sampling, model.provider_model


def test_openais_models_that_think_speak_responses():
    first = {"o1-mini", "o1-preview"}  # they came before that API
    for model in catalog._models("openai").values():
        api = catalog.wire_facts("openai", model.provider_model).get("api")
        thinks = bool(model.capabilities.thinking) and model.provider_model not in first

        assert (api == "responses") is thinks, model.provider_model


def test_every_gemini_that_thinks_is_told_how_in_one_way_or_the_other():
    for model in catalog._models("google").values():
        told = "thinking" in catalog.wire_facts("google", model.provider_model)

        assert told or not model.capabilities.thinking, model.provider_model
