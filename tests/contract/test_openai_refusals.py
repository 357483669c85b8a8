"""What a Chat Completions vendor cannot be told: refused by name, or left out and said."""

import pytest
from bodies import OPENAI, PNG, TIME, body
from calls import call, message, user

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    CacheControl,
    FunctionTool,
    JsonSchemaFormat,
    Media,
    Modality,
    Part,
    ProviderTool,
    Resolution,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers.chat import request


def warnings(asked, dialect=OPENAI):
    return [(w.reason, w.field) for w in request.body(asked, dialect, stream=False)[1]]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        pytest.param(
            call(user("a"), user("a", Media(Modality.VIDEO, uri="https://x"))),
            "messages[1].parts[1]",
            id="video",
        ),
        pytest.param(
            call(user(Media(Modality.IMAGE, uri="s3://x/y"))), "messages[0].parts[0]", id="s3 image"
        ),
        pytest.param(
            call(user(Media(Modality.IMAGE, file_id="f"))), "messages[0].parts[0]", id="image file"
        ),
        pytest.param(
            call(user(Media(Modality.DOCUMENT, uri="https://x"))),
            "messages[0].parts[0]",
            id="document by URI",
        ),
        pytest.param(
            call(user(Media(Modality.AUDIO, data=b"x", mime_type="audio/ogg"))),
            "messages[0].parts[0]",
            id="ogg",
        ),
        pytest.param(
            call(user(Media(Modality.AUDIO, uri="https://x", mime_type="audio/wav"))),
            "messages[0].parts[0]",
            id="audio by URI",
        ),
        pytest.param(
            call(message(Role.TOOL, ToolResult("a", "x", (Part(PNG),)))),
            "messages[0].parts[0]",
            id="image in a tool result",
        ),
        pytest.param(
            call(message(Role.SYSTEM, PNG)), "messages[0].parts[0]", id="image in a system message"
        ),
        pytest.param(
            call(message(Role.ASSISTANT, PNG)), "messages[0].parts[0]", id="image of the assistant"
        ),
        pytest.param(
            call(user(ToolCall("a", "x"))), "messages[0].parts[0]", id="tool call of the user"
        ),
        pytest.param(
            call(tools=(TIME, ProviderTool("web-search"))), "tools[1]", id="tool of the provider"
        ),
    ],
)
def test_what_the_dialect_cannot_say_is_refused_by_name(asked, field):
    with pytest.raises(CapabilityNotSupported) as failure:
        body(asked)

    assert failure.value.metadata == {"field": field, "model": "gpt-4o"}
    assert field in str(failure.value)
    assert "gpt-4o" in str(failure.value)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        pytest.param(
            call(tools=(TIME, FunctionTool("x", parameters_schema_json="{broken"))),
            "tools[1].function.parameters_schema_json",
            id="tool schema",
        ),
        pytest.param(
            call(tools=(FunctionTool("x", parameters_schema_json='{}, "model": "y"'),)),
            "tools[0].function.parameters_schema_json",
            id="a schema that breaks out",
        ),
        pytest.param(
            call(response_format=JsonSchemaFormat("x", "[]")),
            "response_format.json_schema.schema_json",
            id="answer schema",
        ),
        pytest.param(
            call(response_format=JsonSchemaFormat("x", "[" * 9999)),
            "response_format.json_schema.schema_json",
            id="very deep schema",
        ),
        pytest.param(
            call(user(Media(Modality.IMAGE, data=b"x"))),
            "messages[0].parts[0].image.mime_type",
            id="image of no type",
        ),
        pytest.param(
            call(message(Role.TOOL, "x")), "messages[0].parts[0]", id="text in a tool message"
        ),
        pytest.param(
            call(tools=(TIME,), tool_choice=ToolChoice(ToolMode.AUTO, ("time", "x"))),
            "tool_choice.allowed_tools[1]",
            id="no such tool",
        ),
        pytest.param(
            call(tool_choice=ToolChoice(ToolMode.REQUIRED)), "tool_choice", id="no tools at all"
        ),
        *(
            pytest.param(call(options_json=options), "provider_options_json", id=options)
            for options in (
                "{broken",
                "[]",
                '{"n": 2}',
                '{"n": "x"}',
                '{"model": "other"}',
                '{"messages": []}',
                '{"stream": false}',
                '{"stream_options": {}}',
            )
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(asked, field):
    with pytest.raises(InvalidField) as failure:
        body(asked)

    assert [violation.field for violation in failure.value.violations] == [field]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(
            call(
                params=GenerationParams(
                    temperature=0.0, top_p=1.0, seed=1, top_logprobs=1, max_output_tokens=5
                ),
                capabilities=ModelCapabilities(sampling=False, seed=False, logprobs=False),
            ),
            [
                ("PARAMETER_DROPPED", "params.temperature"),
                ("PARAMETER_DROPPED", "params.top_p"),
                ("PARAMETER_DROPPED", "params.seed"),
                ("PARAMETER_DROPPED", "params.top_logprobs"),
            ],
            id="a model that takes none",
        ),
        pytest.param(
            call(
                params=GenerationParams(
                    top_k=3, reasoning=Reasoning(Effort.HIGH, 100, include_thoughts=True)
                ),
                capabilities=ModelCapabilities(thinking=False),
            ),
            [
                ("PARAMETER_DROPPED", "params.reasoning.effort"),
                ("PARAMETER_DROPPED", "params.reasoning.budget_tokens"),
                ("PARAMETER_DROPPED", "params.reasoning.include_thoughts"),
                ("PARAMETER_DROPPED", "params.top_k"),
            ],
            id="what the dialect has no word for",
        ),
        pytest.param(
            call(
                message(
                    Role.ASSISTANT,
                    Thinking("a"),
                    Thinking("b"),
                    ToolCall("a", "x", server_side=True),
                ),
                message(Role.TOOL, ToolResult("a", "x", (), failed=True)),
                user(
                    Media(Modality.IMAGE, uri="https://x", resolution=Resolution.MEDIUM),
                    Part(Text("a"), cache_control=CacheControl()),
                ),
            ),
            [
                ("CONTENT_DROPPED", "messages[0].parts[0]"),
                ("CONTENT_DROPPED", "messages[0].parts[2]"),
                ("CONTENT_DROPPED", "messages[1].parts[0]"),
                ("CONTENT_DROPPED", "messages[2].parts"),
                ("CONTENT_DROPPED", "messages[2].parts[0].image.resolution"),
            ],
            id="content",
        ),
    ],
)
def test_what_is_left_out_is_said(asked, expected):
    assert warnings(asked) == expected
    assert not {"temperature", "top_k", "seed", "logprobs", "reasoning_effort"} & body(asked).keys()
