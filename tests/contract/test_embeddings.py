"""Embedding through `POST /embeddings` and `/api/embed`: batches, order, vectors, usage."""

import base64
import json
import struct

import pytest
from calls import SECOND
from vendor_server import Reply, vendor_server

from llm_service import errors, providers
from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import Media, Modality, Text
from llm_service.providers import embeddings
from llm_service.providers.base import Account, EmbeddingsCall
from llm_service.providers.egress import Egress

JSON = {"content-type": "application/json"}


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


@pytest.fixture
async def connect(vendor):
    egress = Egress(allow=("127.0.0.1",))
    yield lambda kind: providers.connect(kind, Account(vendor.base_uri, {}, "sk-secret"), egress)
    await egress.aclose()


def asked(*texts, **more):
    inputs = tuple(Text(text) for text in texts)
    return EmbeddingsCall(inputs, "embedder", SECOND, **more)


def says(vendor, said):
    vendor.replies.append(Reply(200, JSON, [json.dumps(said).encode()]))


def vectors(*numbers, usage=None):
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(numbers)]
    return {"data": data, "model": "served", "usage": usage}


async def test_vectors_come_back_in_the_order_of_the_inputs(vendor, connect):
    said = vectors([1.0, 0.5], [2.0, -0.5], usage={"prompt_tokens": 7, "total_tokens": 7})
    said["data"].reverse()
    says(vendor, said)

    got = await connect("mistral").embed(asked("a", "b", dimensions=2))

    assert [list(vector) for vector in got.vectors] == [[1.0, 0.5], [2.0, -0.5]]
    assert got.usage == TokenUsage(input_tokens=7)
    assert got.provider_model == "served"
    assert vendor.asked[0].path == "/v1/embeddings"
    assert vendor.asked[0].json == {
        "model": "embedder",
        "input": ["a", "b"],
        "output_dimension": 2,
    }


async def test_packed_vectors_are_asked_of_openai_and_read(vendor, connect):
    packed = base64.b64encode(struct.pack("<3f", 1.0, -2.5, 0.0)).decode()
    says(vendor, vectors(packed, usage={"prompt_tokens": 1}))

    got = await connect("openai").embed(asked("a", dimensions=3))

    assert list(got.vectors[0]) == [1.0, -2.5, 0.0]
    assert vendor.asked[0].json["encoding_format"] == "base64"
    assert vendor.asked[0].json["dimensions"] == 3


async def test_batches_are_split_to_the_limit_and_their_usage_is_summed(vendor, connect):
    for numbers in ([[1.0], [2.0]], [[3.0], [4.0]], [[5.0]]):
        says(vendor, vectors(*numbers, usage={"prompt_tokens": 2}))

    got = await connect("openai-compatible").embed(asked(*"abcde", max_inputs=2))

    assert [vector[0] for vector in got.vectors] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [request.json["input"] for request in vendor.asked] == [["a", "b"], ["c", "d"], ["e"]]
    assert got.usage == TokenUsage(input_tokens=6)


async def test_usage_is_unknown_when_one_batch_does_not_say(vendor, connect):
    says(vendor, vectors([1.0], usage={"prompt_tokens": 2}))
    says(vendor, vectors([2.0]))

    got = await connect("together").embed(asked("a", "b", max_inputs=1))

    assert got.usage is None


async def test_what_has_no_place_is_said_to_be_left_out(vendor, connect):
    says(vendor, vectors([1.0]))

    got = await connect("fireworks").embed(asked("a", task="query", truncate=True))

    assert [(w.reason, w.field) for w in got.warnings] == [
        ("PARAMETER_DROPPED", "task"),
        ("PARAMETER_DROPPED", "truncate"),
    ]


@pytest.mark.parametrize("kind", ["deepseek", "xai", "groq"])
async def test_a_vendor_that_does_not_embed_is_not_dialled(vendor, connect, kind):
    with pytest.raises(errors.CapabilityNotSupported) as failure:
        await connect(kind).embed(asked("a"))

    assert failure.value.metadata == {"field": "model", "model": "embedder"}
    assert not vendor.asked


