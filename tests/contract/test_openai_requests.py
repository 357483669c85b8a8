"""What goes to a Chat Completions vendor: what the openai SDK would send."""

import json

import pytest
from bodies import COMPATIBLE, OPENAI, PNG, SCHEMA, TIME, body
from calls import call, message, user
from openai_oracle import sent_body

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Modality,
    Part,
    ProviderState,
    Refusal,
    Role,
    Text,
    TextFormat,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.providers.chat import request

PDF = Media(Modality.DOCUMENT, data=b"%PDF", mime_type="application/pdf", display_name="a.pdf")
WAV = Media(Modality.AUDIO, data=b"RIFF", mime_type="audio/wav")
WEATHER = FunctionTool("weather", "Tells the weather.", SCHEMA, strict=True)
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


def test_a_choice_of_tools_without_tools_says_nothing():
    assert "tool_choice" not in body(call(tool_choice=ToolChoice(ToolMode.AUTO)))
