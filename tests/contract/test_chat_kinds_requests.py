"""What each vendor of Chat Completions is sent where it differs: parameters, tools, formats."""

import json

import pytest
from calls import call
from chat_kinds import KINDS, TIME, sent

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    JsonObjectFormat,
    JsonSchemaFormat,
    ProviderTool,
    ToolChoice,
    ToolMode,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported
from llm_service.providers.chat import request

every_kind = pytest.mark.parametrize("kind", KINDS)
SCHEMA = JsonSchemaFormat("place", '{"type": "object", "properties": {"z": {}, "a": {}}}')


def efforts(kind, model="m"):
    asked = [
        call(model=model, params=GenerationParams(reasoning=Reasoning(effort))) for effort in Effort
    ]
    bodies = [sent(kind, one)[0] for one in asked]
    return [
        {key: value for key, value in body.items() if key not in ("model", "messages")}
        for body in bodies
    ]


@pytest.mark.parametrize(
    ("kind", "model", "expected"),
    [
        ("xai", "grok-4.5", ["none", "low", "low", "medium", "high", "high"]),
        ("xai", "grok-4.3", ["none", "low", "low", "medium", "high", "xhigh"]),
        ("mistral", "mistral-small-latest", ["none", "high", "high", "high", "high", "high"]),
        ("mistral", "mistral-large-4-0", ["none", "low", "low", "medium", "high", "high"]),
        ("fireworks", "m", ["none", "low", "low", "medium", "high", "high"]),
    ],
)
def test_an_effort_is_said_in_the_vendors_words(kind, model, expected):
    assert efforts(kind, model) == [{"reasoning_effort": word} for word in expected]


def test_an_effort_at_deepseek_switches_thinking():
    off, minimal, low, medium, high, most = efforts("deepseek")

    assert off == {"thinking": {"type": "disabled"}}
    assert [body["reasoning_effort"] for body in (minimal, low, medium, high, most)] == [
        *("low", "low", "high", "high", "max")
    ]
    assert most["thinking"] == {"type": "enabled"}


def test_an_effort_at_groq_is_a_switch_for_qwen_and_steps_for_others():
    qwen, others = efforts("groq", "qwen/qwen3-32b"), efforts("groq", "openai/gpt-oss-20b")

    assert [body["reasoning_effort"] for body in qwen] == ["none", *["default"] * 5]
    assert [body["reasoning_effort"] for body in others] == [
        *("low", "low", "low", "medium", "high", "high")
    ]
    assert all(body["include_reasoning"] is True for body in qwen)


def test_an_effort_at_together_and_openrouter_is_an_object():
    assert efforts("together")[0] == {"reasoning": {"enabled": False}}
    assert efforts("together")[3] == {"reasoning": {"enabled": True}, "reasoning_effort": "medium"}
    assert efforts("openrouter")[5] == {"reasoning": {"effort": "max"}}


def test_a_budget_goes_where_the_vendor_has_one():
    asked = call(params=GenerationParams(reasoning=Reasoning(None, 2048, include_thoughts=False)))

    router, _ = sent("openrouter", asked)
    fires, _ = sent("fireworks", asked)
    _, warnings = sent("xai", asked)

    assert router["reasoning"] == {"max_tokens": 2048, "exclude": True}
    assert fires["reasoning_effort"] == 2048
    assert warnings == [
        ("PARAMETER_DROPPED", "params.reasoning.budget_tokens"),
        ("PARAMETER_DROPPED", "params.reasoning.include_thoughts"),
    ]


def test_a_model_that_always_thinks_is_told_no_effort():
    asked = call(
        model="magistral-medium-2507", params=GenerationParams(reasoning=Reasoning(Effort.LOW))
    )

    body, warnings = sent("mistral", asked)

    assert "reasoning_effort" not in body
    assert warnings == [("PARAMETER_DROPPED", "params.reasoning.effort")]


