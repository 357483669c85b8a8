"""What holds for the answers of every kind, against its vendor's wire."""

import json

import pytest
from calls import call, message, user
from every_vendor import KINDS, connected
from fakes.said import Call as Called
from fakes.said import Finish, Said, Tokens
from shared_calls import alike, streamed, whole

from llm_service.domain.completion import FinishReason
from llm_service.domain.content import (
    FunctionTool,
    JsonSchemaFormat,
    Media,
    Modality,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
WEATHER = FunctionTool(
    "weather",
    "Tells the weather.",
    '{"type": "object", "properties": {"z_city": {"type": "string"}, "a_day": {"type": "string"}}}',
)
CITY = '{"z_city": "Hafnarfj\\u00f6r\\u00f0ur \\"x\\"", "a_day": "tomorrow"}'
CALLS = (Called("call-1", "weather", CITY), Called("call-2", "weather", "{}"))
PNG = Media(Modality.IMAGE, data=b"\x89PNG\r\n", mime_type="image/png")


def those_that(can: str) -> tuple:
    """The kinds of which it is true, and their names."""
    kinds = [kind for kind in KINDS.values() if getattr(kind, can)]
    return ([pytest.param(kind, id=kind.label) for kind in kinds],)


async def both(kind, asked, said):
    """The answer whole and streamed: the same."""
    async with connected(kind) as (vendor, adapter):
        answer = await whole(kind, vendor, adapter, asked, said)
        again = await streamed(kind, vendor, adapter, asked, said)
    assert alike(answer) == alike(again)
    return answer


def contents(answer, kind):
    return [part.content for part in answer.parts if isinstance(part.content, kind)]


@every_kind
async def test_text_comes_whole_and_streamed_alike(kind):
    answer = await both(kind, call(model=kind.model), Said(text="Góðan daginn, 世界! 👋"))

    assert contents(answer, Text) == [Text("Góðan daginn, 世界! 👋")]
    assert answer.finish_reason is FinishReason.STOP
    assert answer.provider_model


@every_kind
async def test_usage_is_inclusive_and_the_same_whole_and_streamed(kind):
    tokens = Tokens(input=100, output=30, cache_read=40, reasoning=10)

    answer = await both(kind, call(model=kind.model), Said(text="Hi", tokens=tokens))

    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens) == (100, 30)
    assert usage.cache_read_input_tokens in (40, 0)
    assert usage.reasoning_output_tokens in (10, 0)
    assert not usage.estimated


@every_kind
async def test_parallel_tool_calls_keep_their_ids_names_and_exact_arguments(kind):
    asked = call(model=kind.model, tools=(WEATHER,))

    answer = await both(kind, asked, Said(calls=CALLS, finish=Finish.TOOL_CALLS))

    calls = contents(answer, ToolCall)
    assert [c.name for c in calls] == ["weather", "weather"]
    assert json.loads(calls[0].arguments_json) == json.loads(CITY)
    assert json.loads(calls[1].arguments_json or "{}") == {}
    assert len({c.id for c in calls}) == 2
    assert all(c.id for c in calls)
    assert answer.finish_reason is FinishReason.TOOL_CALLS


@every_kind
async def test_the_results_of_tools_are_taken_in_the_next_turn(kind):
    first = call(user("Weather?"), model=kind.model, tools=(WEATHER,))
    async with connected(kind) as (vendor, adapter):
        said = Said(text="Let me look.", calls=CALLS, finish=Finish.TOOL_CALLS)
        answer = await whole(kind, vendor, adapter, first, said)
        results = [
            ToolResult(c.id, c.name, (Part(Text(f"Rain in {n}")),))
            for n, c in enumerate(contents(answer, ToolCall))
        ]
        turns = (user("Weather?"), message(Role.ASSISTANT, *answer.parts))
        second = call(*turns, message(Role.TOOL, *results), model=kind.model, tools=(WEATHER,))

        answer = await whole(kind, vendor, adapter, second, Said(text="It rains."))

        assert b"Rain in 0" in vendor.asked[-1].body
        assert b"Rain in 1" in vendor.asked[-1].body
    assert contents(answer, Text) == [Text("It rains.")]


@every_kind
async def test_an_image_arrives_or_is_refused_before_dialling(kind):
    asked = call(user("What is this?", PNG), model=kind.model)
    refusal = None
    async with connected(kind) as (vendor, adapter):
        try:
            await whole(kind, vendor, adapter, asked, Said(text="A dot."))
        except CapabilityNotSupported as error:
            refusal = error

    if refusal is None:
        assert b"iVBORw0K" in vendor.asked[-1].body
    else:
        assert refusal.metadata["field"].startswith("messages[0].parts[1]")
        assert refusal.metadata["model"] == kind.model
        assert not vendor.asked


@pytest.mark.parametrize("kind", *those_that("thinks"))
async def test_thinking_and_its_signature_make_the_round_trip_over_two_turns(kind):
    said = Said(
        thinking="Clouds, I see.",
        signature="c2lnbmF0dXJl",
        text="One moment.",
        calls=CALLS[:1],
        finish=Finish.TOOL_CALLS,
    )
    first = call(user("Weather?"), model=kind.model, tools=(WEATHER,))
    async with connected(kind) as (vendor, adapter):
        answer = await streamed(kind, vendor, adapter, first, said)
        [called] = contents(answer, ToolCall)
        result = ToolResult(called.id, called.name, (Part(Text("Rain")),))
        turns = (user("Weather?"), message(Role.ASSISTANT, *answer.parts))
        second = call(*turns, message(Role.TOOL, result), model=kind.model, tools=(WEATHER,))

        await streamed(kind, vendor, adapter, second, Said(text="Rain."))

        again = vendor.asked[-1].body
    if kind.signs:
        assert b"c2lnbmF0dXJl" in again
    elif any(part.provider_state for part in answer.parts):
        assert b"Clouds, I see." in again
    assert "".join(thought.text for thought in contents(answer, Thinking)) == "Clouds, I see."


@every_kind
async def test_structured_output_is_text_that_is_json(kind):
    schema = '{"type": "object", "properties": {"city": {"type": "string"}}}'
    wanted = JsonSchemaFormat("place", schema)
    asked = call(model=kind.model, response_format=wanted)

    answer = await both(kind, asked, Said(text='{"city": "Vík"}'))

    assert json.loads("".join(text.text for text in contents(answer, Text))) == {"city": "Vík"}
    assert answer.finish_reason is FinishReason.STOP
    assert not contents(answer, ToolCall)


@every_kind
async def test_an_answer_at_its_limit_is_told_from_a_whole_one(kind):
    answer = await both(kind, call(model=kind.model), Said(text="Well", finish=Finish.LENGTH))

    assert answer.finish_reason is FinishReason.MAX_OUTPUT_TOKENS
    assert answer.provider_finish_reason


@pytest.mark.parametrize("kind", *those_that("filters"))
async def test_what_a_filter_cut_off_is_a_result(kind):
    said = Said(text="Well", finish=Finish.CONTENT_FILTER)

    answer = await both(kind, call(model=kind.model), said)

    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.provider_finish_reason


@pytest.mark.parametrize("kind", *those_that("refuses"))
async def test_a_refusal_is_a_result(kind):
    answer = await both(
        kind, call(model=kind.model), Said(refusal="I would rather not.", finish=Finish.REFUSAL)
    )

    assert answer.finish_reason is FinishReason.REFUSAL
    assert contents(answer, Refusal) in ([Refusal("I would rather not.")], [])
