"""What goes to a Chat Completions vendor: what the openai SDK would send, or a clear refusal."""

import json

import pytest
from calls import call, message, user
from openai_oracle import sent_body

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    CacheControl,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Modality,
    Part,
    ProviderState,
    ProviderTool,
    Refusal,
    Resolution,
    Role,
    Text,
    TextFormat,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers import openai, openai_compatible
from llm_service.providers.chat import request

OPENAI, COMPATIBLE = openai._DIALECT, openai_compatible._DIALECT
PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png", resolution=Resolution.HIGH)
PDF = Media(Modality.DOCUMENT, data=b"%PDF", mime_type="application/pdf", display_name="a.pdf")
WAV = Media(Modality.AUDIO, data=b"RIFF", mime_type="audio/wav")
SCHEMA = '{"type": "object", "properties": {"z": {}, "a": {}}, "$defs": {"Z": {}, "A": {}}}'
WEATHER = FunctionTool("weather", "Tells the weather.", SCHEMA, strict=True)
TIME = FunctionTool("time")
WEATHER_JSON = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": json.loads(SCHEMA),
        "strict": True,
    },
}
TIME_JSON = {"type": "function", "function": {"name": "time"}}
HELLO = [{"role": "user", "content": "Hello"}]


def body(asked, dialect=OPENAI, *, stream=False):
    return json.loads(request.body(asked, dialect, stream=stream)[0])


def warnings(asked, dialect=OPENAI):
    return [(w.reason, w.field) for w in request.body(asked, dialect, stream=False)[1]]


