"""Vectors from Titan, Nova and Cohere, each asked in its own form."""

import json

import pytest
from bedrock_vendor import bedrock
from calls import SECOND
from fakes import converse
from vendor_server import Reply

from llm_service import errors
from llm_service.domain.content import Media, Modality, Text
from llm_service.providers.base import EmbeddingsCall

TITAN, TITAN_1 = "amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v1"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
COHERE_3, COHERE_4 = "cohere.embed-multilingual-v3", "us.cohere.embed-v4:0"
PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
FILM = Media(Modality.VIDEO, data=b"x", mime_type="video/mp4")


def asked(*inputs, model=TITAN, **more) -> EmbeddingsCall:
    given = tuple(Text(one) if isinstance(one, str) else one for one in inputs)
    return EmbeddingsCall(given, model, SECOND, **more)


async def embed(call, *replies):
    """What came, and what was asked; `replies` are said in order, a function of what was asked."""
    async with bedrock() as (vendor, adapter):
        vendor.replies += [
            reply if callable(reply) else Reply(pieces=[json.dumps(reply).encode()])
            for reply in replies
        ]
        embeddings = await adapter.embed(call)
        for request in vendor.asked:
            converse.check_authorization(request)
        return embeddings, vendor.asked


def titan(request):
    """A vector of the text's own length, so that order shows."""
    text = request.json["inputText"]
    said = {"embedding": [float(len(text))], "inputTextTokenCount": len(text)}
    return Reply(pieces=[json.dumps(said).encode()])


async def test_titan_gets_one_input_a_request_and_the_order_is_kept():
    words = ["x" * size for size in range(1, 21)]

    embeddings, requests = await embed(asked(*words), *[titan] * 20)

    assert embeddings.vectors == tuple([float(size)] for size in range(1, 21))
    assert embeddings.usage.input_tokens == 210
    assert embeddings.provider_model == TITAN
    assert {request.path for request in requests} == {
        "/model/amazon.titan-embed-text-v2%3A0/invoke"
    }


async def test_titan_takes_dimensions_and_says_that_it_cuts_nothing():
    embeddings, [request] = await embed(asked("x", dimensions=256, truncate=True), titan)

    assert request.json == {"inputText": "x", "dimensions": 256}
    assert [w.field for w in embeddings.warnings] == ["truncate"]


async def test_titan_of_images_takes_either():
    reply = {"embedding": [1.0], "inputTextTokenCount": 0}
    call = asked("x", PNG, model=TITAN_IMAGE, dimensions=384)

    _, requests = await embed(call, reply, reply)

    config = {"embeddingConfig": {"outputEmbeddingLength": 384}}
    bodies = [request.json for request in requests]
    assert {"inputText": "x"} | config in bodies
    assert {"inputImage": "iVBORw=="} | config in bodies


async def test_nova_is_told_the_task():
    reply = {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5]}]}
    call = asked("x", PNG, model=NOVA, task="query", dimensions=384)

    embeddings, requests = await embed(call, reply, reply)

    params = [r.json["singleEmbeddingParams"] for r in requests]
    assert all(p["embeddingPurpose"] == "GENERIC_RETRIEVAL" for p in params)
    assert all(p["embeddingDimension"] == 384 for p in params)
    assert {"truncationMode": "NONE", "value": "x"} in [p.get("text") for p in params]
    assert "detailLevel" in str(params)
    assert embeddings.vectors == ([0.5], [0.5])
    assert embeddings.usage is None


@pytest.mark.parametrize(
    ("model", "truncate", "sent"),
    [(COHERE_3, True, "END"), (COHERE_4, True, "RIGHT"), (COHERE_4, False, "NONE")],
)
async def test_cohere_gets_batches_of_96(model, truncate, sent):
    def reply(request):
        vectors = [[float(text)] for text in request.json["texts"]]
        said = {"embeddings": {"float": vectors}}
        return Reply(pieces=[json.dumps(said).encode()])

    call = asked(*map(str, range(200)), model=model, task="document", truncate=truncate)

    embeddings, requests = await embed(call, *[reply] * 3)

    assert embeddings.vectors == tuple([float(number)] for number in range(200))
    assert sorted(len(request.json["texts"]) for request in requests) == [8, 96, 96]
    assert all(request.json["truncate"] == sent for request in requests)
    assert all(request.json["input_type"] == "search_document" for request in requests)
    assert embeddings.warnings == ()


