"""Recorded answers of Anthropic: we make of the bytes what the anthropic SDK makes of them."""

import json
import re
from dataclasses import replace

import pytest
from anthropic_oracle import Told, read_answer, read_stream
from anthropic_wire import FOLDER, SPLICED, answers, decoder, framed, no_answers, read, streams
from recordings import arrivals, byte_by_byte, ending

from llm_service.domain.completion import FinishReason, PartFinished, PartStarted, UsageUpdate
from llm_service.domain.content import Refusal, Text, Thinking, ToolCall
from llm_service.errors import ProviderProtocolError
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.fold import fold

WHY = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.PAUSED,
    "refusal": FinishReason.REFUSAL,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
}


def told(answer) -> Told:
    said = Told(finish=answer.provider_finish_reason, model=answer.provider_model)
    said.id = answer.provider_request_id
    for part in answer.parts:
        state = json.loads(part.provider_state.data) if part.provider_state else {}
        match part.content:
            case Text(text):
                said.text += text
                said.citations += [state["citations"]] if "citations" in state else []
                block = state.get("block", {})
                kept = {name: block[name] for name in block if block[name] is not None}
                said.kept += [kept] if kept else []
                said.container = state.get("message", {}).get("container", {}).get("id", "")
            case Thinking(redacted=True):
                said.redacted.append(state["data"])
            case Thinking(text):
                said.thinking.append((text, state.get("signature", "")))
            case ToolCall(call_id, name, arguments, server_side):
                said.calls.append((call_id, name, json.loads(arguments), server_side))
                said.exact += [arguments] if arguments != "{}" else []
            case Refusal(text):
                said.refusal = text
    usage = answer.usage
    said.usage = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.cache_read_input_tokens,
        "cache_write": usage.cache_write_input_tokens,
        "cache_write_1h": usage.cache_write_1h_input_tokens,
        "reasoning": usage.reasoning_output_tokens,
    }
    return said


def assert_same(answer, theirs: Told) -> None:
    ours = told(answer)
    pieces = [text for text in theirs.exact if text != "{}"]
    assert [text for text in ours.exact if text in pieces] == pieces
    assert replace(ours, exact=[]) == replace(theirs, exact=[])
    assert answer.finish_reason is WHY.get(theirs.finish, FinishReason.OTHER)


@pytest.mark.parametrize("data", answers())
async def test_a_whole_answer_of_claude_is_what_the_sdk_says(data):
    theirs = await read_answer(data)

    answer = fold(decoder().whole(data))

    assert_same(answer, theirs)


@pytest.mark.parametrize("data", answers())
def test_the_arguments_of_a_whole_answer_are_its_bytes(data):
    answer = fold(decoder().whole(data))

    calls = [part.content for part in answer.parts if isinstance(part.content, ToolCall)]
    assert all(call.arguments_json.encode() in data for call in calls)


@pytest.mark.parametrize("data", streams())
def test_a_stream_of_claude_is_what_the_sdk_says(data):
    theirs = read_stream(data)

    answer = fold(read([data]))

    assert_same(answer, theirs)


@pytest.mark.parametrize("data", streams())
def test_a_stream_of_claude_is_the_same_answer_however_it_arrives(data):
    whole, by_byte, by_event = (fold(read(pieces)) for pieces in arrivals(data).values())

    assert whole == by_byte == by_event


@pytest.mark.parametrize("data", streams())
def test_a_stream_of_claude_keeps_to_the_grammar(data):
    events = read(arrivals(data)["by event"])

    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Ended)
    started = [event.index for event in events if isinstance(event, PartStarted)]
    finished = [event.index for event in events if isinstance(event, PartFinished)]
    assert started == list(range(len(started)))
    assert sorted(finished) == started
    counts = [event.usage.output_tokens for event in events if isinstance(event, UsageUpdate)]
    assert counts == sorted(counts)


@pytest.mark.parametrize("data", streams())
def test_a_stream_of_claude_cut_anywhere_before_its_last_event_never_ends(data):
    finish = re.search(rb'"type":\s*"message_stop"', data).start()
    cuts = range(0, finish, max(1, finish // 15))

    for cut in cuts:
        with pytest.raises(ProviderProtocolError):
            read([data[:cut]] if cut else [])


@pytest.mark.skipif(not (FOLDER / SPLICED).exists(), reason=f"there are no recordings in {FOLDER}")
def test_halves_of_two_answers_in_one_stream_are_no_answer():
    with pytest.raises(ProviderProtocolError, match="another answer"):
        read([framed(FOLDER / SPLICED)])


@pytest.mark.parametrize("recorded", no_answers())
def test_what_is_no_answer_of_claude_is_an_error_or_what_a_filter_left(recorded):
    is_whole, data = recorded

    for pieces in ([data], list(byte_by_byte(data))):
        answer = ending(
            lambda pieces=pieces: fold(decoder().whole(data) if is_whole else read(pieces))
        )

        assert answer is None or answer.finish_reason is FinishReason.CONTENT_FILTER
