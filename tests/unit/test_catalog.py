"""The catalogue: facts about models as data."""

import json
import re
from datetime import UTC, datetime
from importlib.resources import files

import pytest

from llm_service import catalog, providers
from llm_service.domain.content import Modality
from llm_service.domain.provider import ModelOrigin, ModelStage
from llm_service.gateway import pricing
from tests.fakes import a_provider

FOLDER = files(catalog).joinpath("models")
KINDS = sorted(file.name.removesuffix(".json") for file in FOLDER.iterdir())
TODAY = datetime(2026, 11, 21, tzinfo=UTC)


def models(kind):
    return list(catalog._models(kind).values())


def test_every_vendor_s_kind_has_a_file_and_only_servers_of_anything_have_none():
    assert set(providers.kinds()) - set(KINDS) <= {"openai-compatible"}
    assert KINDS == [
        "anthropic",
        "azure",
        "bedrock",
        "deepseek",
        "echo",
        "fireworks",
        "google",
        "groq",
        "mistral",
        "ollama",
        "openai",
        "openrouter",
        "together",
        "xai",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_of_which_day_it_is_and_where_its_facts_come_from(kind):
    file = catalog._file(kind)

    assert datetime.strptime(file.version, "%Y-%m-%d").replace(tzinfo=UTC) <= TODAY
    assert file.sources


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_is_used_and_no_fact_is_written_that_the_family_says_already(kind):
    written = json.loads(FOLDER.joinpath(f"{kind}.json").read_text())
    families = written.get("families", {})

    assert {one["family"] for one in written["models"] if "family" in one} == set(families)
    for one in written["models"]:
        family = families.get(one.get("family"), {})
        assert not [name for name, said in one.items() if family.get(name) == said]
        told = family.get("capabilities", {})
        own = one.get("capabilities", {})
        assert not [name for name, said in own.items() if name in told and told[name] == said]


@pytest.mark.parametrize("kind", KINDS)
def test_model_ids_are_resource_ids_and_no_two_models_answer_to_one_name(kind):
    ids = [model.model_id for model in models(kind)]
    names = [
        name
        for model in models(kind)
        for name in {model.model_id, model.provider_model, *model.aliases}
    ]

    assert ids
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", model_id) for model_id in ids)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_whole(kind):
    for model in models(kind):
        _assert_whole(model)


def _assert_whole(model):
    assert model.origin is ModelOrigin.BUILT_IN
    assert model.display_name
    assert model.provider_name == ""
    assert 0 <= model.context_window_tokens < 2**31
    # The longest answer is part of the window, but for Gemini, whose window is that of the input.
    window = model.context_window_tokens or model.max_output_tokens
    assert 0 <= model.max_output_tokens <= window
    assert (model.embedding is not None) == (Modality.EMBEDDING in model.output_modalities)
    if model.embedding is not None:
        assert model.embedding.dimensions > 0
        assert model.capabilities.tools is False


@pytest.mark.parametrize("kind", KINDS)
def test_a_retired_model_has_been_switched_off_and_others_have_not(kind):
    for model in models(kind):
        if model.stage is ModelStage.RETIRED:
            assert model.retire_time is not None, model.name
            assert model.retire_time <= TODAY, model.name
        elif model.retire_time is not None:
            assert model.stage is ModelStage.DEPRECATED, model.name
            assert model.retire_time > TODAY, model.name


@pytest.mark.parametrize("kind", KINDS)
def test_what_replaces_a_model_is_in_the_catalogue_and_serves(kind):
    for model in models(kind):
        if model.replacement_model:
            replacement = catalog.facts(kind, model.replacement_model)

            assert replacement is not None, model.name
            assert replacement.provider_model == model.replacement_model
            assert replacement.stage is not ModelStage.RETIRED, model.name


@pytest.mark.parametrize(
    ("kind", "model", "stage"),
    [
        ("openai", "gpt-4", ModelStage.RETIRED),
        ("openai", "gpt-3.5-turbo", ModelStage.RETIRED),
        ("openai", "gpt-4o", ModelStage.DEPRECATED),
        ("openai", "gpt-4o-mini", ModelStage.DEPRECATED),
        ("openai", "text-embedding-3-small", ModelStage.STABLE),
        ("azure", "gpt-4", None),
        ("anthropic", "claude-3-opus", ModelStage.RETIRED),
        ("anthropic", "claude-3-sonnet", ModelStage.RETIRED),
        ("anthropic", "claude-3-haiku-20240307", ModelStage.RETIRED),
        ("anthropic", "claude-3.5-sonnet", ModelStage.RETIRED),
        ("anthropic", "claude-3.5-haiku", ModelStage.RETIRED),
        ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0", ModelStage.DEPRECATED),
        ("google", "gemini-pro", ModelStage.RETIRED),
        ("deepseek", "deepseek-chat", ModelStage.RETIRED),
        ("xai", "grok-3", ModelStage.RETIRED),
        ("xai", "grok-4", ModelStage.RETIRED),
        ("fireworks", "accounts/fireworks/models/mixtral-8x7b-instruct", None),
        ("ollama", "llama2", None),
        ("ollama", "llama3", None),
        ("ollama", "mistral-nemo", None),
    ],
)
def test_models_of_older_installations_are_known_with_what_became_of_them(kind, model, stage):
    known = catalog.facts(kind, model)

    assert known is not None
    assert known.stage is stage


def test_echo_is_free_by_declaration_and_not_by_ignorance():
    (model,) = catalog.built_in("echo")

    assert model.price.version == "built-in"
    assert {item.meter: item.nano_usd_per_million for item in model.price.items} == {
        "input-tokens": 0,
        "output-tokens": 0,
    }


@pytest.mark.parametrize("kind", ["azure", "ollama"])
def test_what_an_account_deployed_or_pulled_is_not_guessed(kind):
    assert catalog.built_in(kind) == ()
    assert models(kind)


def test_azure_s_models_are_openai_s_with_a_life_of_their_own():
    mine, theirs = catalog.facts("azure", "gpt-4o"), catalog.facts("openai", "gpt-4o")

    assert mine.capabilities == theirs.capabilities
    assert mine.context_window_tokens == theirs.context_window_tokens
    assert (mine.stage, mine.retire_time, mine.replacement_model) == (None, None, "")


def test_a_family_s_facts_hold_where_the_model_says_nothing():
    small, strange = catalog.facts("openai", "o3-mini"), catalog.facts("openai", "o3")

    assert small.capabilities == strange.capabilities
    assert small.input_modalities == (Modality.TEXT,)
    assert strange.input_modalities == (Modality.TEXT, Modality.IMAGE)


def test_a_model_s_own_word_may_be_that_a_capability_is_unknown():
    assert catalog.facts("openai", "gpt-5").capabilities.json_object is True
    assert catalog.facts("openai", "gpt-5-pro").capabilities.json_object is None


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5-2025-08-07", "o3", "o4-mini-2025-04-16"])
def test_reasoning_models_take_no_sampling_parameters(model):
    assert catalog.facts("openai", model).capabilities.sampling is False


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4.1-nano-2025-04-14"])
def test_older_models_take_sampling_parameters(model):
    assert catalog.facts("openai", model).capabilities.sampling is True


@pytest.mark.parametrize(
    ("model", "sampling"),
    [("claude-opus-4-6", True), ("claude-opus-4-7", False), ("claude-sonnet-5-5", False)],
)
def test_claude_takes_no_sampling_parameters_since_4_7(model, sampling):
    assert catalog.facts("anthropic", model).capabilities.sampling is sampling


@pytest.mark.parametrize(
    ("kind", "asked", "found"),
    [
        ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("bedrock", "us.anthropic.claude-opus-4-8", "global.anthropic.claude-opus-4-8"),
        ("bedrock", "anthropic.claude-opus-4-8", "global.anthropic.claude-opus-4-8"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-pro-v1:0",
            "amazon.nova-pro-v1:0",
        ),
        ("fireworks", "glm-5p3", "accounts/fireworks/models/glm-5p3"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("ollama", "llama3.2:3b-instruct-q4_K_M", "llama3.2"),
        ("groq", "openai/gpt-oss-20b", "openai/gpt-oss-20b"),
    ],
)
def test_a_model_is_known_by_each_of_its_names(kind, asked, found):
    assert catalog.facts(kind, asked).provider_model == found


def test_a_release_does_not_take_over_the_aliases_of_the_undated_name():
    assert catalog.facts("openai", "gpt-5.6-sol").aliases == ("gpt-5.6",)
    assert catalog.facts("openai", "gpt-5.6-sol-2026-07-09").aliases == ()


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "gpt-4o-audio-preview"),  # another model, though its name starts alike
        ("openai", "gpt-5-chat-latest"),
        ("openai", "nobody-knows"),
        ("mistral", "mistral-large-2407"),  # another release than the one that is known
        ("openai-compatible", "gpt-4o"),
        ("no-such-kind", "gpt-4o"),
        ("../catalog/models/openai", "gpt-4o"),
        ("openai", ""),
        ("bedrock", ""),
    ],
)
def test_nothing_is_made_up_about_a_model_that_is_not_in_it(kind, model):
    assert catalog.facts(kind, model) is None


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"echo"}))
def test_most_offered_models_have_a_public_price(kind):
    offered = [one for one in catalog.built_in(kind) if one.stage is not ModelStage.RETIRED]
    provider = a_provider(kind=kind)
    unpriced = [
        one.provider_model for one in offered if pricing.price_of(provider.kind, one, TODAY) is None
    ]

    assert len(unpriced) <= len(offered) // 4, unpriced


@pytest.mark.parametrize(
    ("provider_model", "model_id"),
    [
        ("meta-llama/Llama-3.1-70B:free", "meta-llama-llama-3-1-70b-free"),
        ("4o", "m-4o"),
        ("x" * 100, "x" * 63),
        ("---", "m"),
        ("模型", "m"),
    ],
)
def test_any_upstream_id_has_a_resource_id(provider_model, model_id):
    assert catalog.model_id(provider_model) == model_id
