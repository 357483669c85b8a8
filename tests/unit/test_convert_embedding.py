"""A request for embeddings is converted whole, or refused with every bad field named."""

import pytest

from llm_service.domain.completion import Attribution, Cost, RoutingOptions, ServedBy, TokenUsage
from llm_service.domain.completion import Warning as CallWarning
from llm_service.domain.content import Media, Modality, Text
from llm_service.domain.embedding import EmbeddingAnswer, EmbeddingRequest
from llm_service.errors import InvalidField
from llm_service.rpc.convert.embedding import from_embedding_answer, to_embedding_request
from llm_service.rpc.convert.request import DEFAULT_TENANT
from llm_service.rpc.stubs import common_pb2, content_pb2, generation_pb2
from llm_service.rpc.stubs import embedding_service_pb2 as pb

HELLO = pb.EmbedInput(text="hello")


def asking(**fields) -> pb.EmbedRequest:
    return pb.EmbedRequest(**{"model": "m", "inputs": [HELLO], **fields})


def test_the_least_request_has_defaults_everywhere():
    assert to_embedding_request(asking()) == EmbeddingRequest(
        "m", (Text("hello"),), Attribution(DEFAULT_TENANT)
    )


def test_a_full_request_is_converted_whole():
    image = content_pb2.Media(data=b"x", mime_type="image/png")
    message = asking(
        inputs=[HELLO, pb.EmbedInput(image=image), pb.EmbedInput(text="")],
        dimensions=256,
        task="query",
        truncate=True,
        routing=generation_pb2.RoutingOptions(max_attempts=2),
        attribution=common_pb2.Attribution(tenant="tenants/acme", agent="a"),
    )

    assert to_embedding_request(message) == EmbeddingRequest(
        model="m",
        inputs=(Text("hello"), Media(Modality.IMAGE, data=b"x", mime_type="image/png"), Text("")),
        attribution=Attribution("acme", "a"),
        dimensions=256,
        task="query",
        truncate=True,
        routing=RoutingOptions(max_attempts=2),
    )


@pytest.mark.parametrize(
    ("message", "field"),
    [
        pytest.param(asking(model="m" * 513), "model", id="long-model"),
        pytest.param(asking(inputs=[]), "inputs", id="no-inputs"),
        pytest.param(asking(inputs=[HELLO] * 2049), "inputs", id="too-many-inputs"),
        pytest.param(asking(inputs=[HELLO, pb.EmbedInput()]), "inputs[1]", id="nothing-set"),
        pytest.param(
            asking(inputs=[pb.EmbedInput(image=content_pb2.Media())]),
            "inputs[0].image",
            id="image-of-nothing",
        ),
        pytest.param(asking(dimensions=0), "dimensions", id="no-dimensions"),
        pytest.param(asking(dimensions=-1), "dimensions", id="negative-dimensions"),
        pytest.param(asking(task="search"), "task", id="unknown-task"),
        pytest.param(
            asking(routing=generation_pb2.RoutingOptions(fallback_models=["n"])),
            "routing.fallback_models",
            id="fallback-models",
        ),
        pytest.param(
            asking(routing=generation_pb2.RoutingOptions(max_attempts=0)),
            "routing.max_attempts",
            id="routing",
        ),
        pytest.param(asking(request_id="1"), "request_id", id="request-id"),
        pytest.param(
            asking(attribution=common_pb2.Attribution(agent="no spaces")),
            "attribution.agent",
            id="attribution",
        ),
    ],
)
def test_what_is_wrong_is_named(message, field):
    with pytest.raises(InvalidField) as failure:
        to_embedding_request(message)

    assert [violation.field for violation in failure.value.violations] == [field]


def test_an_answer_keeps_everything_but_leaves_its_vectors_to_the_servicer():
    answer = EmbeddingAnswer(
        id="c-1",
        vectors=([1.0],),
        usage=TokenUsage(3),
        cost=Cost(5, price_version="v"),
        served_by=ServedBy("p", "p/models/m"),
        attempts=(),
        warnings=(CallWarning("PARAMETER_DROPPED", "task", "left out"),),
    )

    message = from_embedding_answer(answer)

    assert (message.id, message.usage.input_tokens) == ("c-1", 3)
    assert (message.cost.total_nano_usd, message.served_by.model) == (5, "p/models/m")
    assert [one.field for one in message.warnings] == ["task"]
    assert not message.embeddings