@every_kind
def test_every_parameter_arrives_or_is_said_to_be_dropped(kind):
    params = GenerationParams(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        max_output_tokens=7,
        stop_sequences=("END",),
        seed=3,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        top_logprobs=2,
    )

    body, warnings = sent(kind, call(params=params), stream=True)

    dropped = {field for _, field in warnings}
    names = {
        "max_output_tokens": ("max_tokens", "max_completion_tokens"),
        "stop_sequences": ("stop",),
    }
    names |= {"seed": ("seed", "random_seed"), "top_logprobs": ("logprobs",)}
    for name in ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", *names):
        arrived = any(word in body for word in names.get(name, (name,)))
        assert arrived != (f"params.{name}" in dropped), name
    assert ("stream_options" in body) == (kind != "mistral")


def test_probabilities_are_a_number_at_together():
    body, _ = sent("together", call(params=GenerationParams(top_logprobs=3)))

    assert body["logprobs"] == 3
    assert "top_logprobs" not in body


def test_a_grok_that_thinks_takes_no_stop_sequences_and_no_penalties():
    asked = call(
        params=GenerationParams(stop_sequences=("a",), frequency_penalty=1.0),
        capabilities=ModelCapabilities(thinking=True),
    )

    body, warnings = sent("xai", asked)

    assert not body.keys() & {"stop", "frequency_penalty"}
    assert [field for _, field in warnings] == [
        "params.frequency_penalty",
        "params.stop_sequences",
    ]


def test_strict_parameters_are_refused_and_not_dropped():
    asked = call(params=GenerationParams(seed=1), strict_params=True)

    with pytest.raises(CapabilityNotSupported) as failure:
        request.body(asked, KINDS["deepseek"], stream=False)

    assert failure.value.metadata["field"] == "params.seed"


def test_tool_choices_are_said_in_the_vendors_words():
    asked = call(tools=(TIME,), tool_choice=ToolChoice(ToolMode.REQUIRED, parallel=False))

    assert sent("mistral", asked)[0]["tool_choice"] == "any"
    assert sent("groq", asked)[0]["tool_choice"] == "required"
    assert sent("together", asked)[1] == [("CONTENT_DROPPED", "tool_choice.parallel")]


def test_deepseek_does_not_think_when_a_tool_is_forced():
    params = GenerationParams(reasoning=Reasoning(Effort.HIGH), temperature=0.5)
    asked = call(tools=(TIME,), tool_choice=ToolChoice(ToolMode.REQUIRED), params=params)

    body, warnings = sent("deepseek", asked)

    assert body["thinking"] == {"type": "disabled"}
    assert body["temperature"] == 0.5
    assert "reasoning_effort" not in body
    assert warnings == [("PARAMETER_DROPPED", "params.reasoning.effort")]


def test_a_vendors_own_tools_are_passed_where_it_has_them():
    tool = ProviderTool("openrouter:web_search", '{"parameters": {"max_results": 3}}')

    body, _ = sent("openrouter", call(tools=(TIME, tool)))

    assert body["tools"][1] == {
        "type": "openrouter:web_search",
        "parameters": {"max_results": 3},
    }
    with pytest.raises(CapabilityNotSupported):
        request.body(call(tools=(tool,)), KINDS["deepseek"], stream=False)


def test_a_model_without_tools_is_sent_none():
    asked = call(tools=(TIME,), capabilities=ModelCapabilities(tools=False))

    with pytest.raises(CapabilityNotSupported) as failure:
        request.body(asked, KINDS["together"], stream=False)

    assert failure.value.metadata == {"field": "tools", "model": "gpt-4o"}


def test_a_schema_is_brought_about_by_a_tool_where_the_vendor_has_no_such_format():
    body, warnings = sent("deepseek", call(response_format=SCHEMA))

    assert body["tool_choice"] == {"type": "function", "function": {"name": "place"}}
    assert body["tools"][0]["function"]["parameters"] == json.loads(SCHEMA.schema_json)
    assert body["thinking"] == {"type": "disabled"}
    assert "response_format" not in body
    assert warnings == [("RESPONSE_FORMAT_EMULATED", "response_format")]


