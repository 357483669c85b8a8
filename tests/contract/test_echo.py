"""Echo, the model without a network."""

import math

import pytest
from calls import SECOND, call, message, user

from llm_service.domain.completion import FinishReason, GenerationParams, PartDelta, TokenUsage
from llm_service.domain.content import (
    FunctionTool,
    Media,
    Modality,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers.base import Account, EmbeddingsCall, Ended
from llm_service.providers.echo import connect
from llm_service.providers.fold import fold

WEATHER = FunctionTool("weather")


def echo(**settings: str):
    return connect(Account("", settings), egress=None)


async def streamed(adapter, asked) -> list:
    return [event async for batch in adapter.stream(asked) for event in batch]


async def test_it_answers_with_the_last_user_message_and_counts_words():
    asked = call(message(Role.SYSTEM, "be brief"), user("first"), user("one two  three\n"))

    answer = await echo().complete(asked)

    assert [part.content for part in answer.parts] == [Text("one two  three\n")]
    assert answer.finish_reason is FinishReason.STOP
    assert answer.usage == TokenUsage(input_tokens=6, output_tokens=3)


async def test_it_streams_word_by_word():
    events = await streamed(echo(), call(user(" one two  three")))

    deltas = [event.text for event in events if isinstance(event, PartDelta)]
    assert deltas == [" ", "one ", "two  ", "three"]


@pytest.mark.parametrize(
    "asked",
    [
        call(user("one two three")),
        call(user("")),
        call(user("one two three"), params=GenerationParams(max_output_tokens=2)),
        call(user('call weather {"city":"Bern"}'), tools=(WEATHER,)),
        call(user("call weather"), tools=(WEATHER,)),
        call(params=GenerationParams(temperature=0.5)),
    ],
)
async def test_a_streamed_answer_is_the_whole_answer(asked):
    adapter = echo(prefix="You said: ")

    whole = await adapter.complete(asked)

    assert fold(await streamed(adapter, asked)) == whole


@pytest.mark.parametrize(
    ("params", "text", "reason"),
    [
        (GenerationParams(max_output_tokens=2), "a b ", FinishReason.MAX_OUTPUT_TOKENS),
        (GenerationParams(max_output_tokens=4), "a b c d", FinishReason.STOP),
        (GenerationParams(stop_sequences=("d", " c")), "a b", FinishReason.STOP_SEQUENCE),
        (
            GenerationParams(max_output_tokens=1, stop_sequences=("d",)),
            "a ",
            FinishReason.MAX_OUTPUT_TOKENS,
        ),
    ],
)
async def test_it_stops_where_it_is_told_to(params, text, reason):
    answer = await echo().complete(call(user("a b c d"), params=params))

    assert answer.parts[0].content == Text(text)
    assert answer.finish_reason is reason


async def test_it_calls_a_tool_it_is_asked_to_call_and_echoes_the_result():
    asking = user('call weather {"city": "Bern"}')
    first = await echo().complete(call(asking, tools=(WEATHER,)))
    (called,) = (part.content for part in first.parts)
    assert called == ToolCall("call_1", "weather", '{"city": "Bern"}')
    assert first.finish_reason is FinishReason.TOOL_CALLS

    result = ToolResult(called.id, called.name, user("rain").parts)
    second = await echo().complete(
        call(
            asking,
            message(Role.ASSISTANT, called),
            message(Role.TOOL, result),
            tools=(WEATHER,),
        )
    )

    assert second.parts[0].content == Text("rain")


async def test_it_does_not_call_a_tool_nobody_offers():
    answer = await echo().complete(call(user("call weather {}")))

    assert answer.parts[0].content == Text("call weather {}")


async def test_it_says_what_it_leaves_out():
    answer = await echo().complete(call(params=GenerationParams(temperature=0.0, top_k=3)))

    assert [(w.reason, w.field) for w in answer.warnings] == [
        ("PARAMETER_DROPPED", "params.temperature"),
        ("PARAMETER_DROPPED", "params.top_k"),
    ]


async def test_it_refuses_what_it_would_leave_out_for_a_strict_caller():
    asked = call(params=GenerationParams(max_output_tokens=1, seed=1), strict_params=True)

    for answer in (echo().complete(asked), streamed(echo(), asked)):
        with pytest.raises(CapabilityNotSupported) as failure:
            await answer
        assert failure.value.metadata["field"] == "params.seed"


async def test_it_serves_a_strict_caller_who_asks_for_nothing_it_leaves_out():
    asked = call(user("a b"), params=GenerationParams(max_output_tokens=1), strict_params=True)

    answer = await echo().complete(asked)

    assert answer.parts[0].content == Text("a ")
    assert answer.warnings == ()


async def test_it_counts_exactly():
    count = await echo().count_tokens(call(user("one two")))

    assert (count.input_tokens, count.estimated) == (2, False)


async def test_it_streams_at_the_pace_that_is_set(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("llm_service.providers.echo.asyncio.sleep", sleep)

    events = await streamed(echo(tokens_per_second="50"), call(user("one two")))

    assert isinstance(events[-1], Ended)
    assert pauses == [0.02, 0.02]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"tokens_per_second": "fast"}, "tokens_per_second"),
        ({"tokens_per_second": "-1"}, "tokens_per_second"),
        ({"tokens_per_second": "nan"}, "tokens_per_second"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_setting_it_does_not_know_is_named(settings, field):
    with pytest.raises(InvalidField) as failure:
        echo(**settings)

    assert [violation.field for violation in failure.value.violations] == [
        f"provider.settings.{field}"
    ]


# --- embeddings -----------------------------------------------------------------------------------


def embedding(*inputs, **fields) -> EmbeddingsCall:
    inputs = tuple(Text(one) if isinstance(one, str) else one for one in inputs)
    return EmbeddingsCall(inputs, "echo-1", SECOND, **fields)


async def test_the_same_text_has_the_same_direction_everywhere():
    first = await echo().embed(embedding("one two", "three", "one two"))
    again = await echo().embed(embedding("three"))

    assert [len(vector) for vector in first.vectors] == [8, 8, 8]
    assert first.vectors[0] == first.vectors[2] != first.vectors[1] == again.vectors[0]
    assert all(math.isclose(math.hypot(*vector), 1.0) for vector in first.vectors)
    assert first.usage == TokenUsage(5)
    assert first.warnings == ()


async def test_vectors_are_as_long_as_asked_for():
    answer = await echo().embed(embedding("", dimensions=3))

    assert len(answer.vectors[0]) == 3


async def test_it_says_that_it_does_not_tell_tasks_apart():
    answer = await echo().embed(embedding("a", task="query"))

    assert [(w.reason, w.field) for w in answer.warnings] == [("PARAMETER_DROPPED", "task")]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (embedding("a", Media(Modality.IMAGE, uri="https://a.example/x")), "inputs[1].image"),
        (embedding("a", dimensions=4097), "dimensions"),
    ],
)
async def test_it_says_what_it_cannot_embed(asked, field):
    with pytest.raises(CapabilityNotSupported) as failure:
        await echo().embed(asked)

    assert failure.value.metadata == {"field": field, "model": "echo-1"}
