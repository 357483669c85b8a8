"""What goes to Ollama."""

import json

import pytest
from calls import call, message, user
from fakes import ollama as fake
from vendor_server import Asked

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    CacheControl,
    Citation,
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
from llm_service.providers.ollama_chat import request

PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png", resolution=Resolution.LOW)
TIME = FunctionTool("time", "Tells the time.", '{"type": "object", "properties": {"z": {}}}')


def sent(asked, *, stream=False):
    """The body, which the server would take, and the warnings."""
    body, warnings = request.body(asked, "ollama", stream=stream)
    fake.check(Asked("POST", "/api/chat", {}, body))
    return json.loads(body), [(w.reason, w.field) for w in warnings]


def thinks(effort=None, model="qwen3", **more):
    params = GenerationParams(reasoning=Reasoning(effort, **more))
    return sent(call(model=model, params=params))[0].get("think")


def test_a_conversation_in_all_roles():
    own = ProviderState("ollama", b'{"thinking":true}')
    asked = call(
        message(Role.SYSTEM, "Be brief."),
        user("What is", PNG, "this?"),
        message(
            Role.ASSISTANT,
            Part(Thinking("Hm"), provider_state=own),
            "One moment.",
            ToolCall("call_1", "time", '{"z": 1}'),
            ToolCall("call_2", "time", ""),
        ),
        message(
            Role.TOOL,
            ToolResult("call_1", "time", user("noon", "sharp").parts),
            ToolResult("call_2", "", user("late").parts),
        ),
        message(Role.ASSISTANT, Refusal("No.")),
        user("Why?"),
    )

    body, warnings = sent(asked, stream=True)

    calls = [
        {"id": "call_1", "function": {"name": "time", "arguments": {"z": 1}}},
        {"id": "call_2", "function": {"name": "time", "arguments": {}}},
    ]
    assert body == {
        "model": "gpt-4o",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is\nthis?", "images": ["iVBORw=="]},
            {
                "role": "assistant",
                "content": "One moment.",
                "thinking": "Hm",
                "tool_calls": calls,
            },
            {
                "role": "tool",
                "content": "noon\nsharp",
                "tool_call_id": "call_1",
                "tool_name": "time",
            },
            {"role": "tool", "content": "late", "tool_call_id": "call_2"},
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": "Why?"},
        ],
    }
    assert warnings == [("CONTENT_DROPPED", "messages[1].parts[1].image.resolution")]


def test_schemas_and_arguments_go_over_letter_by_letter():
    arguments = '{"z": 1,  "a": 1.50}'
    asked = call(
        message(Role.ASSISTANT, ToolCall("a", "time", arguments)),
        tools=(TIME,),
        response_format=JsonSchemaFormat("x", TIME.parameters_schema_json),
    )

    body, _ = request.body(asked, "ollama", stream=False)

    assert body.count(TIME.parameters_schema_json.encode()) == 2
    assert arguments.encode() in body


def test_parameters_are_options():
    params = GenerationParams(
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        max_output_tokens=7,
        stop_sequences=("a",),
        seed=1,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        top_logprobs=2,
    )
    options = '{"keep_alive": "5m", "options": {"num_ctx": 8192, "top_k": 9}}'

    body, warnings = sent(call(params=params, options_json=options))

    assert body["options"] == {
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 9,
        "num_predict": 7,
        "stop": ["a"],
        "seed": 1,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "num_ctx": 8192,
    }
    assert (body["logprobs"], body["top_logprobs"], body["keep_alive"]) == (True, 2, "5m")
    assert warnings == []


def test_what_a_model_does_not_take_is_said_to_be_left_out():
    asked = call(
        params=GenerationParams(
            temperature=1.0, seed=1, top_logprobs=1, reasoning=Reasoning(Effort.LOW, 5)
        ),
        capabilities=ModelCapabilities(sampling=False, seed=False, logprobs=False, thinking=False),
    )

    body, warnings = sent(asked)

    assert body.keys() == {"model", "messages", "stream"}
    assert {field for _, field in warnings} == {
        "params.temperature",
        "params.seed",
        "params.top_logprobs",
        "params.reasoning.effort",
        "params.reasoning.budget_tokens",
    }


