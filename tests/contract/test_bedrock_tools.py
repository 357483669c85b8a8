"""Tools and formats of answers in the words of Converse, model by model."""

import pytest
from bedrock_bodies import NOVA, asked, body, shaped, warnings
from calls import message, user

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ProviderTool,
    Role,
    Text,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers.converse.parts import Names

SCHEMA = '{"type": "object", "properties": {"z": {}, "a": {}}, "$defs": {"Z": {}, "A": {}}}'
WEATHER = FunctionTool("weather", "Tells the weather.", SCHEMA)
TIME = FunctionTool("time")
OLD = "anthropic.claude-3-haiku-20240307-v1:0"
NEW = "us.anthropic.claude-opus-5-5"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
QWEN = "qwen.qwen3-32b-v1:0"
PLACE = JsonSchemaFormat("place", SCHEMA, strict=True)
AUTO, NONE, REQUIRED = ToolMode.AUTO, ToolMode.NONE, ToolMode.REQUIRED
THINKING = GenerationParams(reasoning=Reasoning(Effort.LOW))


def history():
    call = ToolCall("toolu_1", "weather", "{}")
    result = message(Role.TOOL, ToolResult("toolu_1", "weather", ()))
    return user("Weather?"), message(Role.ASSISTANT, call), result


def names(sent: dict) -> list[str]:
    return [tool["toolSpec"]["name"] for tool in sent["toolConfig"]["tools"]]


def test_a_schema_goes_over_byte_by_byte():
    made = asked(tools=(WEATHER, TIME))

    sent = body(made)["toolConfig"]

    assert SCHEMA.encode() in shaped(made).encoded()
    assert sent["tools"][1] == {
        "toolSpec": {"name": "time", "inputSchema": {"json": {"type": "object"}}}
    }
    assert "toolChoice" not in sent


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(AUTO), {"auto": {}}),
        (ToolChoice(REQUIRED), {"any": {}}),
        (ToolChoice(REQUIRED, ("time",)), {"tool": {"name": "time"}}),
        (ToolChoice(allowed_tools=("time",)), None),
    ],
)
def test_how_tools_are_chosen_is_said(choice, sent):
    made = asked(tools=(WEATHER, TIME), tool_choice=choice)

    config = body(made)["toolConfig"]

    assert config.get("toolChoice") == sent
    assert len(config["tools"]) == (1 if choice.allowed_tools else 2)


def test_one_call_at_a_time_is_said_in_claudes_own_words():
    alone = ToolChoice(REQUIRED, ("time",), parallel=False)

    sent = body(asked(tools=(WEATHER, TIME), tool_choice=alone))

    assert "toolChoice" not in sent["toolConfig"]
    assert sent["additionalModelRequestFields"]["tool_choice"] == {
        "type": "tool",
        "name": "time",
        "disable_parallel_tool_use": True,
    }


def test_one_call_at_a_time_is_dropped_where_no_words_say_it():
    made = asked(tools=(TIME,), tool_choice=ToolChoice(AUTO, parallel=False), model=NOVA)

    assert body(made)["toolConfig"]["toolChoice"] == {"auto": {}}
    assert warnings(made) == [("CONTENT_DROPPED", "tool_choice.parallel")]


def test_no_tool_is_sent_when_none_may_be_called():
    sent = body(asked(tools=(WEATHER,), tool_choice=ToolChoice(NONE)))

    assert "toolConfig" not in sent
    assert "additionalModelRequestFields" not in sent


@pytest.mark.parametrize(("model", "warned"), [(OLD, False), (NOVA, True)])
def test_a_history_with_calls_keeps_its_tools_when_none_may_be_called(model, warned):
    made = asked(*history(), tools=(WEATHER,), tool_choice=ToolChoice(NONE), model=model)

    sent = body(made)

    assert names(sent) == ["weather"]
    assert bool(warnings(made)) is warned
    fields = sent.get("additionalModelRequestFields", {})
    assert fields == ({} if warned else {"tool_choice": {"type": "none"}})


