"""Recorded answers of ten vendors: we make of the bytes what the openai SDK makes of them."""

import re
from dataclasses import replace

import pytest
from openai_oracle import Told, read_answer, read_stream
from reading import decoder, read
from recordings import answers, by_event, byte_by_byte, ending, no_answers, streams

from llm_service.domain.completion import FinishReason, PartFinished, PartStarted
from llm_service.domain.content import Refusal, Text, Thinking, ToolCall
from llm_service.errors import ProviderProtocolError
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.fold import fold


def told(answer) -> Told:
    contents = [part.content for part in answer.parts]

    def joined(kind):
        return "".join(content.text for content in contents if isinstance(content, kind))

    calls = [c for c in contents if isinstance(c, ToolCall)]
    return Told(
        joined(Text),
        joined(Thinking),
        joined(Refusal),
        [(call.id, call.name, call.arguments_json) for call in calls],
        answer.provider_finish_reason or None,
        None,
    )


def assert_same_usage(ours, theirs: dict | None) -> None:
    if theirs is None:
        assert ours is None
        return
    asked = theirs["prompt_tokens_details"] or {}
    answered = theirs["completion_tokens_details"] or {}
    reasoning = answered.get("reasoning_tokens") or 0
    output = theirs["completion_tokens"]
    if theirs["total_tokens"] == theirs["prompt_tokens"] + output + reasoning:
        output += reasoning  # our totals are inclusive, also where a vendor's are not
    assert ours.input_tokens == theirs["prompt_tokens"]
    assert ours.output_tokens == output
    assert ours.reasoning_output_tokens == reasoning
    assert ours.cache_read_input_tokens == (
        asked.get("cached_tokens") or theirs.get("cached_tokens") or 0
    )


def assert_same(answer, theirs: Told) -> None:
    assert told(answer) == replace(theirs, usage=None)
    assert_same_usage(answer.usage, theirs.usage)


@pytest.mark.parametrize("data", answers())
async def test_a_whole_answer_is_what_the_sdk_says(data):
    theirs = await read_answer(data)

    answer = fold(decoder().whole(data))

    assert_same(answer, theirs)


@pytest.mark.parametrize("data", streams())
def test_a_stream_is_what_the_sdk_says(data):
    theirs = read_stream(data)

    answer = fold(read([data]))

    assert_same(answer, theirs)


@pytest.mark.parametrize("data", streams())
def test_a_stream_is_the_same_answer_however_it_arrives(data):
    splittings = ([data], byte_by_byte(data), by_event(data))

    whole, in_bytes, in_events = (fold(read(pieces)) for pieces in splittings)

    assert whole == in_bytes == in_events


@pytest.mark.parametrize("data", streams())
def test_a_stream_keeps_to_the_grammar(data):
    events = read(by_event(data))

    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Ended)
    started = [event.index for event in events if isinstance(event, PartStarted)]
    finished = [event.index for event in events if isinstance(event, PartFinished)]
    assert started == list(range(len(started)))
    assert sorted(finished) == started


@pytest.mark.parametrize("data", streams())
def test_a_stream_cut_anywhere_before_its_reason_to_finish_never_ends(data):
    finish = re.search(rb'"finish_reason":\s*"', data).start()
    cuts = range(0, finish, max(1, finish // 15))

    for cut in cuts:
        with pytest.raises(ProviderProtocolError):
            read([data[:cut]] if cut else [])


@pytest.mark.parametrize("recorded", no_answers())
def test_what_is_no_answer_of_chat_completions_is_an_error_or_what_a_filter_left(recorded):
    is_whole, data = recorded

    for pieces in ([data], list(byte_by_byte(data))):
        answer = ending(
            lambda pieces=pieces: fold(decoder().whole(data) if is_whole else read(pieces))
        )

        assert answer is None or answer.finish_reason is FinishReason.CONTENT_FILTER
