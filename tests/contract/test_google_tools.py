"""Tools that Google runs, formats of models without any, and what else is rare in a request."""

import json

import pytest
from calls import call, message, user
from google_wire import answered, chunk, whole

from llm_service import errors
from llm_service.domain.completion import GenerationParams, Reasoning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    Media,
    Modality,
    Part,
    ProviderTool,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers.gemini import request
from llm_service.providers.gemini.door import Door

TIME = FunctionTool("time")


def body(asked) -> dict:
    return json.loads(request.body(asked, Door()).encoded())


@pytest.mark.parametrize("config", ['{"name": "x"}', '[{"name": "x"}]'])
def test_a_tool_that_is_a_list_takes_one_or_several(config):
    sent = body(call(tools=(ProviderTool("mcp_servers", config),)))

    assert sent["tools"] == [{"mcpServers": [{"name": "x"}]}]


@pytest.mark.parametrize(
    "tool",
    [
        ProviderTool("mcpServers"),
        ProviderTool("mcpServers", "{"),
        ProviderTool("googleSearch", "[]"),
        FunctionTool("time", parameters_schema_json="[]"),
    ],
)
def test_a_tool_whose_settings_are_no_object_is_refused(tool):
    with pytest.raises(errors.InvalidField) as failure:
        body(call(tools=(tool,)))

    assert failure.value.violations[0].field.startswith("tools[0].")


def test_a_model_without_formats_calls_a_tool_that_takes_any_object():
    asked = call(model="gemma-3-27b-it", response_format=JsonObjectFormat())

    sent = request.body(asked, Door())

    [declared] = body(asked)["tools"][0]["functionDeclarations"]
    assert sent.answer_tool == declared["name"] == "answer"
    assert declared["parametersJsonSchema"] == {"type": "object"}


def test_an_emulated_format_keeps_to_the_tools_that_are_allowed():
    can = ModelCapabilities(json_object=False)
    choice = ToolChoice(ToolMode.AUTO, ("time",))
    forbidden = ToolChoice(ToolMode.NONE)

    some = body(
        call(
            tools=(TIME, FunctionTool("x")),
            tool_choice=choice,
            response_format=JsonObjectFormat(),
            capabilities=can,
        )
    )
    none = body(
        call(
            tools=(TIME,),
            tool_choice=forbidden,
            response_format=JsonObjectFormat(),
            capabilities=can,
        )
    )

    calling = some["toolConfig"]["functionCallingConfig"]
    assert calling == {"mode": "ANY", "allowedFunctionNames": ["time", "answer"]}
    assert [tool["name"] for tool in none["tools"][0]["functionDeclarations"]] == ["answer"]


def test_reasoning_that_asks_nothing_sends_nothing():
    params = GenerationParams(reasoning=Reasoning())

    assert "generationConfig" not in body(call(model="gemini-2.5-pro", params=params))
    assert "generationConfig" not in body(call(model="gemini-3.8-flash", params=params))


def test_a_file_may_be_named_by_its_address():
    file = Media(Modality.IMAGE, file_id="https://x/v1beta/files/a", mime_type="image/png")

    [said] = body(call(user(file)))["contents"]

    assert said["parts"][0]["fileData"]["fileUri"] == "https://x/v1beta/files/a"


def test_an_assistant_says_no_results():
    result = ToolResult("c-1", "time", (Part(Text("Noon")),))

    with pytest.raises(errors.CapabilityNotSupported):
        body(call(user("Hi"), message(Role.ASSISTANT, result)))


def test_the_signature_of_an_emulated_call_is_not_kept_with_its_text():
    calling = {"functionCall": {"name": "answer", "args": {}}, "thoughtSignature": "c2ln"}

    answer = answered(chunk(calling, finish="STOP"), answer_tool="answer")

    assert answer.parts == (Part(Text("{}")),)


def test_probabilities_may_come_after_their_text():
    said = {"chosenCandidates": [{"token": "Hi", "logProbability": -1}]}

    answer = answered(chunk({"text": "Hi"}), chunk(finish="STOP", logprobsResult=said))

    assert [token.token for token in answer.parts[0].logprobs] == ["Hi"]


@pytest.mark.parametrize(
    ("segment", "place"),
    [
        ({"startIndex": 900, "endIndex": 950, "text": "þú"}, (3, 5)),
        ({"startIndex": 4, "endIndex": 8}, (3, 5)),
        ({"startIndex": 900, "endIndex": 950}, (0, 0)),
        ({"startIndex": 900, "endIndex": 950, "text": "nowhere"}, (0, 0)),
        ({"startIndex": -4, "endIndex": "x"}, (0, 0)),
    ],
)
def test_a_place_is_found_by_its_words_or_it_is_none(segment, place):
    answer = whole(
        {"text": "Hæ þú"},
        groundingMetadata={
            "groundingChunks": [{"web": {"uri": "https://a"}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0, "x"]}],
        },
    )

    [citation] = answer.parts[0].citations
    assert (citation.start_index, citation.end_index) == place


def test_sources_of_an_answer_without_text_are_cited_all_the_same():
    call_part = {"functionCall": {"name": "time"}}

    answer = whole(
        call_part, groundingMetadata={"groundingChunks": [{"web": {"uri": "https://a"}}]}
    )

    assert [type(part.content) for part in answer.parts] == [ToolCall, Text, Text]
    assert answer.parts[1].citations[0].uri == "https://a"
