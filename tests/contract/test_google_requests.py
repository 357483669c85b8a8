"""The bodies that calls become for Google's models."""

import json

import pytest
from calls import call, message, user
from google.genai import types
from google_oracle import sent_body

from llm_service import errors
from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    CacheControl,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Part,
    ProviderTool,
    Role,
    Text,
    TextFormat,
    ToolChoice,
    ToolMode,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers.gemini import request, tools
from llm_service.providers.gemini.door import Door

GEMINI, VERTEX = Door(), Door("p-1", "europe-west4")
THIRD, SECOND = "gemini-3.8-flash", "gemini-2.5-flash"
SCHEMA = '{"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}}'
WEATHER = FunctionTool("weather", "Tells the weather.", SCHEMA)
TIME = FunctionTool("time")


def shaped(asked, door=GEMINI) -> request.Body:
    return request.body(asked, door)


def body(asked, door=GEMINI) -> dict:
    return json.loads(shaped(asked, door).encoded())


def warned(asked, door=GEMINI) -> list[tuple[str, str]]:
    return [(warning.reason, warning.field) for warning in shaped(asked, door).warnings]


async def test_a_body_is_what_the_sdk_would_send():
    asked = call(
        message(Role.SYSTEM, "Be brief."),
        user("Weather?"),
        model=SECOND,
        tools=(WEATHER,),
        tool_choice=ToolChoice(ToolMode.REQUIRED, ("weather",)),
        params=GenerationParams(
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            max_output_tokens=100,
            stop_sequences=("END",),
            seed=7,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            top_logprobs=3,
            reasoning=Reasoning(budget_tokens=512, include_thoughts=True),
        ),
    )

    theirs = await sent_body(
        model=SECOND,
        contents="Weather?",
        config=types.GenerateContentConfig(
            system_instruction="Be brief.",
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            max_output_tokens=100,
            stop_sequences=["END"],
            seed=7,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            response_logprobs=True,
            logprobs=3,
            thinking_config=types.ThinkingConfig(thinking_budget=512, include_thoughts=True),
            tools=[
                types.Tool(
                    function_declarations=[
                        types.FunctionDeclaration(
                            name="weather",
                            description="Tells the weather.",
                            parameters_json_schema=json.loads(SCHEMA),
                        )
                    ]
                )
            ],
            tool_config=types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(
                    mode="ANY", allowed_function_names=["weather"]
                )
            ),
        ),
    )
    assert body(asked) == camel_case(theirs)


def camel_case(theirs: dict) -> dict:
    """The names the SDK leaves as its callers wrote them, which Google reads both ways."""
    theirs["systemInstruction"].pop("role", None)
    thinking = theirs["generationConfig"]["thinkingConfig"]
    theirs["generationConfig"]["thinkingConfig"] = {
        tools.camel(name): value for name, value in thinking.items()
    }
    declared = theirs["tools"][0]["functionDeclarations"][0]
    declared["parametersJsonSchema"] = declared.pop("parameters_json_schema")
    return theirs


def test_a_schema_keeps_its_bytes():
    asked = call(tools=(WEATHER,), response_format=JsonSchemaFormat("x", SCHEMA), model=THIRD)

    assert shaped(asked).encoded().count(SCHEMA.encode()) == 2


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (None, None),
        (ToolChoice(), None),
        (ToolChoice(ToolMode.AUTO), {"mode": "AUTO"}),
        (ToolChoice(ToolMode.NONE), {"mode": "NONE"}),
        (ToolChoice(ToolMode.REQUIRED), {"mode": "ANY"}),
        (
            ToolChoice(ToolMode.REQUIRED, ("time",)),
            {"mode": "ANY", "allowedFunctionNames": ["time"]},
        ),
        (
            ToolChoice(None, ("time",)),
            {"mode": "VALIDATED", "allowedFunctionNames": ["time"]},
        ),
    ],
)
def test_each_choice_among_tools_has_its_mode(choice, config):
    sent = body(call(tools=(WEATHER, TIME), tool_choice=choice))

    assert sent.get("toolConfig", {}).get("functionCallingConfig") == config


def test_strict_tools_are_validated():
    sent = body(call(tools=(FunctionTool("time", strict=True),)))

    assert sent["toolConfig"]["functionCallingConfig"] == {"mode": "VALIDATED"}


def test_several_calls_at_once_cannot_be_forbidden_and_that_is_said():
    asked = call(tools=(TIME,), tool_choice=ToolChoice(parallel=False))

    assert warned(asked) == [("CONTENT_DROPPED", "tool_choice.parallel")]


