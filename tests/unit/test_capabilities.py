"""What a model is known not to do is refused before it is dialled; what is unknown never is."""

from dataclasses import replace

import pytest

from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Message,
    Modality,
    Part,
    Role,
    Text,
    ToolResult,
)
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import EmbeddingInfo, ModelCapabilities
from llm_service.errors import CapabilityNotSupported
from llm_service.gateway.capabilities import require, require_embedding
from tests.fakes import FakeAdapter, a_model, a_provider, a_request, an_answer
from tests.unit.two_providers import World

PROVIDER = a_provider()
TEXT, IMAGE, DOCUMENT = Modality.TEXT, Modality.IMAGE, Modality.DOCUMENT
PICTURE = Media(IMAGE, data=b"x", mime_type="image/png")
PDF = Media(DOCUMENT, data=b"x", mime_type="application/pdf")
NOTE = Media(DOCUMENT, data=b"x", mime_type="text/plain")
TOOLS = (FunctionTool("weather"),)
SCHEMA = JsonSchemaFormat("answer", "{}")


def saying(content, role=Role.USER):
    hello = Message(Role.USER, (Part(Text("hello")),))
    return a_request(messages=(hello, Message(role, (Part(Text("a")), Part(content)))))


def knowing(*modalities, **capabilities):
    return a_model(
        PROVIDER, input_modalities=modalities, capabilities=ModelCapabilities(**capabilities)
    )


@pytest.mark.parametrize(
    ("request_", "model", "field"),
    [
        pytest.param(a_request(tools=TOOLS), knowing(tools=False), "tools", id="tools"),
        pytest.param(saying(PICTURE), knowing(TEXT), "messages[1].parts[1].image", id="image"),
        pytest.param(saying(PDF), knowing(TEXT), "messages[1].parts[1].document", id="document"),
        pytest.param(
            saying(ToolResult("c", "t", (Part(PICTURE),)), Role.TOOL),
            knowing(TEXT),
            "messages[1].parts[1].tool_result.content[0].image",
            id="image-in-a-tool-result",
        ),
        pytest.param(
            a_request(response_format=SCHEMA),
            knowing(tools=False, json_schema=False, json_object=True),
            "response_format",
            id="schema",
        ),
        pytest.param(
            a_request(response_format=JsonObjectFormat()),
            knowing(tools=False, json_schema=False, json_object=False),
            "response_format",
            id="object",
        ),
    ],
)
def test_what_the_model_lacks_is_named_with_the_model(request_, model, field):
    with pytest.raises(CapabilityNotSupported) as failure:
        require(request_, model)

    assert failure.value.metadata == {"field": field, "model": "providers/p/models/m"}
    assert field in str(failure.value)


@pytest.mark.parametrize(
    ("request_", "model"),
    [
        pytest.param(a_request(tools=TOOLS), knowing(), id="tools-unknown"),
        pytest.param(saying(PICTURE), knowing(), id="modalities-unknown"),
        pytest.param(saying(PICTURE), knowing(TEXT, IMAGE), id="image-taken"),
        pytest.param(saying(PDF), knowing(TEXT, IMAGE), id="pages-are-pictures"),
        pytest.param(saying(PDF), knowing(TEXT, DOCUMENT), id="document-taken"),
        pytest.param(saying(NOTE), knowing(TEXT), id="text-document"),
        pytest.param(saying(PICTURE, Role.ASSISTANT), knowing(TEXT), id="said-by-a-model"),
        pytest.param(
            a_request(response_format=SCHEMA),
            knowing(tools=True, json_schema=False),
            id="emulated-by-a-tool",
        ),
        pytest.param(
            a_request(response_format=SCHEMA), knowing(tools=False, json_schema=True), id="native"
        ),
        pytest.param(
            a_request(response_format=JsonObjectFormat()),
            knowing(tools=False, json_schema=True, json_object=False),
            id="an-object-is-a-schema",
        ),
        pytest.param(a_request(), knowing(TEXT, tools=False, json_schema=False), id="plain"),
    ],
)
def test_what_the_model_does_or_may_do_is_let_through(request_, model):
    require(request_, model)


@pytest.mark.parametrize(
    ("known", "refused"),
    [
        pytest.param(None, False, id="unknown"),
        pytest.param(EmbeddingInfo(), False, id="length-unknown"),
        pytest.param(EmbeddingInfo(dimensions=256), False, id="its-own"),
        pytest.param(EmbeddingInfo(dimensions=1536), True, id="another"),
        pytest.param(EmbeddingInfo(1536, variable_dimensions=True), False, id="any"),
    ],
)
def test_vectors_of_a_length_the_model_does_not_give_are_refused(known, refused):
    asked = EmbeddingRequest("m", (Text("a"),), a_request().attribution, dimensions=256)
    model = a_model(PROVIDER, embedding=known)

    if refused:
        with pytest.raises(CapabilityNotSupported) as failure:
            require_embedding(asked, model)
        assert failure.value.metadata["field"] == "dimensions"
    else:
        require_embedding(asked, model)


async def test_a_target_that_lacks_what_is_asked_is_passed_over_without_a_dial():
    world = World(FakeAdapter(), FakeAdapter(an_answer()), model={"input_modalities": (TEXT,)})
    view = world.completions._configuration._view
    (first, second) = view.offers["m"]
    seeing = a_model(second[0], input_modalities=(TEXT, IMAGE), price=second[1].price)
    offers = {"m": (first, (second[0], seeing))}
    world.completions._configuration._view = replace(view, offers=offers)

    completion = await world.complete(messages=saying(PICTURE).messages)

    assert completion.served_by.provider == "providers/two"
    assert world.outcomes() == [("providers/two", "")]
    assert not world.adapters["one"].calls