@pytest.mark.parametrize("kind", ["openai", "mistral", "ollama"])
async def test_an_image_is_refused_by_name(vendor, connect, kind):
    picture = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
    call = EmbeddingsCall((Text("a"), picture), "embedder", SECOND)

    with pytest.raises(errors.CapabilityNotSupported) as failure:
        await connect(kind).embed(call)

    assert failure.value.metadata == {"field": "inputs[1]", "model": "embedder"}
    assert not vendor.asked


@pytest.mark.parametrize(
    "said",
    [
        vectors([1.0]),
        vectors([1.0], [2.0], [3.0]),
        vectors([1.0], ["x"]),
        vectors([1.0], None),
        vectors([1.0], "no base64!"),
        vectors([1.0], "AAAA"),
        {"data": None},
        {},
        [],
    ],
    ids=str,
)
async def test_what_is_not_a_vector_for_each_input_is_an_error(vendor, connect, said):
    says(vendor, said)

    with pytest.raises(errors.ProviderProtocolError):
        await connect("openai").embed(asked("a", "b"))


async def test_vectors_without_indexes_are_taken_as_they_come(vendor, connect):
    says(vendor, {"data": [{"embedding": [1]}, {"embedding": [2]}]})

    got = await connect("openai-compatible").embed(asked("a", "b"))

    assert [vector[0] for vector in got.vectors] == [1.0, 2.0]


async def test_a_failure_of_one_batch_is_a_failure_of_all_and_tells_what_the_others_used(
    vendor, connect
):
    says(vendor, vectors([1.0], usage={"prompt_tokens": 2}))
    says(vendor, vectors([1.0]))
    vendor.say(b'{"error": {"message": "slow down"}}', status=429, retry_after="3")

    with pytest.raises(errors.ProviderRateLimited) as failure:
        await connect("openrouter").embed(asked("a", "b", "c", max_inputs=1))

    assert failure.value.retry_delay == 3
    assert failure.value.used_tokens == 2


async def test_counts_whose_sum_nobody_could_believe_are_none(vendor, connect):
    for _ in range(2):
        says(vendor, vectors([1.0], usage={"prompt_tokens": 2**31 - 1}))

    got = await connect("openrouter").embed(asked("a", "b", max_inputs=1))

    assert got.usage is None


async def test_ollama_embeds_and_cuts_inputs_only_when_told_to(vendor, connect):
    said = {"model": "served", "embeddings": [[0.5], [1.5]], "prompt_eval_count": 4}
    says(vendor, said)
    says(vendor, said)
    adapter = connect("ollama")

    got = await adapter.embed(asked("a", "b"))
    again = await adapter.embed(asked("a", "b", dimensions=1, truncate=True, task="query"))

    assert [list(vector) for vector in got.vectors] == [[0.5], [1.5]]
    assert got.usage == TokenUsage(input_tokens=4)
    assert vendor.asked[0].path == "/api/embed"
    assert vendor.asked[0].json == {"model": "embedder", "input": ["a", "b"], "truncate": False}
    assert vendor.asked[1].json["truncate"] is True
    assert vendor.asked[1].json["dimensions"] == 1
    assert [w.field for w in again.warnings] == ["task"]


@pytest.mark.parametrize("said", [{}, [], {"embeddings": [[1.0]]}, {"embeddings": [1, 2]}], ids=str)
async def test_what_ollama_says_instead_of_vectors_is_an_error(vendor, connect, said):
    says(vendor, said)

    with pytest.raises(errors.ProviderProtocolError):
        await connect("ollama").embed(asked("a", "b"))


@pytest.mark.parametrize(
    ("max_inputs", "max_tokens", "expected"),
    [
        (0, 0, [("aaaaaa", "b", "cccccc", "d")]),
        (2, 0, [("aaaaaa", "b"), ("cccccc", "d")]),
        (0, 4, [("aaaaaa", "b"), ("cccccc", "d")]),
        (0, 1, [("aaaaaa",), ("b",), ("cccccc",), ("d",)]),
        (3, 100, [("aaaaaa", "b", "cccccc"), ("d",)]),
    ],
)
def test_inputs_are_split_by_number_and_by_estimated_tokens(max_inputs, max_tokens, expected):
    assert embeddings.split(("aaaaaa", "b", "cccccc", "d"), max_inputs, max_tokens) == expected


def test_nothing_is_split_into_no_batches():
    assert embeddings.split(()) == []
