"""Tools and answer formats as the anthropic kind sends them."""

import json

import msgspec
import pytest
from anthropic_bodies import PROFILE, TIME, body, prepared, warned
from anthropic_wire import END, closed, decoder, delta, opened, read_events, start, stop, text
from calls import call

from llm_service.domain.completion import Effort, FinishReason, GenerationParams, Reasoning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ProviderTool,
    Text,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers.fold import fold
from llm_service.providers.messages.request import prepare

SCHEMA = '{"type": "object", "properties": {"z": {}, "a": {"minimum": 1.0}}, "$defs": {}}'
CLOSED = '{"type": "object", "additionalProperties": false, "properties": {"b": {"type": "string"}, "a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "array", "items": {"type": "null"}}}}'  # noqa: E501
OPEN = '{"type":"object","properties":{"b":{"type":"object","properties":{"c":{"enum":["x"]}}}}}'


# --- tools ----------------------------------------------------------------------------------------


def test_a_schema_arrives_byte_for_byte():
    shaped = prepared(call(tools=(FunctionTool("a", "Does a.", SCHEMA, strict=True),)))

    [tool] = shaped.body["tools"]
    assert SCHEMA.encode() in msgspec.json.encode(tool)
    assert (tool["name"], tool["description"], tool["strict"]) == ("a", "Does a.", True)


def test_a_tool_without_parameters_has_the_schema_of_no_fields():
    assert body(call(tools=(TIME,)))["tools"] == [
        {"name": "time", "input_schema": {"type": "object", "properties": {}}}
    ]


@pytest.mark.parametrize(
    ("schema", "sent"),
    [("{}", '{"type":"object"}'), (' {"properties":{}}', '{"type":"object","properties":{}}')],
)
def test_a_schema_that_does_not_say_so_is_of_an_object(schema, sent):
    shaped = prepared(call(tools=(FunctionTool("a", "", schema),)))

    assert bytes(shaped.body["tools"][0]["input_schema"]).decode() == sent


@pytest.mark.parametrize("schema", ["no json", "[]", '{"type":"array"}'])
def test_a_schema_of_anything_else_is_refused(schema):
    with pytest.raises(InvalidField) as failure:
        body(call(tools=(TIME, FunctionTool("a", "", schema))))

    field = "tools[1].function.parameters_schema_json"
    assert failure.value.violations[0].field == field


def test_a_name_the_vendor_does_not_take_is_refused():
    with pytest.raises(CapabilityNotSupported) as failure:
        body(call(tools=(FunctionTool("my.tool"),)))

    assert failure.value.metadata["field"] == "tools[0].function.name"


def test_tools_are_refused_where_the_model_calls_none():
    with pytest.raises(CapabilityNotSupported) as failure:
        body(call(tools=(TIME,), capabilities=ModelCapabilities(tools=False)))

    assert failure.value.metadata["field"] == "tools"


