"""The catalogue: facts about models as data."""

import re

import pytest

from llm_service import catalog, providers


def test_every_kind_in_the_catalogue_is_a_kind():
    assert set(catalog._models()) <= set(providers.kinds())


@pytest.mark.parametrize("kind", ["echo", "openai"])
def test_model_ids_are_resource_ids_and_differ(kind):
    ids = [model.model_id for model in catalog.built_in(kind)]

    assert ids
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", model_id) for model_id in ids)


def test_echo_is_free_by_declaration_and_not_by_ignorance():
    (model,) = catalog.built_in("echo")

    assert model.price.version == "built-in"
    assert {item.meter: item.nano_usd_per_million for item in model.price.items} == {
        "input-tokens": 0,
        "output-tokens": 0,
    }


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5-2025-08-07", "o3", "o4-mini-2025-04-16"])
def test_reasoning_models_take_no_sampling_parameters(model):
    assert catalog.facts("openai", model).capabilities.sampling is False


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4.1-nano-2025-04-14"])
def test_older_models_take_sampling_parameters(model):
    assert catalog.facts("openai", model).capabilities.sampling is True


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "gpt-4o-audio-preview"),  # another model, though its name starts alike
        ("openai", "gpt-5-chat-latest"),
        ("openai", "nobody-knows"),
        ("openai-compatible", "gpt-4o"),
        ("no-such-kind", "gpt-4o"),
        ("openai", ""),
    ],
)
def test_nothing_is_made_up_about_a_model_that_is_not_in_it(kind, model):
    assert catalog.facts(kind, model) is None


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
