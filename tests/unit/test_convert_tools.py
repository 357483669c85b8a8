"""Tools, the choice among them, and answer formats on their way in."""

import pytest

from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ProviderTool,
    TextFormat,
    ToolChoice,
    ToolMode,
)
from llm_service.rpc.convert.checks import Checks
from llm_service.rpc.convert.content import to_response_format, to_tool_choice, to_tools
from llm_service.rpc.stubs import tool_pb2 as pb
from tests.unit.refused import refused

WEATHER = FunctionTool("weather")


def function(name="weather", **fields) -> pb.Tool:
    return pb.Tool(function=pb.FunctionTool(name=name, **fields))


def provider_tool(**fields) -> pb.Tool:
    return pb.Tool(provider_tool=pb.ProviderTool(**fields))


def test_tools_of_both_kinds_keep_their_order_and_text():
    checks = Checks()

    tools = to_tools(
        [
            function(
                description="Says it.", parameters_schema_json='{"b": 1, "a": 2}', strict=False
            ),
            provider_tool(type="web_search", config_json='{"depth": 1}'),
            function("time"),
        ],
        checks,
    )

    assert refused(checks) == {}
    assert tools == (
        FunctionTool("weather", "Says it.", '{"b": 1, "a": 2}', strict=False),
        ProviderTool("web_search", '{"depth": 1}'),
        FunctionTool("time", strict=None),
    )


@pytest.mark.parametrize(
    ("tools", "path"),
    [
        pytest.param([pb.Tool()], "tools[0]", id="nothing"),
        pytest.param([function("")], "tools[0].function.name", id="no name"),
        pytest.param([function("a" * 129)], "tools[0].function.name", id="long name"),
        pytest.param([function(), function()], "tools[1].function.name", id="same name"),
        pytest.param(
            [function(parameters_schema_json="[]")],
            "tools[0].function.parameters_schema_json",
            id="schema",
        ),
        pytest.param([provider_tool()], "tools[0].provider_tool.type", id="no type"),
        pytest.param(
            [provider_tool(type="web_search", config_json="{")],
            "tools[0].provider_tool.config_json",
            id="config",
        ),
        pytest.param([function(f"f{n}") for n in range(1025)], "tools", id="too many"),
    ],
)
def test_a_bad_tool_is_named(tools, path):
    checks = Checks()

    to_tools(tools, checks)

    assert list(refused(checks)) == [path]


@pytest.mark.parametrize("mode", ToolMode)
def test_every_mode_has_a_number(mode):
    number = getattr(pb.ToolChoice, f"MODE_{mode.name}")

    assert to_tool_choice(pb.ToolChoice(mode=number), (), Checks()) == ToolChoice(mode)


def test_an_empty_choice_chooses_nothing():
    assert to_tool_choice(pb.ToolChoice(), (), Checks()) == ToolChoice(None, (), None)


def test_parallel_calls_forbidden_are_not_parallel_calls_unset():
    choice = to_tool_choice(
        pb.ToolChoice(allowed_tools=["weather"], parallel=False), (WEATHER,), Checks()
    )

    assert choice == ToolChoice(None, ("weather",), parallel=False)


def test_a_mode_nobody_knows_and_tools_not_in_the_request_are_named():
    checks = Checks()

    to_tool_choice(
        pb.ToolChoice(mode=99, allowed_tools=["weather", "search"]),
        (WEATHER, ProviderTool("search")),
        checks,
    )

    assert list(refused(checks)) == ["tool_choice.mode", "tool_choice.allowed_tools[1]"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.ResponseFormat(), None),
        (pb.ResponseFormat(text=pb.TextFormat()), TextFormat()),
        (pb.ResponseFormat(json_object=pb.JsonObjectFormat()), JsonObjectFormat()),
        (
            pb.ResponseFormat(json_schema=pb.JsonSchemaFormat(name="n", schema_json="{}")),
            JsonSchemaFormat("n", "{}", None),
        ),
        (
            pb.ResponseFormat(
                json_schema=pb.JsonSchemaFormat(name="n", schema_json="{}", strict=False)
            ),
            JsonSchemaFormat("n", "{}", strict=False),
        ),
    ],
)
def test_each_answer_format_is_read(message, expected):
    checks = Checks()

    assert to_response_format(message, checks) == expected
    assert refused(checks) == {}


def test_a_schema_needs_a_name_and_an_object():
    checks = Checks()

    to_response_format(pb.ResponseFormat(json_schema=pb.JsonSchemaFormat(schema_json="1")), checks)

    assert list(refused(checks)) == [
        "response_format.json_schema.name",
        "response_format.json_schema.schema_json",
    ]