def test_strict_is_left_out_and_said_where_the_model_is_not_held_to_schemas():
    able = ModelCapabilities(json_schema=False)
    asked = call(tools=(FunctionTool("a", strict=True),), capabilities=able)

    assert "strict" not in body(asked)["tools"][0]
    assert warned(asked) == [("CONTENT_DROPPED", "tools[0].function.strict")]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        (ToolChoice(), None),
        (ToolChoice(ToolMode.AUTO), {"type": "auto"}),
        (ToolChoice(ToolMode.NONE), {"type": "none"}),
        (ToolChoice(ToolMode.NONE, parallel=False), {"type": "none"}),
        (ToolChoice(ToolMode.REQUIRED), {"type": "any"}),
        (ToolChoice(ToolMode.REQUIRED, ("a",)), {"type": "tool", "name": "a"}),
        (ToolChoice(parallel=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(parallel=True), None),
        (
            ToolChoice(ToolMode.REQUIRED, parallel=False),
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_a_choice_among_tools(choice, sent):
    said = body(call(tools=(TIME, FunctionTool("a")), tool_choice=choice))

    assert said.get("tool_choice") == sent


def test_of_tools_only_those_allowed_are_sent():
    tools = (TIME, FunctionTool("a"), ProviderTool("web_search_20250305"))
    said = body(call(tools=tools, tool_choice=ToolChoice(ToolMode.AUTO, ("a", "time"))))

    assert [tool["name"] for tool in said["tools"]] == ["time", "a"]


def test_a_choice_among_no_tools_says_nothing():
    assert "tool_choice" not in body(call(tool_choice=ToolChoice(ToolMode.NONE)))


@pytest.mark.parametrize(
    ("kind", "config", "sent"),
    [
        ("web_search_20250305", "", {"name": "web_search"}),
        ("code_execution_20250825", "{}", {"name": "code_execution"}),
        ("text_editor_20250728", "", {"name": "str_replace_based_edit_tool"}),
        ("tool_search_tool_bm25_20251119", "", {"name": "tool_search_tool_bm25"}),
        ("web_fetch_20250910", '{"max_uses":2,"name":"x"}', {"max_uses": 2, "name": "x"}),
        ("mcp_toolset", '{"mcp_server_name":"s"}', {"mcp_server_name": "s"}),
        ("computer_toolset_20260801", "", {}),
    ],
)
def test_a_tool_of_the_vendor_goes_over_as_configured(kind, config, sent):
    assert body(call(tools=(ProviderTool(kind, config),)))["tools"] == [{"type": kind, **sent}]


def test_a_tool_of_the_vendor_brings_its_beta():
    tools = (ProviderTool("advisor_20260301"), ProviderTool("web_search_20250305"))

    assert prepare(call(tools=tools), PROFILE).betas == ("advisor-tool-2026-03-01",)


def test_a_configuration_that_is_no_object_is_refused():
    with pytest.raises(InvalidField) as failure:
        body(call(tools=(ProviderTool("web_search_20250305", "[]"),)))

    assert failure.value.violations[0].field == "tools[0].provider_tool.config_json"


# --- formats --------------------------------------------------------------------------------------


def wanting(schema: str, **more):
    return call(response_format=JsonSchemaFormat("place", schema), **more)


def test_a_schema_the_api_takes_arrives_byte_for_byte():
    shaped = prepared(wanting(CLOSED))

    wanted = shaped.body["output_config"]["format"]
    assert wanted == {"type": "json_schema", "schema": msgspec.Raw(CLOSED.encode())}
    assert shaped.warnings == ()


def test_objects_left_open_are_closed_in_their_order():
    schema = body(wanting(OPEN))["output_config"]["format"]["schema"]

    assert list(schema) == ["type", "properties", "additionalProperties"]
    assert schema["properties"]["b"]["additionalProperties"] is False
    assert schema["additionalProperties"] is False


def test_objects_are_closed_wherever_they_are():
    inner = '{"type":"object","properties":{"x":{}}}'
    schema = (
        f'{{"type":"object","properties":{{"a":{{"anyOf":[{inner},{{"type":"null"}}]}},'
        f'"b":{{"items":{inner}}},"c":{{"$ref":"#/$defs/C"}},"d":{{"$ref":"#/$defs/D"}}}},'
        f'"$defs":{{"C":{inner},"D":{{"allOf":[{{"$ref":"#/$defs/C"}}]}}}}}}'
    )

    closed = json.dumps(body(wanting(schema))["output_config"]["format"]["schema"])

    assert closed.count('"additionalProperties": false') == 4


@pytest.mark.parametrize(
    "schema",
    [
        '{"type":"object"}',
        '{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}',
        '{"type":"object","properties":{"a":{"allOf":[{"type":"object"}]}}}',
        '{"type":"object","properties":{"a":{"$ref":"#"}}}',
        '{"type":"object","properties":{"a":true}}',
        '{"type":"object","properties":{"a":{}},"additionalProperties":true}',
        '{"type":"object","properties":{"a":{"type":"string","format":"color"}}}',
        '{"type":"object","properties":{"a":{"format":[]}}}',
        '{"type":"object","properties":{"a":{"enum":[{}]}}}',
        '{"type":"object","properties":{"a":{"type":"array","minItems":3}}}',
        '{"type":"object","properties":{"a":{"$ref":"https://a.example/s"}}}',
        '{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},'
        '"$defs":{"A":{"anyOf":[{"$ref":"#/$defs/B"}]},"B":{"items":{"$ref":"#/$defs/A"}}}}',
    ],
)
def test_a_schema_the_api_does_not_take_is_brought_about_by_a_tool(schema):
    shaped = prepared(wanting(schema))

    [tool] = shaped.body["tools"]
    assert bytes(tool["input_schema"]).decode() == schema
    assert shaped.body["tool_choice"] == {"type": "tool", "name": tool["name"]}
    assert shaped.format_tool == tool["name"]
    assert [w.reason for w in shaped.warnings] == ["RESPONSE_FORMAT_EMULATED"]
    assert "output_config" not in shaped.body


def test_a_model_without_formats_is_brought_to_one_by_a_tool():
    shaped = prepared(wanting(CLOSED, capabilities=ModelCapabilities(json_schema=False)))

    assert bytes(shaped.body["tools"][0]["input_schema"]).decode() == CLOSED


def test_any_json_object_is_brought_about_by_a_tool():
    shaped = prepared(call(response_format=JsonObjectFormat()))

    assert body(call(response_format=JsonObjectFormat()))["tools"][0]["input_schema"] == {
        "type": "object"
    }
    assert [w.field for w in shaped.warnings] == ["response_format"]


def test_text_is_no_format():
    assert "tools" not in body(call(response_format=TextFormat()))


def test_among_other_tools_one_of_all_must_be_called():
    taken = FunctionTool("answer_in_format")
    shaped = prepared(call(response_format=JsonObjectFormat(), tools=(TIME, taken)))

    assert shaped.format_tool == "answer_in_format_"
    assert shaped.body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_a_caller_who_forces_a_tool_gets_its_call():
    shaped = prepared(
        call(
            response_format=JsonObjectFormat(),
            tools=(TIME,),
            tool_choice=ToolChoice(ToolMode.REQUIRED, ("time",)),
        )
    )

    assert shaped.format_tool == ""
    assert shaped.body["tool_choice"] == {"type": "tool", "name": "time"}


def test_a_caller_who_wants_no_tools_gets_the_format_only():
    shaped = prepared(
        call(
            response_format=JsonObjectFormat(),
            tools=(TIME,),
            tool_choice=ToolChoice(ToolMode.NONE),
        )
    )

    assert shaped.body["tool_choice"] == {"type": "tool", "name": shaped.format_tool}


def test_a_format_by_a_tool_leaves_no_thinking():
    params = GenerationParams(reasoning=Reasoning(Effort.LOW))
    asked = call(response_format=JsonObjectFormat(), params=params)

    assert "thinking" not in body(asked)
    assert ("PARAMETER_DROPPED", "params.reasoning.effort") in warned(asked)


def test_a_model_with_neither_formats_nor_tools_is_refused():
    able = ModelCapabilities(json_schema=False, tools=False)

    with pytest.raises(CapabilityNotSupported) as failure:
        body(wanting(CLOSED, capabilities=able))

    assert failure.value.metadata["field"] == "response_format"


@pytest.mark.parametrize("schema", ["no json", "[]"])
def test_a_format_that_is_no_schema_is_refused(schema):
    with pytest.raises(InvalidField):
        body(wanting(schema))


def test_a_format_of_no_object_is_refused_where_a_tool_would_bring_it_about():
    with pytest.raises(CapabilityNotSupported) as failure:
        body(wanting('{"type":"array"}'))

    assert failure.value.metadata["field"] == "response_format.json_schema.schema_json"


# --- and what comes back --------------------------------------------------------------------------


def format_events(*more):
    call_of_it = {"type": "tool_use", "id": "toolu_1", "name": "answer_in_format", "input": {}}
    return (
        start(),
        opened(call_of_it),
        delta("input_json_delta", partial_json='{"a": '),
        delta("input_json_delta", partial_json="1}"),
        closed(),
        *more,
        stop("tool_use"),
        END,
    )


def test_the_arguments_of_the_format_tool_are_the_answer():
    answer = read_events(*format_events(), format_tool="answer_in_format")

    assert [part.content for part in answer.parts] == [Text('{"a": 1}')]
    assert answer.finish_reason is FinishReason.STOP
    assert answer.provider_finish_reason == "tool_use"


def test_another_call_beside_the_format_is_still_a_call():
    other = {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}}

    answer = read_events(
        *format_events(opened(other, 1), closed(1)), format_tool="answer_in_format"
    )

    assert answer.parts[1].content == ToolCall("toolu_2", "time", "{}")
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_the_same_of_a_whole_answer():
    block = {"type": "tool_use", "id": "t", "name": "answer_in_format", "input": {"a": [1.0]}}
    message = {"content": [block], "stop_reason": "tool_use"}

    answer = fold(decoder("answer_in_format").whole(json.dumps(message).encode()))

    assert [part.content for part in answer.parts] == [Text('{"a": [1.0]}')]
    assert answer.finish_reason is FinishReason.STOP


def test_without_the_format_the_call_is_a_call():
    answer = read_events(*format_events())

    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_text_in_a_native_format_is_text():
    answer = read_events(start(), *text('{"a": 1}'), stop(), END)

    assert [part.content for part in answer.parts] == [Text('{"a": 1}')]