@pytest.mark.parametrize(
    ("asked", "parameters"),
    [
        pytest.param(call(), {}, id="hello"),
        pytest.param(
            call(
                message(Role.SYSTEM, "Be brief."),
                message(Role.USER, "Hi", participant="ann"),
                message(Role.ASSISTANT, "Yes?"),
                user("one", "two"),
            ),
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Hi", "name": "ann"},
                    {"role": "assistant", "content": "Yes?"},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "one"},
                            {"type": "text", "text": "two"},
                        ],
                    },
                ]
            },
            id="roles",
        ),
        pytest.param(
            call(
                user(
                    PNG,
                    Media(Modality.IMAGE, uri="https://x/y.png"),
                    PDF,
                    Media(Modality.DOCUMENT, file_id="file-1"),
                    WAV,
                )
            ),
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image_url",
                                "image_url": {
                                    "url": "data:image/png;base64,iVBORw==",
                                    "detail": "high",
                                },
                            },
                            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                            {
                                "type": "file",
                                "file": {
                                    "filename": "a.pdf",
                                    "file_data": "data:application/pdf;base64,JVBERg==",
                                },
                            },
                            {"type": "file", "file": {"file_id": "file-1"}},
                            {
                                "type": "input_audio",
                                "input_audio": {"data": "UklGRg==", "format": "wav"},
                            },
                        ],
                    }
                ]
            },
            id="media",
        ),
        pytest.param(
            call(
                user("Weather?"),
                message(
                    Role.ASSISTANT,
                    Thinking("hm"),
                    ToolCall("a", "weather", "{}"),
                    ToolCall("b", "time", ""),
                ),
                message(
                    Role.TOOL,
                    ToolResult("a", "weather", user("rain", "wind").parts),
                    ToolResult("b", "time", user("noon").parts, failed=True),
                ),
                message(Role.ASSISTANT, Refusal("No.")),
                user(ToolResult("c", "x", user("late").parts), "and now?"),
            ),
            {
                "messages": [
                    {"role": "user", "content": "Weather?"},
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {
                                "id": "a",
                                "type": "function",
                                "function": {"name": "weather", "arguments": "{}"},
                            },
                            {
                                "id": "b",
                                "type": "function",
                                "function": {"name": "time", "arguments": ""},
                            },
                        ],
                    },
                    {"role": "tool", "tool_call_id": "a", "content": "rain\nwind"},
                    {"role": "tool", "tool_call_id": "b", "content": "noon"},
                    {"role": "assistant", "refusal": "No."},
                    {"role": "tool", "tool_call_id": "c", "content": "late"},
                    {"role": "user", "content": "and now?"},
                ]
            },
            id="tools in the conversation",
        ),
        pytest.param(
            call(
                params=GenerationParams(
                    temperature=0.0,
                    top_p=0.5,
                    max_output_tokens=7,
                    stop_sequences=("a", "b"),
                    seed=2**53,
                    frequency_penalty=-1.0,
                    presence_penalty=1.0,
                    reasoning=Reasoning(Effort.LOW),
                    top_logprobs=2,
                )
            ),
            {
                "temperature": 0.0,
                "top_p": 0.5,
                "max_completion_tokens": 7,
                "stop": ["a", "b"],
                "seed": 2**53,
                "frequency_penalty": -1.0,
                "presence_penalty": 1.0,
                "reasoning_effort": "low",
                "logprobs": True,
                "top_logprobs": 2,
            },
            id="parameters",
        ),
        pytest.param(
            call(tools=(WEATHER, TIME), tool_choice=ToolChoice(ToolMode.AUTO, parallel=False)),
            {
                "tools": [WEATHER_JSON, TIME_JSON],
                "tool_choice": "auto",
                "parallel_tool_calls": False,
            },
            id="tools",
        ),
        pytest.param(
            call(tools=(WEATHER, TIME), tool_choice=ToolChoice(ToolMode.REQUIRED, ("time",))),
            {
                "tools": [WEATHER_JSON, TIME_JSON],
                "tool_choice": {"type": "function", "function": {"name": "time"}},
            },
            id="a forced tool",
        ),
        pytest.param(
            call(tools=(TIME,), tool_choice=ToolChoice(ToolMode.NONE, ("time",))),
            {"tools": [TIME_JSON], "tool_choice": "none"},
            id="no tool",
        ),
        pytest.param(
            call(tools=(WEATHER, TIME), tool_choice=ToolChoice(None, ("weather", "time"))),
            {
                "tools": [WEATHER_JSON, TIME_JSON],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [
                            {"type": "function", "function": {"name": "weather"}},
                            {"type": "function", "function": {"name": "time"}},
                        ],
                    },
                },
            },
            id="allowed tools",
        ),
        pytest.param(
            call(response_format=TextFormat()), {"response_format": {"type": "text"}}, id="text"
        ),
        pytest.param(
            call(response_format=JsonObjectFormat()),
            {"response_format": {"type": "json_object"}},
            id="JSON",
        ),
        pytest.param(
            call(response_format=JsonSchemaFormat("answer", SCHEMA, strict=True)),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": json.loads(SCHEMA), "strict": True},
                }
            },
            id="JSON of a schema",
        ),
        pytest.param(
            call(options_json='{"service_tier": "flex", "n": 1, "temperature": 0.25}'),
            {"extra_body": {"service_tier": "flex", "n": 1, "temperature": 0.25}},
            id="options",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_body_is_the_one_the_sdk_sends(asked, parameters, stream):
    parameters = {"model": "gpt-4o", "messages": HELLO, **parameters}
    if stream:
        parameters |= {"stream": True, "stream_options": {"include_usage": True}}

    assert body(asked, stream=stream) == json.loads(await sent_body(**parameters))


def test_a_schema_goes_over_letter_by_letter():
    asked = call(tools=(WEATHER,), response_format=JsonSchemaFormat("answer", SCHEMA))

    sent, _ = request.body(asked, OPENAI, stream=False)

    assert sent.count(SCHEMA.encode()) == 2


def test_a_compatible_server_gets_the_older_name_for_the_most_tokens():
    asked = call(params=GenerationParams(max_output_tokens=7))

    assert body(asked, COMPATIBLE)["max_tokens"] == 7
    assert "max_completion_tokens" not in body(asked, COMPATIBLE)


def test_a_compatible_server_is_shown_only_the_tools_that_are_allowed():
    asked = call(tools=(WEATHER, TIME), tool_choice=ToolChoice(ToolMode.AUTO, ("time",)))

    sent = body(asked, COMPATIBLE)

    assert sent["tools"] == [TIME_JSON]
    assert sent["tool_choice"] == "auto"


def test_an_empty_assistant_message_is_still_a_message():
    assert body(call(user("a"), message(Role.ASSISTANT)))["messages"][1] == {
        "role": "assistant",
        "content": "",
    }


def test_what_the_kind_could_not_say_otherwise_comes_back_to_it():
    block = Part(Text(""), provider_state=ProviderState("openai", b'{"block":{"type":"x"}}'))
    sound = Part(
        Media(Modality.AUDIO, data=b"1"),
        provider_state=ProviderState("openai", b'{"audio":{"id":"audio_1"}}'),
    )

    assert body(call(message(Role.ASSISTANT, "a", block, sound)))["messages"] == [
        {
            "role": "assistant",
            "audio": {"id": "audio_1"},
            "content": [{"type": "text", "text": "a"}, {"type": "x"}],
        }
    ]


@pytest.mark.parametrize(
    "state", [ProviderState("other", b'{"block":{}}'), ProviderState("openai", b"{broken")]
)
def test_the_state_of_another_kind_is_not_sent(state):
    part = Part(Text("a"), provider_state=state)

    assert body(call(message(Role.ASSISTANT, part)))["messages"][0]["content"] == "a"


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


def test_a_choice_of_tools_without_tools_says_nothing():
    assert "tool_choice" not in body(call(tool_choice=ToolChoice(ToolMode.AUTO)))


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
                ("PARAMETER_DROPPED", "params.reasoning.budget_tokens"),
                ("PARAMETER_DROPPED", "params.reasoning.include_thoughts"),
                ("PARAMETER_DROPPED", "params.top_k"),
                ("PARAMETER_DROPPED", "params.reasoning.effort"),
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