async def test_a_batch_is_no_larger_than_the_model_is_known_to_take():
    reply = {"embeddings": [[1.0], [2.0]]}
    call = asked("a", "b", "c", "d", model=COHERE_3, max_inputs=2)

    embeddings, requests = await embed(call, reply, reply)

    assert len(requests) == 2
    assert embeddings.vectors == ([1.0], [2.0], [1.0], [2.0])


async def test_the_fourth_cohere_takes_images_beside_text():
    reply = {"embeddings": {"float": [[1.0], [2.0]]}}

    _, [request] = await embed(asked("x", PNG, model=COHERE_4, dimensions=256), reply)

    assert request.json["output_dimension"] == 256
    assert request.json["inputs"] == [
        {"content": [{"type": "text", "text": "x"}]},
        {"content": [{"type": "image_url", "image_url": "data:image/png;base64,iVBORw=="}]},
    ]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (asked("x", model="anthropic.claude-sonnet-4-6"), "model"),
        (asked(PNG), "inputs[0]"),
        (asked("x", FILM, model=TITAN_IMAGE), "inputs[1]"),
        (asked(FILM, model=NOVA), "inputs[0]"),
        (asked("x", FILM, model=COHERE_4), "inputs[1]"),
        (asked("x", PNG, model=COHERE_3), "inputs[1]"),
        (asked("x", model=TITAN_1, dimensions=256), "dimensions"),
        (asked("x", model=COHERE_3, dimensions=256), "dimensions"),
    ],
)
async def test_what_a_model_does_not_embed_is_refused_before_dialling(call, field):
    with pytest.raises(errors.CapabilityNotSupported) as failure:
        await embed(call)

    assert failure.value.metadata["field"] == field


@pytest.mark.parametrize(
    "reply", [{}, [], {"embedding": "x"}, {"embedding": ["x"]}, {"embeddings": [[1.0], [2.0]]}]
)
async def test_an_answer_without_its_vectors_is_a_protocol_error(reply):
    with pytest.raises(errors.ProviderProtocolError):
        await embed(asked("x"), reply)


async def test_one_refusal_ends_the_call():
    def refused(request):
        return Reply(429, {"x-amzn-errortype": "ThrottlingException"}, [b"{}"])

    with pytest.raises(errors.ProviderRateLimited):
        await embed(asked("a", "b", "c"), titan, refused, titan)


async def test_a_refusal_tells_what_the_requests_answered_before_it_used():
    def refused(request):
        return Reply(400, {"x-amzn-errortype": "ValidationException"}, [b"{}"])

    with pytest.raises(errors.ProviderRejectedRequest) as failure:
        await embed(asked(*["ab"] * 9), *[titan] * 8, refused)

    # Eight are under way at a time, so one at least was answered before the ninth was asked.
    assert failure.value.used_tokens in range(2, 18, 2)


def counting(tokens):
    """Cohere's answer, with what Bedrock says of it beside the body."""

    def reply(request):
        vectors = [[1.0] for _ in request.json["texts"]]
        headers = {} if tokens is None else {"X-Amzn-Bedrock-Input-Token-Count": tokens}
        return Reply(headers=headers, pieces=[json.dumps({"embeddings": vectors}).encode()])

    return reply


async def test_tokens_that_bedrock_tells_beside_the_body_are_counted():
    call = asked("a", "b", "c", model=COHERE_3, max_inputs=2)

    embeddings, _ = await embed(call, counting("7"), counting("5"))

    assert embeddings.usage.input_tokens == 12


@pytest.mark.parametrize("tokens", [None, "", "-1", "many", "9" * 30, "0x7"])
async def test_tokens_that_are_not_told_or_are_no_number_are_unknown(tokens):
    embeddings, _ = await embed(asked("a", model=COHERE_3), counting(tokens))

    assert embeddings.usage is None
