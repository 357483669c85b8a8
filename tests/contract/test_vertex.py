"""The google kind by Vertex AI: paths, addresses, and what differs from the Gemini API."""

import json
from contextlib import asynccontextmanager

import pytest
from calls import SECOND, call, user
from fakes import gemini
from fakes.said import Said
from vendor_server import vendor_server

from llm_service import errors, providers
from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import Media, Modality, Text
from llm_service.providers import google
from llm_service.providers.base import Account, EmbeddingsCall
from llm_service.providers.egress import Egress
from llm_service.providers.gemini.door import Door

MODEL = "gemini-3.8-flash"
SETTINGS = {"project": "p-1", "location": "europe-west4"}
PARENT = "projects/p-1/locations/europe-west4"
GEMINI, VERTEX = Door(), Door("p-1", "europe-west4")


@asynccontextmanager
async def vertex():
    async with vendor_server() as vendor:
        egress = Egress(allow=("127.0.0.1",))
        adapter = providers.connect("google", Account(vendor.base_uri, SETTINGS, "a-key"), egress)
        try:
            yield vendor, adapter
        finally:
            await egress.aclose()


async def test_a_call_goes_to_the_projects_place():
    async with vertex() as (vendor, adapter):
        vendor.replies.append(lambda request: gemini.answer(Said(text="Hello"), request))

        answer = await adapter.complete(call(model=MODEL))

    [asked] = vendor.asked
    gemini.check(asked)
    assert answer.parts[0].content == Text("Hello")
    assert asked.path == f"/v1/{PARENT}/publishers/google/models/{MODEL}:generateContent"


async def test_tokens_are_counted_of_what_vertex_counts():
    async with vertex() as (vendor, adapter):
        vendor.say(b'{"totalTokens": 7}')
        options = '{"safetySettings": []}'

        counted = await adapter.count_tokens(call(user("Hi"), model=MODEL, options_json=options))

    [asked] = vendor.asked
    assert counted.input_tokens == 7
    assert asked.path.endswith(f"/publishers/google/models/{MODEL}:countTokens")
    assert asked.json == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


async def test_models_are_listed_from_the_publisher():
    names = ["gemini-x", "text-embedding-005", "imagetext"]
    listed = {"publisherModels": [{"name": f"publishers/google/models/{n}"} for n in names]}
    async with vertex() as (vendor, adapter):
        vendor.say(json.dumps(listed).encode())

        models = await adapter.models(5.0)

    [asked] = vendor.asked
    assert [model.provider_model for model in models] == names[:2]
    assert asked.path == "/v1beta1/publishers/google/models?pageSize=100"
    assert asked.headers["x-goog-user-project"] == "p-1"


def embedding(*inputs, model, **more) -> EmbeddingsCall:
    return EmbeddingsCall(tuple(inputs), model, SECOND, **more)


async def test_older_embedding_models_predict():
    made = {
        "predictions": [
            {"embeddings": {"values": [float(n)], "statistics": {"token_count": 3}}}
            for n in range(2)
        ]
    }
    async with vertex() as (vendor, adapter):
        vendor.say(json.dumps(made).encode())

        embedded = await adapter.embed(
            embedding(
                Text("a"), Text("b"), model="text-embedding-005", task="document", dimensions=1
            )
        )

    [asked] = vendor.asked
    assert embedded.vectors == ([0.0], [1.0])
    assert embedded.usage == TokenUsage(6)
    assert asked.path.endswith("/models/text-embedding-005:predict")
    assert asked.json == {
        "instances": [
            {"content": "a", "task_type": "RETRIEVAL_DOCUMENT"},
            {"content": "b", "task_type": "RETRIEVAL_DOCUMENT"},
        ],
        "parameters": {"autoTruncate": False, "outputDimensionality": 1},
    }


async def test_a_prediction_takes_so_many_tokens_and_no_more():
    one = {"predictions": [{"embeddings": {"values": [1.0]}}]}
    async with vertex() as (vendor, adapter):
        vendor.say(json.dumps(one).encode())
        vendor.say(json.dumps(one).encode())

        embedded = await adapter.embed(
            embedding(Text("a" * 50_000), Text("b" * 50_000), model="text-embedding-005")
        )

    assert len(vendor.asked) == 2
    assert embedded.vectors == ([1.0], [1.0])
    assert embedded.usage is None


async def test_newer_embedding_models_take_a_batch_with_settings_of_each():
    async with vertex() as (vendor, adapter):
        vendor.say(b'{"embeddings": [{"values": [0.5]}]}')

        embedded = await adapter.embed(
            embedding(Text("a"), model="gemini-embedding-001", truncate=True)
        )

    [asked] = vendor.asked
    assert embedded.vectors == ([0.5],)
    assert asked.path.endswith("/models/gemini-embedding-001:batchEmbedContents")
    assert asked.json["requests"] == [
        {"content": {"parts": [{"text": "a"}]}, "embedContentConfig": {"autoTruncate": True}}
    ]


async def test_a_model_that_predicts_embeds_text_only():
    image = Media(Modality.IMAGE, data=b"x", mime_type="image/png")
    async with vertex() as (vendor, adapter):
        with pytest.raises(errors.CapabilityNotSupported):
            await adapter.embed(embedding(image, model="text-embedding-005"))

    assert vendor.asked == []


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("", "aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
    ],
)
async def test_a_location_has_its_address(location, host):
    account = Account("", {"project": "p-1", "location": location}, "a-key")

    adapter = google.connect(account, Egress())

    assert adapter._endpoint.host == host
    assert adapter._endpoint.path == "/v1"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"location": "us-central1"}, "provider.settings.project"),
        ({"project": "p/../q"}, "provider.settings.project"),
        ({"project": "p", "location": "evil.example/"}, "provider.settings.location"),
        ({"project": "p", "location": "a.b"}, "provider.settings.location"),
    ],
)
async def test_settings_that_name_no_place_are_refused(settings, field):
    with pytest.raises(errors.InvalidField) as failure:
        google.connect(Account("", settings, "a-key"), Egress())

    assert failure.value.violations[0].field == field


@pytest.mark.parametrize(
    ("door", "model", "path"),
    [
        (GEMINI, "gemini-x", "/models/gemini-x:go"),
        (GEMINI, "models/gemini-x", "/models/gemini-x:go"),
        (GEMINI, "tunedModels/a b", "/tunedModels/a%20b:go"),
        (VERTEX, "gemini-x", f"/{PARENT}/publishers/google/models/gemini-x:go"),
        (VERTEX, "models/gemini-x", f"/{PARENT}/publishers/google/models/gemini-x:go"),
        (VERTEX, "meta/llama-x", f"/{PARENT}/publishers/meta/models/llama-x:go"),
        (VERTEX, "endpoints/12", f"/{PARENT}/endpoints/12:go"),
        (VERTEX, "projects/q/locations/l/endpoints/1", "/projects/q/locations/l/endpoints/1:go"),
    ],
)
def test_a_model_has_its_path_behind_each_door(door, model, path):
    assert door.path(model, "go") == path


@pytest.mark.parametrize("model", ["../secrets", "a/../b", "", "a//b", "."])
def test_what_is_no_name_of_a_model_is_refused(model):
    with pytest.raises(errors.InvalidField):
        GEMINI.path(model, "go")
