"""What a call becomes in the Responses API: its fields, tools, formats and parameters."""

import json

import pytest
from calls import call, user
from responses_bodies import LOCAL, OPENAI, body, warned

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ProviderTool,
    TextFormat,
    ToolChoice,
    ToolMode,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers.responses import request

SCHEMA = '{"type": "object", "properties": {"z": {}, "a": {}}, "$defs": {"Z": {}, "A": {}}}'
TIME, PLACE = FunctionTool("time"), FunctionTool("place", "Where", SCHEMA, strict=True)


def test_a_call_is_made_so_that_nothing_is_kept_and_reasoning_comes_back_sealed():
    shaped = body(call(user("Hello"), model="gpt-6-sol"))

    assert shaped == {
        "model": "gpt-6-sol",
        "input": [{"role": "user", "content": "Hello"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_a_stream_is_asked_for():
    assert body(call(), stream=True)["stream"] is True
    assert "stream" not in body(call())


@pytest.mark.parametrize(
    ("model", "can", "dialect", "sealed"),
    [
        ("gpt-6-sol", ModelCapabilities(thinking=True), OPENAI, True),
        ("my-deployment", ModelCapabilities(), OPENAI, True),
        ("gpt-4o", ModelCapabilities(), OPENAI, False),
        ("gpt-6-sol", ModelCapabilities(thinking=False), OPENAI, False),
    ],
)
def test_only_models_that_may_reason_are_asked_to_seal_it(model, can, dialect, sealed):
    shaped = body(call(model=model, capabilities=can), dialect)

    assert ("include" in shaped) == sealed


def test_parameters_the_api_has_go_over_and_the_others_are_told_of():
    params = GenerationParams(
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        max_output_tokens=100,
        stop_sequences=("END",),
        seed=7,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        top_logprobs=2,
        reasoning=Reasoning(Effort.MAX, budget_tokens=1024, include_thoughts=True),
    )

    shaped = body(call(params=params, model="m"))

    assert {name: shaped[name] for name in ("temperature", "top_p", "max_output_tokens")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 100,
    }
    assert shaped["reasoning"] == {"effort": "max", "summary": "auto"}
    assert shaped["top_logprobs"] == 2
    assert "message.output_text.logprobs" in shaped["include"]
    assert warned(call(params=params)) == [
        ("PARAMETER_DROPPED", f"params.{name}")
        for name in (
            "top_k",
            "stop_sequences",
            "seed",
            "frequency_penalty",
            "presence_penalty",
            "reasoning.budget_tokens",
        )
    ]


@pytest.mark.parametrize(
    "params",
    [
        GenerationParams(stop_sequences=("END",)),
        GenerationParams(seed=0),
        GenerationParams(presence_penalty=0.0),
        GenerationParams(reasoning=Reasoning(budget_tokens=0)),
    ],
)
def test_a_strict_caller_is_refused_rather_than_left_without(params):
    with pytest.raises(CapabilityNotSupported) as failure:
        body(call(params=params, strict_params=True, model="gpt-6-sol"))

    assert failure.value.metadata["model"] == "gpt-6-sol"


def test_what_a_model_cannot_take_is_left_out_and_told_of():
    can = ModelCapabilities(sampling=False, logprobs=False, thinking=False)
    reasoning = Reasoning(Effort.HIGH, include_thoughts=True)
    params = GenerationParams(temperature=1.0, top_p=1.0, top_logprobs=1, reasoning=reasoning)
    asked = call(params=params, capabilities=can)

    shaped = body(asked)

    assert shaped.keys() == {"model", "input", "store"}
    assert [field for _, field in warned(asked)] == [
        "params.temperature",
        "params.top_p",
        "params.top_logprobs",
        "params.reasoning.effort",
        "params.reasoning.include_thoughts",
    ]


def test_a_schema_reaches_the_model_byte_for_byte():
    asked = call(tools=(PLACE,), response_format=JsonSchemaFormat("place", SCHEMA, strict=True))

    sent = request.body(asked, OPENAI, stream=False).encoded()

    assert sent.count(SCHEMA.encode()) == 2


def test_functions_say_whether_they_are_strict_for_unsaid_they_would_be():
    shaped = body(call(tools=(TIME, PLACE)))

    assert shaped["tools"] == [
        {
            "type": "function",
            "name": "time",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
        {
            "type": "function",
            "name": "place",
            "description": "Where",
            "parameters": json.loads(SCHEMA),
            "strict": True,
        },
    ]


def test_a_tool_of_the_provider_goes_over_with_its_configuration():
    search = ProviderTool("web_search", '{"search_context_size": "low"}')

    shaped = body(call(tools=(search, ProviderTool("code_interpreter", '{"container": "c1"}'))))

    assert shaped["tools"][0] == {"type": "web_search", "search_context_size": "low"}
    assert shaped["tools"][1] == {"type": "code_interpreter", "container": "c1"}


@pytest.mark.parametrize("text", ["[]", "{", "1"])
def test_a_configuration_that_is_no_object_is_refused(text):
    with pytest.raises(InvalidField) as failure:
        body(call(tools=(ProviderTool("web_search", text),)))

    assert failure.value.violations[0].field == "tools[0].provider_tool.config_json"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ToolChoice(ToolMode.AUTO), "auto"),
        (ToolChoice(ToolMode.NONE, ("time",)), "none"),
        (ToolChoice(ToolMode.REQUIRED), "required"),
        (ToolChoice(ToolMode.REQUIRED, ("time",)), {"type": "function", "name": "time"}),
        (
            ToolChoice(allowed_tools=("time", "place")),
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [
                    {"type": "function", "name": "time"},
                    {"type": "function", "name": "place"},
                ],
            },
        ),
    ],
)
def test_each_choice_of_tools_has_its_word(choice, said):
    assert body(call(tools=(TIME, PLACE), tool_choice=choice))["tool_choice"] == said


