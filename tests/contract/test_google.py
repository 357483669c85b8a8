"""The google kind by the Gemini API, from a call to the wire and back."""

import json
from contextlib import aclosing, asynccontextmanager

import pytest
from calls import SECOND, call, user
from fakes import gemini
from fakes.said import Said, Tokens
from vendor_server import Reply, vendor_server

from llm_service import errors, providers
from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import FunctionTool, Media, Modality, Text
from llm_service.domain.provider import ModelOrigin
from llm_service.providers.base import Account, EmbeddingsCall, Ended, TokenCount
from llm_service.providers.egress import Egress
from llm_service.providers.fold import fold

MODEL = "gemini-3.8-flash"
KEY = "the-key"


@asynccontextmanager
async def google(secret=KEY):
    async with vendor_server() as vendor:
        egress = Egress(allow=("127.0.0.1",))
        base_uri = vendor.base_uri.replace("/v1", "/v1beta")
        adapter = providers.connect("gemini", Account(base_uri, {}, secret), egress)
        try:
            yield vendor, adapter
        finally:
            await egress.aclose()


async def events_of(adapter, asked) -> list:
    async with aclosing(adapter.stream(asked)) as batches:
        return [event async for batch in batches for event in batch]


async def test_a_call_is_answered_whole_and_streamed_alike():
    said = Said(text="Góðan daginn", thinking="Hm", tokens=Tokens(20, 9, 5, 0, 4))
    asked = call(model=MODEL, tools=(FunctionTool("time"),))
    async with google() as (vendor, adapter):
        vendor.replies += [
            lambda request: gemini.answer(said, request),
            lambda request: gemini.stream(said, request),
        ]

        whole = await adapter.complete(asked)
        streamed = fold(await events_of(adapter, asked))

    assert whole == streamed
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (20, 9)
    for request in vendor.asked:
        gemini.check(request)
        assert request.headers["x-goog-api-key"] == KEY
    assert [request.path for request in vendor.asked] == [
        f"/v1beta/models/{MODEL}:generateContent",
        f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
    ]


async def test_without_a_key_nothing_is_dialled():
    async with google(secret="") as (vendor, adapter):
        with pytest.raises(errors.ProviderCredentialMissing):
            await adapter.complete(call(model=MODEL))

    assert vendor.asked == []


async def test_a_stream_answered_as_an_array_is_read():
    reply = gemini.stream(Said(text="Hello"), None)
    events = [piece.removeprefix(b"data: ").strip() for piece in reply.pieces]
    async with google() as (vendor, adapter):
        vendor.say(b"[" + b",\r\n".join(events) + b"]")

        told = await events_of(adapter, call(model=MODEL))

    assert isinstance(told[-1], Ended)
    assert fold(told).parts[0].content == Text("Hello")


async def test_tokens_are_counted_by_the_vendor():
    async with google() as (vendor, adapter):
        vendor.say(b'{"totalTokens": 31, "promptTokensDetails": []}')

        counted = await adapter.count_tokens(call(user("Hi"), model=MODEL))

    [asked] = vendor.asked
    assert counted == TokenCount(31, estimated=False)
    assert asked.path == f"/v1beta/models/{MODEL}:countTokens"
    assert asked.json["generateContentRequest"] == {
        "model": f"models/{MODEL}",
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
    }


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"totalTokens": -1}', b'{"totalTokens": "9"}'])
async def test_a_count_that_is_none_is_an_error(body):
    async with google() as (vendor, adapter):
        vendor.say(body)

        with pytest.raises(errors.ProviderProtocolError):
            await adapter.count_tokens(call(model=MODEL))


def listed(name, **more) -> dict:
    return {"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"], **more}


