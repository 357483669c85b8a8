"""Recorded Responses answers: we make of the bytes what the openai SDK makes of them."""

import functools
import json
import re

import pytest
from recordings import arrivals, by_event, byte_by_byte, ending, sse
from responses_oracle import CALLS, Told, read_answer, read_stream
from responses_reading import FOLDER, answers, decoder, no_answers, read, streams

from llm_service.domain.completion import FinishReason, PartFinished, PartStarted
from llm_service.domain.content import Refusal, Text, Thinking, ToolCall
from llm_service.errors import (
    ProviderProtocolError,
    ProviderQuotaExhausted,
    ProviderRejectedRequest,
)
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.fold import fold

# One recording's pieces and its whole were written by different hands; callers have the pieces.
MISQUOTED = b"The command ran successfully in the container"


def told(answer) -> Told:
    said = Told(finish=answer.provider_finish_reason, model=answer.provider_model)
    said.id = answer.provider_request_id
    for part in answer.parts:
        state = json.loads(part.provider_state.data) if part.provider_state else {}
        item = state.get("item", {})
        match part.content:
            case Text(text) if not item:
                said.text.append(text)
                said.cited += [(citation.uri, citation.title) for citation in part.citations]
            case Text():
                said.other.append(item["type"])
            case Thinking(text):
                said.thinking += [text] if text else []
                sealed = item.get("encrypted_content")
                said.sealed += [sealed] if sealed else []
            case Refusal(text):
                said.refusal += text
            case ToolCall(call_id, name, arguments) if item["type"] in CALLS:
                said.calls.append((call_id, name, arguments))
            case ToolCall():
                said.other.append(item["type"])
    usage = answer.usage
    said.usage = usage and {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.cache_read_input_tokens,
        "cache_write": usage.cache_write_input_tokens,
        "reasoning": usage.reasoning_output_tokens,
    }
    return said


@pytest.mark.parametrize("data", answers())
def test_a_whole_answer_is_what_the_sdk_says(data):
    theirs = read_answer(data)

    answer = fold(decoder().whole(data))

    assert told(answer) == theirs


@functools.cache
def events_of(data: bytes) -> list:
    return read(by_event(data))


@pytest.mark.parametrize("data", streams())
def test_a_stream_is_what_the_sdk_says(data):
    theirs = read_stream(data)

    ours = told(fold(events_of(data)))

    if MISQUOTED in data:
        ours.text = theirs.text
    assert ours == theirs


@pytest.mark.parametrize("data", streams())
def test_a_stream_is_the_same_answer_however_it_arrives(data):
    whole, by_byte = fold(read([data])), fold(read(byte_by_byte(data)))

    assert whole == by_byte == fold(events_of(data))


@pytest.mark.parametrize("data", streams())
def test_a_stream_keeps_to_the_grammar(data):
    events = events_of(data)

    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Ended)
    started = [event.index for event in events if isinstance(event, PartStarted)]
    finished = [event.index for event in events if isinstance(event, PartFinished)]
    assert started == list(range(len(started)))
    assert sorted(finished) == started


@pytest.mark.parametrize("data", streams())
def test_the_last_event_alone_has_the_same_text_and_usage(data):
    said = [json.loads(event.removeprefix(b"data: ")) for event in data.strip().split(b"\n\n")]
    last = next(event for event in reversed(said) if "response" in event)
    streamed = fold(events_of(data))

    whole = fold(decoder().whole(json.dumps(last["response"]).encode()))

    assert whole.usage == streamed.usage
    assert whole.provider_model == streamed.provider_model
    if last["response"]["output"] and MISQUOTED not in data:
        assert told(whole).text == told(streamed).text


@pytest.mark.parametrize("data", streams())
def test_a_stream_cut_anywhere_before_its_last_event_never_ends(data):
    last = re.search(rb'"type": ?"response\.(completed|incomplete)"', data).start()

    for cut in (0, 1, last // 3, last - 40, last, last + 10):
        with pytest.raises(ProviderProtocolError):
            read([data[:cut]] if cut else [])


def recording(name: str) -> bytes:
    if not (FOLDER / name).exists():
        pytest.skip(f"there is no recording {FOLDER / name}")
    data = (FOLDER / name).read_bytes()
    return data if name.endswith(".json") else sse(data.split(b"\n"), done=False)


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("openai-error.1.json", ProviderQuotaExhausted),
        ("reasoning-model-temperature-error.json", ProviderRejectedRequest),
        ("azure-deepseek-reasoning.1.json", ProviderProtocolError),
    ],
)
def test_what_is_no_answer_fails_as_it_says(name, failure):
    with pytest.raises(failure):
        decoder().whole(recording(name))


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("openai-error.1.chunks.txt", ProviderQuotaExhausted),
        ("azure-deepseek-reasoning.1.chunks.txt", ProviderProtocolError),
        ("parallel-tool-call-wrapper.1.chunks.txt", ProviderProtocolError),
    ],
)
def test_a_stream_of_no_answer_fails_as_it_says(name, failure):
    for pieces in arrivals(recording(name)).values():
        with pytest.raises(failure):
            read(pieces)


def test_searches_xai_runs_itself_are_not_the_callers_to_run():
    answer = fold(read([recording("xai-x-search-tool.chunks.txt")]))

    calls = [part.content for part in answer.parts if isinstance(part.content, ToolCall)]
    assert {call.name for call in calls} == {"x_keyword_search", "view_x_video", "web_search"}
    assert all(call.server_side for call in calls)
    assert answer.finish_reason is FinishReason.STOP


def test_what_only_the_caller_can_run_waits_for_the_caller():
    names = ("openai-shell-tool.1", "openai-apply-patch-tool.1", "openai-mcp-tool-approval.1")

    for name in names:
        answer = fold(decoder().whole(recording(f"{name}.json")))
        (waiting,) = [
            part.content
            for part in answer.parts
            if isinstance(part.content, ToolCall) and not part.content.server_side
        ]
        assert json.loads(waiting.arguments_json)
        assert answer.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("recorded", no_answers())
def test_what_is_no_answer_of_responses_is_an_error_or_what_a_filter_left(recorded):
    is_whole, data = recorded

    for pieces in ([data], list(byte_by_byte(data))):
        answer = ending(
            lambda pieces=pieces: fold(decoder().whole(data) if is_whole else read(pieces))
        )

        assert answer is None or answer.finish_reason is FinishReason.CONTENT_FILTER