def test_the_providers_tools_go_over_with_their_settings():
    search = ProviderTool("google_search", '{"timeRangeFilter": {}}')

    sent = body(call(tools=(TIME, search, ProviderTool("urlContext")), model=THIRD))

    assert sent["tools"][1:] == [{"googleSearch": {"timeRangeFilter": {}}}, {"urlContext": {}}]
    assert sent["toolConfig"] == {"includeServerSideToolInvocations": True}


@pytest.mark.parametrize(
    ("name", "door"),
    [("web_search_20260209", GEMINI), ("retrieval", GEMINI), ("fileSearch", VERTEX)],
)
def test_a_tool_the_door_has_not_is_refused_by_name(name, door):
    with pytest.raises(errors.CapabilityNotSupported) as failure:
        body(call(tools=(ProviderTool(name),)), door)

    assert failure.value.metadata["field"] == "tools[0].provider"


def test_tools_of_the_providers_are_forbidden_by_leaving_them_out():
    choice = ToolChoice(ToolMode.NONE)

    sent = body(call(tools=(TIME, ProviderTool("codeExecution")), tool_choice=choice))

    assert sent["tools"] == [{"functionDeclarations": [{"name": "time"}]}]


def test_tools_of_the_providers_cannot_be_forced():
    with pytest.raises(errors.CapabilityNotSupported) as failure:
        body(call(tools=(ProviderTool("urlContext"),), tool_choice=ToolChoice(ToolMode.REQUIRED)))

    assert failure.value.metadata["field"] == "tool_choice.mode"


def test_a_model_without_tools_refuses_them_before_dialling():
    with pytest.raises(errors.CapabilityNotSupported):
        body(call(tools=(TIME,), capabilities=ModelCapabilities(tools=False)))


def test_a_schema_is_native_and_json_without_one_too():
    fitted = body(call(response_format=JsonSchemaFormat("x", SCHEMA)))["generationConfig"]
    free = body(call(response_format=JsonObjectFormat()))["generationConfig"]

    assert fitted["responseMimeType"] == "application/json"
    assert fitted["responseJsonSchema"] == json.loads(SCHEMA)
    assert free == {"responseMimeType": "application/json"}
    assert "generationConfig" not in body(call(response_format=TextFormat()))


def test_a_schema_beside_tools_is_native_for_the_third_generation():
    asked = call(tools=(TIME,), response_format=JsonSchemaFormat("x", SCHEMA), model=THIRD)

    assert "responseJsonSchema" in body(asked)["generationConfig"]
    assert warned(asked) == []


def test_a_schema_beside_tools_is_emulated_for_the_second_generation():
    asked = call(
        tools=(TIME, FunctionTool("answer")),
        response_format=JsonSchemaFormat("x", SCHEMA),
        model=SECOND,
    )

    sent = shaped(asked)

    declared = sent.fields["tools"][0]["functionDeclarations"]
    assert [tool["name"] for tool in declared] == ["time", "answer", "answer_"]
    assert sent.answer_tool == "answer_"
    assert sent.fields["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert "generationConfig" not in sent.fields
    assert warned(asked) == [("RESPONSE_FORMAT_EMULATED", "response_format")]


def test_a_schema_beside_forbidden_tools_is_native_without_them():
    asked = call(
        tools=(TIME, ProviderTool("codeExecution")),
        tool_choice=ToolChoice(ToolMode.NONE),
        response_format=JsonSchemaFormat("x", SCHEMA),
        model=SECOND,
    )

    sent = body(asked)

    assert "tools" not in sent
    assert "toolConfig" not in sent
    assert "responseJsonSchema" in sent["generationConfig"]


def test_a_format_the_model_has_not_is_emulated_or_refused():
    wanted = JsonSchemaFormat("x", SCHEMA)
    emulated = shaped(
        call(response_format=wanted, capabilities=ModelCapabilities(json_schema=False))
    )

    with pytest.raises(errors.CapabilityNotSupported):
        body(
            call(
                response_format=wanted,
                capabilities=ModelCapabilities(json_schema=False, tools=False),
            )
        )

    assert emulated.answer_tool == "answer"


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        (SECOND, Effort.NONE, {"thinkingBudget": 0}),
        (SECOND, Effort.LOW, {"thinkingBudget": 1024}),
        (SECOND, Effort.MEDIUM, {"thinkingBudget": 8192}),
        (SECOND, Effort.MAX, {"thinkingBudget": 24576}),
        ("gemini-2.5-pro", Effort.NONE, {"thinkingBudget": 128}),
        ("gemini-2.5-pro", Effort.MAX, {"thinkingBudget": 32768}),
        (THIRD, Effort.MINIMAL, {"thinkingLevel": "LOW"}),
        (THIRD, Effort.MEDIUM, {"thinkingLevel": "MEDIUM"}),
        (THIRD, Effort.MAX, {"thinkingLevel": "HIGH"}),
        ("gemini-3-flash-preview", Effort.MINIMAL, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.5-flash-lite", Effort.NONE, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro-preview", Effort.MEDIUM, {"thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro-preview", Effort.MEDIUM, {"thinkingLevel": "MEDIUM"}),
        ("gemini-2.0-flash", Effort.HIGH, None),
        ("gemini-2.0-flash", Effort.NONE, None),
    ],
)
def test_an_effort_is_a_budget_or_a_level_by_the_model(model, effort, config):
    params = GenerationParams(reasoning=Reasoning(effort=effort))

    sent = body(call(model=model, params=params))

    assert sent.get("generationConfig", {}).get("thinkingConfig") == config