async def test_models_are_listed_page_by_page_with_what_google_tells_of_them():
    pages = [
        {
            "models": [
                listed("gemini-new", inputTokenLimit=1000, outputTokenLimit=100, thinking=True,
                       displayName="New", description="Newest."),
                listed("imagen-9", supportedGenerationMethods=["predict"]),
                7,
            ],
            "nextPageToken": "a b",
        },
        {
            "models": [listed("embedding-9", supportedGenerationMethods=["embedContent"])],
            "nextPageToken": "a b",
        },
    ]  # fmt: skip
    async with google() as (vendor, adapter):
        for page in pages:
            vendor.say(json.dumps(page).encode())

        models = await adapter.models(5.0)

    new, embedding = models
    assert [request.path for request in vendor.asked] == [
        "/v1beta/models?pageSize=1000",
        "/v1beta/models?pageSize=1000&pageToken=a%20b",
    ]
    assert (new.provider_model, new.origin) == ("gemini-new", ModelOrigin.DISCOVERED)
    assert (new.context_window_tokens, new.max_output_tokens) == (1000, 100)
    assert (new.display_name, new.description) == ("New", "Newest.")
    assert new.capabilities.thinking is True
    assert new.embedding is None
    assert embedding.embedding.max_inputs == 100


async def test_a_list_of_models_that_is_none_is_an_error():
    async with google() as (vendor, adapter):
        vendor.say(b"<html>")

        with pytest.raises(errors.ProviderProtocolError):
            await adapter.models(5.0)


def embedding(*inputs, model="gemini-embedding-001", **more) -> EmbeddingsCall:
    return EmbeddingsCall(tuple(inputs), model, SECOND, **more)


def vectors(*numbers, **more) -> bytes:
    said = {"embeddings": [{"values": [float(number)]} for number in numbers], **more}
    return json.dumps(said).encode()


async def test_inputs_are_embedded_in_batches_and_come_back_in_order():
    async with google() as (vendor, adapter):
        vendor.say(vectors(*range(100), usageMetadata={"promptTokenCount": 100}))
        vendor.say(vectors(*range(100, 130), usageMetadata={"promptTokenCount": 30}))

        made = await adapter.embed(
            embedding(*(Text(f"t{n}") for n in range(130)), dimensions=1, task="query")
        )

    first, second = vendor.asked
    assert [vector[0] for vector in made.vectors] == list(range(130))
    assert made.usage == TokenUsage(130)
    assert first.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert len(first.json["requests"]) == 100
    assert second.json["requests"][0] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "t100"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 1,
    }


async def test_a_refused_batch_tells_what_those_before_it_used():
    async with google() as (vendor, adapter):
        vendor.say(vectors(1, usageMetadata={"promptTokenCount": 100}))
        vendor.say(b"{}", status=400)

        with pytest.raises(errors.ProviderRejectedRequest) as failure:
            await adapter.embed(embedding(Text("a"), Text("b"), max_inputs=1))

    assert failure.value.used_tokens == 100


async def test_an_image_is_embedded_where_the_model_takes_it():
    image = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
    async with google() as (vendor, adapter):
        vendor.say(vectors(1))

        made = await adapter.embed(embedding(image, model="gemini-embedding-2"))
        with pytest.raises(errors.CapabilityNotSupported):
            await adapter.embed(embedding(image))

    [asked] = vendor.asked
    assert made.usage is None
    assert asked.json["requests"][0]["content"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}
    ]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"embeddings": []}', b'{"embeddings": [{"values": ["x"]}]}']
)
async def test_vectors_that_are_none_are_an_error(body):
    async with google() as (vendor, adapter):
        vendor.say(body)

        with pytest.raises(errors.ProviderProtocolError):
            await adapter.embed(embedding(Text("x")))


async def test_a_refusal_says_nothing_of_the_vendors_words():
    async with google() as (vendor, adapter):
        vendor.replies.append(gemini.error("bad_key"))

        with pytest.raises(errors.ProviderCredentialRejected) as failure:
            await adapter.complete(call(model=MODEL))

    assert failure.value.provider_code == "API_KEY_INVALID"
    assert "API key" not in str(failure.value)


async def test_a_stream_that_is_cut_off_does_not_end():
    reply = gemini.stream(Said(text="Hello"), None)
    async with google() as (vendor, adapter):
        vendor.replies.append(Reply(200, reply.headers, reply.pieces[:-1]))

        with pytest.raises(errors.ProviderProtocolError):
            await events_of(adapter, call(model=MODEL))