def test_thinking_is_a_switch_and_steps_only_for_gpt_oss():
    assert thinks() is None
    assert thinks(Effort.NONE) is False
    assert thinks(Effort.LOW) is True
    assert thinks(include_thoughts=True) is True
    assert [thinks(effort, "gpt-oss:20b") for effort in Effort] == [
        *(False, "low", "low", "medium", "high", "high")
    ]


def test_formats():
    assert "format" not in sent(call(response_format=TextFormat()))[0]
    assert sent(call(response_format=JsonObjectFormat()))[0]["format"] == "json"
    schema = JsonSchemaFormat("x", '{"type": "object"}')
    assert sent(call(response_format=schema))[0]["format"] == {"type": "object"}


def test_tools_are_shown_as_far_as_they_are_allowed():
    bare = FunctionTool("bare", strict=True)

    body, warnings = sent(call(tools=(TIME, bare)))
    allowed, _ = sent(call(tools=(TIME, bare), tool_choice=ToolChoice(None, ("time",))))
    none, _ = sent(call(tools=(TIME,), tool_choice=ToolChoice(ToolMode.NONE)))
    _, alone = sent(call(tools=(TIME,), tool_choice=ToolChoice(parallel=False)))

    assert [tool["function"]["name"] for tool in body["tools"]] == ["time", "bare"]
    assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert warnings == [("CONTENT_DROPPED", "tools[1].function.strict")]
    assert [tool["function"]["name"] for tool in allowed["tools"]] == ["time"]
    assert "tools" not in none
    assert alone == [("CONTENT_DROPPED", "tool_choice.parallel")]


def test_what_belongs_to_another_vendor_is_left_out_and_said():
    foreign = ProviderState("anthropic", b'{"signature":"c2ln"}')
    asked = call(
        message(
            Role.ASSISTANT,
            Part(Thinking("a"), provider_state=foreign),
            Part(Text(""), provider_state=foreign),
            ToolCall("x", "search", server_side=True),
            Part(Text("Hi"), citations=(Citation("https://x"),), cache_control=CacheControl()),
        ),
        message(Role.USER, "a", participant="ann"),
        message(Role.TOOL, ToolResult("b", "time", (), failed=True)),
    )

    body, warnings = request.body(asked, "ollama", stream=False)

    assert json.loads(body)["messages"][0] == {"role": "assistant", "content": "Hi"}
    assert [w.field for w in warnings] == [
        "messages[0].parts[0]",
        "messages[0].parts[1]",
        "messages[0].parts[2]",
        "messages[0].parts",
        "messages[0].parts",
        "messages[1].participant",
        "messages[2].parts[0]",
    ]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (call(user(Media(Modality.IMAGE, uri="https://x/y.png"))), "messages[0].parts[0]"),
        (call(user("a", Media(Modality.AUDIO, data=b"x"))), "messages[0].parts[1]"),
        (call(user(Media(Modality.DOCUMENT, data=b"x"))), "messages[0].parts[0]"),
        (call(message(Role.SYSTEM, PNG)), "messages[0].parts[0]"),
        (call(user(ToolCall("a", "x"))), "messages[0].parts[0]"),
        (call(message(Role.TOOL, ToolResult("a", "x", (Part(PNG),)))), "messages[0].parts[0]"),
        (call(tools=(ProviderTool("web_search"),)), "tools[0]"),
        (call(tools=(TIME,), tool_choice=ToolChoice(ToolMode.REQUIRED)), "tool_choice"),
        (call(tools=(TIME,), capabilities=ModelCapabilities(tools=False)), "tools"),
    ],
)
def test_what_ollama_cannot_take_is_refused_by_name(asked, field):
    with pytest.raises(CapabilityNotSupported) as failure:
        request.body(asked, "ollama", stream=False)

    assert failure.value.metadata == {"field": field, "model": "gpt-4o"}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (call(message(Role.TOOL, "x")), "messages[0].parts[0]"),
        (
            call(message(Role.ASSISTANT, ToolCall("a", "x", "[]"))),
            "messages[0].parts[0].tool_call.arguments_json",
        ),
        (call(tools=(FunctionTool("x", "", "{"),)), "tools[0].function.parameters_schema_json"),
        (call(options_json='{"stream": true}'), "provider_options_json"),
        (call(options_json='{"options": 5}'), "provider_options_json"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(asked, field):
    with pytest.raises(InvalidField) as failure:
        request.body(asked, "ollama", stream=False)

    assert [violation.field for violation in failure.value.violations] == [field]
