"""The lists of models of Chat Completions vendors, and what each tells."""

import json
from datetime import UTC, datetime

import pytest

from llm_service.domain.content import Modality
from llm_service.domain.provider import ModelCapabilities, ModelOrigin, ModelStage
from llm_service.errors import ProviderProtocolError
from llm_service.providers.chat import models


def read(said, kind="openrouter"):
    return models.read(kind, json.dumps(said).encode())


def test_openrouter_tells_limits_modalities_and_parameters():
    [model] = read(
        {
            "data": [
                {
                    "id": "vendor/model",
                    "name": "Vendor: Model",
                    "description": "A model.",
                    "context_length": 200000,
                    "architecture": {
                        "input_modalities": ["text", "image", "file", "smell"],
                        "output_modalities": ["text"],
                    },
                    "top_provider": {"max_completion_tokens": 64000, "context_length": 200000},
                    "supported_parameters": ["tools", "reasoning", "temperature"],
                    "expiration_date": "2027-01-02",
                }
            ]
        }
    )

    assert (model.provider_model, model.display_name) == ("vendor/model", "Vendor: Model")
    assert model.origin is ModelOrigin.DISCOVERED
    assert (model.context_window_tokens, model.max_output_tokens) == (200000, 64000)
    assert model.input_modalities == (Modality.TEXT, Modality.IMAGE, Modality.DOCUMENT)
    assert model.capabilities == ModelCapabilities(
        tools=True,
        json_schema=False,
        json_object=False,
        thinking=True,
        logprobs=False,
        seed=False,
        sampling=True,
    )
    assert model.stage is ModelStage.DEPRECATED
    assert model.retire_time == datetime(2027, 1, 2, tzinfo=UTC)


def test_mistral_tells_abilities_and_what_replaces_a_model():
    [model] = read(
        {
            "object": "list",
            "data": [
                {
                    "id": "ministral-8b",
                    "capabilities": {"function_calling": True, "vision": True},
                    "max_context_length": 131072,
                    "deprecation": "2026-12-31T12:00:00Z",
                    "deprecation_replacement_model": "ministral-14b",
                }
            ],
        },
        "mistral",
    )

    assert model.capabilities.tools is True
    assert model.input_modalities == (Modality.TEXT, Modality.IMAGE)
    assert model.context_window_tokens == 131072
    assert model.replacement_model == "ministral-14b"


@pytest.mark.parametrize(
    ("said", "context", "output"),
    [
        ({"data": [{"id": "m", "context_window": 8, "max_completion_tokens": 4}]}, 8, 4),
        ([{"id": "m", "context_length": 8, "type": "chat"}], 8, 0),
        ({"data": [{"id": "m", "max_model_len": 8}]}, 8, 0),
        ({"models": [{"id": "m", "meta": {"n_ctx_train": 8}}]}, 8, 0),
        ({"data": [{"id": "m"}, {"id": "m"}, {"id": ""}, "x", {}]}, 0, 0),
        ({"data": [{"id": "m", "context_length": -1, "deprecation": "soon"}]}, 0, 0),
    ],
)
def test_a_list_is_read_whatever_surrounds_it(said, context, output):
    [model] = read(said)

    assert model.provider_model == "m"
    assert (model.context_window_tokens, model.max_output_tokens) == (context, output)
    assert model.stage is None


def test_a_model_that_embeds_says_so_and_one_with_steps_of_effort_thinks():
    embeds, thinks = read(
        [
            {"id": "e", "type": "embedding"},
            {"id": "t", "capabilities": {"reasoning_effort": ["low", "high"]}},
        ]
    )

    assert embeds.output_modalities == (Modality.EMBEDDING,)
    assert thinks.capabilities.thinking is True


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'"x"', b'{"data": {}}', b"[" * 9999])
def test_what_is_no_list_is_an_error(body):
    with pytest.raises(ProviderProtocolError):
        models.read("together", body)