@pytest.mark.parametrize(
    ("model", "reasoning", "fields"),
    [
        (THIRD, Reasoning(Effort.NONE), ["params.reasoning.effort"]),
        (THIRD, Reasoning(Effort.LOW, 100), ["params.reasoning.budget_tokens"]),
        (SECOND, Reasoning(Effort.LOW, 100), ["params.reasoning.effort"]),
        ("gemini-2.5-pro", Reasoning(Effort.NONE), ["params.reasoning.effort"]),
        (
            "gemini-2.0-flash",
            Reasoning(Effort.LOW, 100, include_thoughts=True),
            [
                "params.reasoning.effort",
                "params.reasoning.budget_tokens",
                "params.reasoning.include_thoughts",
            ],
        ),
        ("gemini-2.0-flash", Reasoning(Effort.NONE, 0, include_thoughts=False), []),
    ],
)
def test_what_of_reasoning_a_model_cannot_do_is_said(model, reasoning, fields):
    params = GenerationParams(reasoning=reasoning)

    assert warned(call(model=model, params=params)) == [("PARAMETER_DROPPED", f) for f in fields]
    if fields:
        with pytest.raises(errors.CapabilityNotSupported):
            body(call(model=model, params=params, strict_params=True))


def test_a_budget_alone_goes_to_every_model_that_thinks():
    params = GenerationParams(reasoning=Reasoning(budget_tokens=200, include_thoughts=False))

    for model in (SECOND, THIRD):
        config = body(call(model=model, params=params))["generationConfig"]["thinkingConfig"]
        assert config == {"thinkingBudget": 200, "includeThoughts": False}


def test_parameters_the_model_does_not_take_are_left_out_and_said():
    params = GenerationParams(
        temperature=1.0, top_k=3, presence_penalty=1.0, seed=2**40, top_logprobs=2
    )
    none = ModelCapabilities(sampling=False, logprobs=False)

    asked = call(params=params, capabilities=none)

    assert "generationConfig" not in body(asked)
    assert [field for _, field in warned(asked)] == [
        "params.temperature",
        "params.top_k",
        "params.presence_penalty",
        "params.top_logprobs",
        "params.seed",
    ]


def test_options_add_to_the_body_and_to_its_settings():
    options = {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cached_content": "cachedContents/x",
        "generationConfig": {"response_modalities": ["TEXT", "IMAGE"], "temperature": 0.1},
        "tool_config": {"functionCallingConfig": {"streamFunctionCallArguments": True}},
    }
    params = GenerationParams(temperature=0.9, top_p=0.5)
    choice = ToolChoice(ToolMode.AUTO)

    sent = body(
        call(params=params, tools=(TIME,), tool_choice=choice, options_json=json.dumps(options))
    )

    assert sent["cachedContent"] == "cachedContents/x"
    assert sent["safetySettings"] == options["safetySettings"]
    assert sent["generationConfig"] == {
        "temperature": 0.1,
        "topP": 0.5,
        "responseModalities": ["TEXT", "IMAGE"],
    }
    assert sent["toolConfig"]["functionCallingConfig"] == {
        "mode": "AUTO",
        "streamFunctionCallArguments": True,
    }


@pytest.mark.parametrize(
    "options",
    [
        '{"contents": []}',
        '{"system_instruction": {}}',
        '{"tools": []}',
        '{"model": "x"}',
        '{"generationConfig": {"candidateCount": 2}}',
        '{"generationConfig": 3}',
        "[]",
        "{",
    ],
)
def test_options_may_not_say_what_the_request_decides(options):
    with pytest.raises(errors.InvalidField) as failure:
        body(call(options_json=options))

    assert failure.value.violations[0].field == "provider_options_json"


def test_cache_control_is_not_taken_and_that_is_said():
    asked = call(user(Part(Text("Long"), cache_control=CacheControl())))

    assert warned(asked) == [("CONTENT_DROPPED", "messages[0].parts")]
