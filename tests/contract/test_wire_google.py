"""Recorded answers of Google: we make of the bytes what the google-genai SDK makes of them."""

import base64
import json
import re

import pytest
from google_oracle import Told, read_answer, read_stream
from google_wire import FOLDER, answers, decoder, no_answers, read, streams
from recordings import arrivals, byte_by_byte, ending, sse

from llm_service import errors
from llm_service.domain.completion import FinishReason, PartFinished, PartStarted
from llm_service.domain.content import Text, Thinking, ToolCall
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.fold import fold
from llm_service.providers.gemini import failures


def told(answer) -> Told:
    contents = [part.content for part in answer.parts]
    calls = [content for content in contents if isinstance(content, ToolCall)]
    usage = answer.usage
    return Told(
        "".join(content.text for content in contents if isinstance(content, Text)),
        "".join(content.text for content in contents if isinstance(content, Thinking)),
        signatures(answer),
        [(given_id(answer, call), call.name, json.loads(call.arguments_json)) for call in calls],
        answer.provider_finish_reason,
        {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "reasoning": usage.reasoning_output_tokens,
            "cached": usage.cache_read_input_tokens,
        },
        answer.provider_model,
    )


def signatures(answer) -> list[bytes]:
    states = [json.loads(part.provider_state.data) for part in answer.parts if part.provider_state]
    return [
        base64.b64decode(state["thoughtSignature"])
        for state in states
        if "thoughtSignature" in state
    ]


def given_id(answer, call) -> str:
    """The id by the vendor's word, for we make ids where it gives none."""
    part = next(part for part in answer.parts if part.content is call)
    return json.loads(part.provider_state.data).get("id", "") if part.provider_state else ""


@pytest.mark.parametrize("data", answers())
def test_a_whole_answer_is_what_the_sdk_says(data):
    theirs = read_answer(data)

    answer = fold(decoder().whole(data))

    assert told(answer) == theirs


@pytest.mark.parametrize("data", streams())
def test_a_stream_is_what_the_sdk_says(data):
    theirs = read_stream(data)

    answer = fold(read([data]))

    assert told(answer) == theirs


@pytest.mark.parametrize("data", streams())
def test_a_stream_is_the_same_answer_however_it_arrives(data):
    whole, by_byte, by_event = (fold(read(pieces)) for pieces in arrivals(data).values())

    assert whole == by_byte == by_event


@pytest.mark.parametrize("data", streams())
def test_a_stream_keeps_to_the_grammar(data):
    events = read(arrivals(data)["by event"])

    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Ended)
    started = [event.index for event in events if isinstance(event, PartStarted)]
    finished = [event.index for event in events if isinstance(event, PartFinished)]
    assert started == list(range(len(started)))
    assert sorted(finished) == started


@pytest.mark.parametrize("data", streams())
def test_a_stream_is_the_answer_its_events_are_in_one_array(data):
    events = [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event]

    answer = fold(decoder().whole(b"[" + b",\n".join(events) + b"]"))

    assert told(answer) == told(fold(read([data])))


@pytest.mark.parametrize("data", streams())
def test_a_stream_cut_anywhere_before_its_reason_to_finish_never_ends(data):
    finish = re.search(rb'"(finish|block)Reason"', data).start()
    cuts = range(0, finish, max(1, finish // 15))

    for cut in cuts:
        with pytest.raises(errors.ProviderProtocolError):
            read([data[:cut]] if cut else [])


@pytest.mark.parametrize("data", streams())
def test_calls_of_a_stream_have_ids_of_their_own(data):
    answer = fold(read([data]))

    calls = [part.content for part in answer.parts if isinstance(part.content, ToolCall)]

    assert all(call.id for call in calls)
    assert len({call.id for call in calls}) == len(calls)
    assert (answer.finish_reason is FinishReason.TOOL_CALLS) is bool(calls)


def recorded(name: str) -> bytes:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"there is no recording {path}")
    return path.read_bytes()


def test_arguments_streamed_value_by_value_are_exact_json():
    lines = recorded("google-stream-no-args-tool-call.chunks.txt").split(b"\n")

    answer = fold(read([sse(filter(None, lines), done=False)]))

    calls = [part.content for part in answer.parts if isinstance(part.content, ToolCall)]
    assert [(call.name, call.arguments_json) for call in calls] == [
        ("read_theme", "{}"),
        ("read_screen", '{"id":"A"}'),
        ("read_screen", '{"id":"B"}'),
        ("read_screen", '{"id":"C"}'),
    ]


def test_nested_arguments_and_numbers_are_exact_json():
    name = "google-stream-tool-call-array-arguments-missing-terminal-function-call.chunks.txt"
    lines = recorded(name).split(b"\n")

    answer = fold(read([sse(filter(None, lines), done=False)]))

    assert answer.parts[0].content.arguments_json == (
        '{"operations":['
        '{"action":"add","description":"Fresh red apple","itemid":"apple_001","price":0.5},'
        '{"action":"add","description":"Ripe yellow banana","itemid":"banana_001","price":0.3}]}'
    )


def test_a_recorded_rate_limit_says_when_to_come_again():
    body = recorded("google-429-retry-info.json")

    failure = failures.failure(failures.read_error(429, body), {})

    assert type(failure) is errors.ProviderRateLimited
    assert failure.retry_delay == 34.4
    assert failure.http_status == 429
    assert failure.provider_code == "RESOURCE_EXHAUSTED"
    assert "plan" not in str(failure)


@pytest.mark.parametrize("recorded", no_answers())
def test_what_is_no_answer_of_google_is_an_error_or_what_a_filter_left(recorded):
    is_whole, data = recorded

    for pieces in ([data], list(byte_by_byte(data))):
        answer = ending(
            lambda pieces=pieces: fold(decoder().whole(data) if is_whole else read(pieces))
        )

        assert answer is None or answer.finish_reason is FinishReason.CONTENT_FILTER