def test_the_tool_that_brings_a_format_about_has_a_name_of_its_own():
    wanted = JsonSchemaFormat("time", "{}")
    asked = call(
        tools=(TIME,), response_format=wanted, capabilities=ModelCapabilities(json_schema=False)
    )

    body, _ = sent("groq", asked)

    assert [tool["function"]["name"] for tool in body["tools"]] == ["time", "time_"]
    assert body["tool_choice"] == "required"


@every_kind
def test_any_json_is_native_everywhere(kind):
    body, warnings = sent(kind, call(response_format=JsonObjectFormat()))

    assert body["response_format"] == {"type": "json_object"}
    assert warnings == []


@pytest.mark.parametrize("kind", ["xai", "groq", "mistral", "openrouter", "together", "fireworks"])
def test_a_schema_goes_over_letter_by_letter(kind):
    sent_body, _ = request.body(call(response_format=SCHEMA), KINDS[kind], stream=False)

    assert SCHEMA.schema_json.encode() in sent_body


def test_of_an_effort_and_a_budget_one_is_left_out_and_said():
    asked = call(params=GenerationParams(reasoning=Reasoning(Effort.LOW, 2048)))

    fires, fire_warnings = sent("fireworks", asked)
    router, router_warnings = sent("openrouter", asked)

    assert fires["reasoning_effort"] == "low"
    assert fire_warnings == [("PARAMETER_DROPPED", "params.reasoning.budget_tokens")]
    assert router["reasoning"] == {"max_tokens": 2048}
    assert router_warnings == [("PARAMETER_DROPPED", "params.reasoning.effort")]


@pytest.mark.parametrize(
    ("kind", "shown", "expected"),
    [
        ("openrouter", True, {"reasoning": {"exclude": False, "enabled": True}}),
        ("openrouter", False, {"reasoning": {"exclude": True}}),
        ("groq", True, {"include_reasoning": True}),
        ("groq", False, {"include_reasoning": False}),
        ("together", None, {}),
        ("deepseek", None, {}),
        ("mistral", None, {}),
        ("xai", None, {}),
        ("fireworks", None, {}),
    ],
)
def test_thoughts_are_shown_or_not_as_the_caller_wants(kind, shown, expected):
    asked = call(params=GenerationParams(reasoning=Reasoning(include_thoughts=shown)))

    body, _ = sent(kind, asked)

    assert {key: body[key] for key in body if key not in ("model", "messages")} == expected


def test_groq_keeps_the_thoughts_of_a_model_that_thinks_out_of_its_text():
    asked = call(capabilities=ModelCapabilities(thinking=True))

    assert sent("groq", asked)[0]["include_reasoning"] is True
    assert "include_reasoning" not in sent("groq", call())[0]


@every_kind
def test_a_model_that_does_not_think_is_told_nothing_of_it(kind):
    can = ModelCapabilities(thinking=False)
    asked = call(params=GenerationParams(reasoning=Reasoning(Effort.HIGH)), capabilities=can)
    off = call(params=GenerationParams(reasoning=Reasoning(Effort.NONE)), capabilities=can)

    body, warnings = sent(kind, asked)

    assert body.keys() == {"model", "messages"}
    assert warnings == [("PARAMETER_DROPPED", "params.reasoning.effort")]
    assert sent(kind, off) == (body, [])


def test_a_model_with_neither_the_format_nor_tools_is_refused():
    can = ModelCapabilities(json_schema=False, tools=False)

    with pytest.raises(CapabilityNotSupported) as failure:
        request.body(call(response_format=SCHEMA, capabilities=can), KINDS["groq"], stream=False)

    assert failure.value.metadata == {"field": "response_format", "model": "gpt-4o"}


def test_any_json_is_brought_about_by_a_tool_where_the_model_lacks_it():
    can = ModelCapabilities(json_object=False)

    body, warnings = sent("together", call(response_format=JsonObjectFormat(), capabilities=can))

    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert body["tool_choice"]["function"]["name"] == "json"
    assert warnings == [("RESPONSE_FORMAT_EMULATED", "response_format")]
