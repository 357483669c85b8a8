"""What answers of the Messages API say they used."""

import json
from dataclasses import replace

import pytest
from anthropic_wire import END, decoder, read, read_events, sse, start, stop, text

from llm_service.domain.completion import TokenUsage, UsageUpdate
from llm_service.domain.content import ProviderToolUse
from llm_service.providers.fold import fold

CACHED = {
    "input_tokens": 10,
    "cache_read_input_tokens": 200,
    "cache_creation_input_tokens": 3000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 4},
}
INCLUSIVE = TokenUsage(3210, 7, 200, 3000, 4, cache_write_1h_input_tokens=2000)


def whole(usage):
    message = {"content": [], "stop_reason": "end_turn", "usage": usage}
    return fold(decoder().whole(json.dumps(message).encode())).usage


def streamed(first, last):
    return read_events(start(usage=first), *text("Hi"), stop(usage=last), END).usage


def test_totals_include_what_was_cached():
    assert whole(CACHED) == INCLUSIVE


def test_a_stream_says_the_same_in_two_reports():
    first = CACHED | {"output_tokens": 1, "output_tokens_details": None}
    last = {name: CACHED[name] for name in ("output_tokens", "output_tokens_details")}

    assert streamed(first, last) == INCLUSIVE


def test_the_last_report_replaces_what_it_names_and_nothing_else():
    usage = streamed(
        CACHED, {"input_tokens": 20, "output_tokens": 9, "cache_read_input_tokens": None}
    )

    assert (usage.input_tokens, usage.output_tokens) == (3220, 9)
    assert usage.cache_read_input_tokens == 200


def test_updates_come_as_the_vendor_reports():
    events = read([sse(start()), sse(*text("Hi")), sse(stop()), sse(END)])

    updates = [event.usage for event in events if isinstance(event, UsageUpdate)]
    assert updates == [TokenUsage(10, 1), TokenUsage(10, 5)]


def test_writes_are_known_by_their_kinds_too():
    kinds = {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}
    usage = whole({"input_tokens": 10, "output_tokens": 1, "cache_creation": kinds})

    assert (usage.input_tokens, usage.cache_write_input_tokens) == (13, 3)
    assert usage.cache_write_1h_input_tokens == 2


def test_a_compaction_is_part_of_what_the_answer_used():
    made = {"type": "compaction", "input_tokens": 1000, "output_tokens": 50}
    own = {"type": "message", "input_tokens": 10, "output_tokens": 7}
    odd = [None, {"type": []}, {"type": "compaction", "input_tokens": -1, "output_tokens": "x"}]

    usage = whole({"input_tokens": 10, "output_tokens": 7, "iterations": [made, own, *odd]})

    assert usage == TokenUsage(1010, 57)


def test_what_another_model_used_is_kept_beside_the_answer():
    other = {"type": "advisor_message", "model": "m", "input_tokens": 5, "output_tokens": 5}
    usage = {"input_tokens": 10, "output_tokens": 7, "iterations": [other]}

    answer = read_events(start(), *text("Hi"), stop(usage=usage), END)

    assert replace(answer.usage, provider_tool_uses=()) == TokenUsage(10, 7)
    assert answer.usage.provider_tool_uses == (ProviderToolUse("advisor-message", 1),)
    state = json.loads(answer.parts[-1].provider_state.data)
    assert state == {"message": {"iterations": [other]}}


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "many",
        {},
        {"input_tokens": 1},
        {"output_tokens": 1},
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": 1, "output_tokens": 10**12},
        {"input_tokens": True, "output_tokens": 1},
        {"input_tokens": 2**31 - 1, "output_tokens": 1, "cache_read_input_tokens": 1},
    ],
)
def test_what_cannot_be_believed_was_not_said(said):
    assert whole(said) is None


def test_subsets_that_are_larger_than_their_whole_are_not_believed():
    usage = whole(
        {
            "input_tokens": 5,
            "output_tokens": 5,
            "cache_creation_input_tokens": 1,
            "cache_read_input_tokens": -3,
            "cache_creation": {"ephemeral_1h_input_tokens": 9},
            "output_tokens_details": {"thinking_tokens": 99},
        }
    )

    assert usage == TokenUsage(6, 5, 0, 1)
