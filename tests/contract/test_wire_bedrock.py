"""Recorded answers of Bedrock's models: we make of the bytes what botocore makes of them."""

import base64
import json

import pytest
from bedrock_oracle import Told, read_answer, read_stream
from bedrock_wire import answers, decoder, read, read_all, streams

from llm_service.domain.completion import PartFinished, PartStarted
from llm_service.domain.content import Text, Thinking, ToolCall
from llm_service.errors import ProviderProtocolError
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.converse.parts import Names
from llm_service.providers.fold import fold

EMULATED = {"names": Names("json", frozenset())}


def told(answer) -> Told:
    contents = [part.content for part in answer.parts]
    states = [
        json.loads(part.provider_state.data)["thinking"]
        for part in answer.parts
        if isinstance(part.content, Thinking) and part.provider_state
    ]
    calls = [content for content in contents if isinstance(content, ToolCall)]
    return Told(
        "".join(content.text for content in contents if isinstance(content, Text)),
        "".join(content.text for content in contents if isinstance(content, Thinking)),
        [state["signature"] for state in states if "signature" in state],
        [base64.b64decode(state["redacted"]) for state in states if "redacted" in state],
        [(call.id, call.name, call.arguments_json) for call in calls],
        answer.provider_finish_reason,
        None,
    )


def assert_same(answer, theirs: Told) -> None:
    ours = told(answer)
    assert (ours.text, ours.thinking) == (theirs.text, theirs.thinking)
    assert (ours.signatures, ours.redacted) == (theirs.signatures, theirs.redacted)
    assert [call[:2] for call in ours.calls] == [call[:2] for call in theirs.calls]
    assert ours.finish == theirs.finish
    usage = theirs.usage
    if usage is None:
        assert answer.usage is None
        return
    read_tokens = usage.get("cacheReadInputTokens", 0)
    written = usage.get("cacheWriteInputTokens", 0)
    assert answer.usage.input_tokens == usage["inputTokens"] + read_tokens + written
    assert answer.usage.output_tokens == usage["outputTokens"]
    assert answer.usage.cache_read_input_tokens == read_tokens
    assert answer.usage.cache_write_input_tokens == written


@pytest.mark.parametrize("data", answers())
def test_a_whole_answer_is_what_botocore_says(data):
    theirs = read_answer(data)

    answer = fold(decoder().whole(data))

    assert_same(answer, theirs)
    said = [json.loads(call[2]) for call in told(answer).calls]
    assert said == [call[2] for call in theirs.calls]


@pytest.mark.parametrize("pieces", streams())
def test_a_stream_is_what_botocore_says(pieces):
    theirs = read_stream(b"".join(pieces))

    answer = fold(read([b"".join(pieces)]))

    assert_same(answer, theirs)
    assert [call[2] for call in told(answer).calls] == [call[2] for call in theirs.calls]


@pytest.mark.parametrize("pieces", streams())
def test_a_stream_is_the_same_answer_however_it_arrives(pieces):
    data = b"".join(pieces)

    whole = fold(read([data]))
    by_byte = fold(read(data[at : at + 1] for at in range(len(data))))
    by_message = fold(read(pieces))

    assert whole == by_byte == by_message


@pytest.mark.parametrize("pieces", streams())
def test_a_stream_keeps_to_the_grammar(pieces):
    events = read(pieces)

    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Ended)
    started = [event.index for event in events if isinstance(event, PartStarted)]
    finished = [event.index for event in events if isinstance(event, PartFinished)]
    assert started == list(range(len(started)))
    assert sorted(finished) == started


@pytest.mark.parametrize("pieces", streams())
def test_a_stream_cut_anywhere_before_its_reason_to_finish_never_ends(pieces):
    data = b"".join(pieces)
    finish = data.index(b'"stopReason"')

    for cut in range(0, finish, max(1, finish // 15)):
        _, failure = read_all([data[:cut]] if cut else [])

        assert isinstance(failure, ProviderProtocolError)


@pytest.mark.parametrize("data", answers())
def test_arguments_are_the_text_that_came(data):
    answer = fold(decoder().whole(data))

    for call in told(answer).calls:
        assert call[2].encode() in data


@pytest.mark.parametrize("pieces", streams())
def test_a_call_of_the_tool_that_brings_json_about_is_the_answer(pieces):
    plain, emulated = fold(read(pieces)), fold(read(pieces, **EMULATED))

    is_json = [isinstance(p.content, ToolCall) and p.content.name == "json" for p in plain.parts]
    expected = [
        Text(part.content.arguments_json) if json_call else part.content
        for part, json_call in zip(plain.parts, is_json, strict=True)
    ]
    assert [part.content for part in emulated.parts] == expected
    others = [c for c in expected if isinstance(c, ToolCall)]
    if any(is_json) and not others:
        assert emulated.finish_reason == "stop"
    else:
        assert emulated.finish_reason == plain.finish_reason