def test_no_choice_says_nothing_and_parallel_calls_can_be_turned_off():
    assert "tool_choice" not in body(call(tools=(TIME,)))
    shaped = body(call(tools=(TIME,), tool_choice=ToolChoice(parallel=False)))
    assert shaped["parallel_tool_calls"] is False


def test_a_server_without_allowed_tools_is_sent_those_alone():
    choice = ToolChoice(ToolMode.REQUIRED, ("time", "place"))
    tools = (TIME, PLACE, FunctionTool("other"), ProviderTool("web_search"))

    shaped = body(call(tools=tools, tool_choice=choice), LOCAL)

    assert [tool["name"] for tool in shaped["tools"]] == ["time", "place"]
    assert shaped["tool_choice"] == "required"


def test_a_model_that_takes_no_tools_is_not_sent_any():
    with pytest.raises(CapabilityNotSupported) as failure:
        body(call(tools=(TIME,), capabilities=ModelCapabilities(tools=False)))

    assert failure.value.metadata["field"] == "tools"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (TextFormat(), {"type": "text"}),
        (JsonObjectFormat(), {"type": "json_object"}),
        (
            JsonSchemaFormat("place", "{}", strict=True),
            {"type": "json_schema", "name": "place", "schema": {}, "strict": True},
        ),
        (JsonSchemaFormat("", "{}"), {"type": "json_schema", "name": "answer", "schema": {}}),
    ],
)
def test_each_format_has_its_form(wanted, said):
    assert body(call(response_format=wanted))["text"] == {"format": said}


@pytest.mark.parametrize(
    ("tools", "name", "choice"),
    [
        ((), "place", {"type": "function", "name": "place"}),
        ((PLACE,), "place_", "required"),
    ],
)
def test_a_format_the_model_lacks_is_brought_about_by_a_tool(tools, name, choice):
    can = ModelCapabilities(json_schema=False)
    asked = call(tools=tools, response_format=JsonSchemaFormat("place", SCHEMA), capabilities=can)

    shaped = body(asked)

    assert "text" not in shaped
    assert shaped["tools"][-1]["name"] == name
    assert shaped["tools"][-1]["parameters"] == json.loads(SCHEMA)
    assert shaped["tool_choice"] == choice
    assert ("RESPONSE_FORMAT_EMULATED", "response_format") in warned(asked)
    assert request.body(asked, OPENAI, stream=False).format_tool == name


def test_any_object_can_be_brought_about_too():
    can = ModelCapabilities(json_object=False)

    shaped = body(call(response_format=JsonObjectFormat(), capabilities=can))

    assert shaped["tool_choice"] == {"type": "function", "name": "answer"}


def test_options_are_added_to_what_the_request_says():
    options = {
        "service_tier": "flex",
        "store": True,
        "include": ["web_search_call.action.sources"],
        "text": {"verbosity": "low"},
        "reasoning": {"summary": "detailed"},
    }
    asked = call(
        params=GenerationParams(reasoning=Reasoning(Effort.LOW)),
        response_format=JsonObjectFormat(),
        options_json=json.dumps(options),
        model="gpt-6-sol",
    )

    shaped = body(asked)

    assert shaped["service_tier"] == "flex"
    assert shaped["store"] is True
    assert shaped["include"] == ["reasoning.encrypted_content", "web_search_call.action.sources"]
    assert shaped["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert shaped["reasoning"] == {"effort": "low", "summary": "detailed"}


@pytest.mark.parametrize(
    "options",
    [
        "[]",
        '{"model": "other"}',
        '{"input": []}',
        '{"stream": false}',
        '{"background": true}',
        '{"previous_response_id": "resp_1"}',
        '{"conversation": "conv_1"}',
        '{"include": "all"}',
    ],
)
def test_options_that_would_change_who_answers_or_how_are_refused(options):
    with pytest.raises(InvalidField) as failure:
        body(call(options_json=options, model="gpt-6-sol"))

    assert failure.value.violations[0].field == "provider_options_json"


def test_an_option_that_is_no_object_cannot_be_added_to_one():
    asked = call(response_format=JsonObjectFormat(), options_json='{"text": 1}')

    with pytest.raises(InvalidField):
        body(asked)