def test_a_history_with_calls_gets_tools_of_their_names_and_says_so():
    made = asked(*history())

    sent = body(made)

    assert names(sent) == ["weather"]
    assert sent["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    assert warnings(made) == [("CONTENT_DROPPED", "tools")]


@pytest.mark.parametrize(
    ("model", "sent", "warned"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", True, False),
        ("anthropic.claude-sonnet-5", None, True),
        (OLD, None, True),
        (QWEN, True, False),
        ("some-model", True, False),
    ],
)
def test_strict_is_sent_to_the_models_that_are_held_to_it(model, sent, warned):
    made = asked(tools=(FunctionTool("time", strict=True),), model=model)

    spec = body(made)["toolConfig"]["tools"][0]["toolSpec"]

    assert spec.get("strict") is sent
    assert warnings(made) == ([("CONTENT_DROPPED", "tools[0].function.strict")] if warned else [])


def test_a_tool_that_need_not_be_strict_needs_no_warning():
    assert warnings(asked(tools=(FunctionTool("time", strict=False),), model=OLD)) == []


def test_claude_made_to_call_a_tool_does_not_think():
    forced = {"tools": (TIME,), "tool_choice": ToolChoice(REQUIRED), "params": THINKING}

    said = shaped(asked(**forced))

    assert said.body["toolConfig"]["toolChoice"] == {"any": {}}
    assert "additionalModelRequestFields" not in said.body
    assert [warning.field for warning in said.warnings] == ["params.reasoning.effort"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"tools": (TIME,), "capabilities": ModelCapabilities(tools=False)}, "tools"),
        ({"tools": (FunctionTool("a.b"),)}, "tools[0].function.name"),
        ({"tools": (ProviderTool("nova_x", '{"a":1}'),), "model": NOVA}, "tools[0]"),
        ({"tools": (ProviderTool("a b"),), "model": NOVA}, "tools[0]"),
        (
            {"tools": (TIME,), "tool_choice": ToolChoice(REQUIRED), "model": LLAMA},
            "tool_choice",
        ),
        (
            {
                "response_format": JsonObjectFormat(),
                "capabilities": ModelCapabilities(tools=False),
            },
            "response_format",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_dialling(more, field):
    with pytest.raises(CapabilityNotSupported) as failure:
        shaped(asked(**more))

    assert failure.value.metadata["field"] == field


@pytest.mark.parametrize(
    "more",
    [
        {"tools": (FunctionTool("time", "", "[1]"),)},
        {"tools": (ProviderTool("bash_20250124", "[1]"),)},
        {"tools": (ProviderTool("bash_20250124", '{"name": 5}'),)},
        {"tools": (TIME,), "tool_choice": ToolChoice(AUTO, ("nobody",))},
        {"tool_choice": ToolChoice(REQUIRED)},
        {"response_format": JsonSchemaFormat("x", "nothing")},
    ],
)
def test_what_is_no_schema_or_names_nothing_is_an_invalid_field(more):
    with pytest.raises(InvalidField):
        shaped(asked(**more))


def test_tools_of_the_vendor_go_over_by_their_name():
    sent = body(asked(tools=(ProviderTool("nova_grounding"), TIME), model=NOVA))

    assert sent["toolConfig"]["tools"][0] == {"systemTool": {"name": "nova_grounding"}}


def test_tools_of_anthropic_go_over_with_their_configuration():
    computer = ProviderTool("computer_20250124", '{"display_width_px": 800}')
    editor = ProviderTool("text_editor_20250728", '{"name": "str_replace_based_edit_tool"}')

    sent = body(asked(tools=(computer, editor, TIME)))

    assert sent["additionalModelRequestFields"]["tools"] == [
        {"type": "computer_20250124", "name": "computer", "display_width_px": 800},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    ]
    assert names(sent) == ["time"]


@pytest.mark.parametrize(
    ("model", "can"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", None),
        (NEW, None),
        (QWEN, None),
        ("openai.gpt-oss-20b-1:0", None),
        (NOVA, True),
    ],
)
def test_a_schema_is_the_models_own_matter_where_it_has_one(model, can):
    capabilities = ModelCapabilities(json_schema=can)
    made = asked(response_format=PLACE, model=model, capabilities=capabilities)

    sent = body(made)

    structure = sent["outputConfig"]["textFormat"]["structure"]
    assert structure == {"jsonSchema": {"name": "place", "schema": SCHEMA}}
    assert "toolConfig" not in sent
    assert shaped(made).names == Names()
    assert warnings(made) == []


@pytest.mark.parametrize(
    ("model", "can"), [(OLD, None), (NOVA, None), ("some-model", None), (QWEN, False)]
)
def test_else_a_tool_the_model_must_call_brings_the_format_about_and_it_is_said(model, can):
    capabilities = ModelCapabilities(json_schema=can)
    made = asked(response_format=PLACE, model=model, capabilities=capabilities)

    sent = body(made)["toolConfig"]

    assert sent["toolChoice"] == {"tool": {"name": "json"}}
    assert SCHEMA.encode() in shaped(made).encoded()
    assert shaped(made).names.json_tool == "json"
    assert warnings(made) == [("RESPONSE_FORMAT_EMULATED", "response_format")]


def test_any_json_is_brought_about_by_a_tool_and_text_by_nothing():
    assert names(body(asked(response_format=JsonObjectFormat()))) == ["json"]
    assert "toolConfig" not in body(asked(response_format=TextFormat()))


@pytest.mark.parametrize(
    ("more", "choice", "listed"),
    [
        ({}, {"any": {}}, ["weather", "json"]),
        ({"tool_choice": ToolChoice(NONE)}, {"tool": {"name": "json"}}, ["json"]),
        (
            {"tool_choice": ToolChoice(REQUIRED, ("weather",))},
            {"tool": {"name": "weather"}},
            ["weather", "json"],
        ),
        ({"model": LLAMA}, None, ["weather", "json"]),
        ({"model": OLD.replace("3-haiku", "3-7-sonnet"), "params": THINKING}, None, None),
    ],
)
def test_the_tool_for_json_stands_beside_the_callers(more, choice, listed):
    made = asked(tools=(WEATHER,), response_format=PLACE, **{"model": OLD, **more})

    sent = body(made)

    assert sent["toolConfig"].get("toolChoice") == choice
    assert names(sent) == (listed or ["weather", "json"])


def test_the_tool_for_json_has_a_name_no_tool_of_the_caller_has():
    tools = (FunctionTool("json"), FunctionTool("json_2"))
    made = asked(tools=tools, response_format=PLACE, model=OLD)

    assert names(body(made)) == ["json", "json_2", "json_3"]
    assert shaped(made).names.json_tool == "json_3"


def test_names_with_leaked_marks_mean_the_tools_they_begin_with():
    meant = Names("json", frozenset({"weather"})).meant

    assert meant("json<|channel|>commentary") == "json"
    assert meant("weather<|x") == "weather"
    assert meant("other<|x") == "other<|x"
    assert meant("weather") == "weather"


def test_a_turn_that_answered_in_json_goes_back_as_text():
    made = asked(user("Hi"), message(Role.ASSISTANT, Text('{"a":1}')), user("So?"))

    assert body(made)["messages"][1]["content"] == [{"text": '{"a":1}'}]


def test_a_history_with_calls_of_anthropics_tools_needs_no_others():
    bash = ProviderTool("bash_20250124")
    call = ToolCall("toolu_1", "bash", "{}")
    result = message(Role.TOOL, ToolResult("toolu_1", "bash", ()))
    made = asked(user("List"), message(Role.ASSISTANT, call), result, tools=(bash,))

    assert "toolConfig" not in shaped(made).body
    assert warnings(made) == []
