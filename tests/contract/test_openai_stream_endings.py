"""How streams of Chat Completions end: whole, by a filter, by an error, or cut."""

import json

import pytest
from chat_kinds import KINDS
from chunks import TEXT, calling, delta, finish, piece, usage
from reading import decoder, read, read_chunks
from recordings import sse

from llm_service import errors
from llm_service.domain.completion import (
    ContentFilter,
    FilterStage,
    FinishReason,
    PartDelta,
    PartFinished,
    PartStarted,
)
from llm_service.domain.content import Text, ToolCall
from llm_service.providers import openai_compatible
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.fold import fold


def test_a_filter_may_strike_before_there_is_an_answer():
    answer = read_chunks(b'{"error":{"code":"content_filter"}}')

    assert answer.content_filter == ContentFilter(FilterStage.INPUT)
    assert answer.parts == ()


def test_what_came_before_a_failure_is_delivered_first():
    reader = decoder()

    events = reader.feed(sse([TEXT, b"{broken", TEXT]))

    assert [type(event) for event in events] == [Accepted, PartStarted, PartDelta]
    assert events[2].text == "Hello"
    assert isinstance(reader.failure, errors.ProviderProtocolError)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"{broken", id="no JSON"),
        pytest.param(b'{"choices":[{"delta":{"content":"\xff"}}]}', id="no UTF-8"),
        pytest.param(b'{"choices":{}}', id="choices are no list"),
        pytest.param(b'{"choices":[{"delta":[]}]}', id="delta is no object"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'"x"' * 20, id="more than one value"),
        pytest.param(b'{"choices":' + b"[" * 5000, id="very deep"),
        pytest.param(delta(audio={"data": "!!!!"}), id="audio is no base64"),
    ],
)
def test_an_event_that_cannot_be_read_is_a_protocol_error(payload):
    with pytest.raises(errors.ProviderProtocolError):
        read([sse([TEXT, payload, finish()])])


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(sse([TEXT], done=False), id="no reason to finish"),
        pytest.param(sse([TEXT]), id="done without a reason to finish"),
        pytest.param(sse([usage(prompt_tokens=1, completion_tokens=1)]), id="only usage"),
        pytest.param(sse([TEXT], done=False) + b"data: " + finish()[:-5], id="cut in an event"),
        pytest.param(b": ping\n\n", id="only pings"),
    ],
)
def test_an_answer_that_is_not_whole_never_ends(stream):
    with pytest.raises(errors.ProviderProtocolError):
        read([stream])


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"data: [DONE]\n\n", id="done"),
        pytest.param(b"data: [DONE]", id="[DONE] without a line's end"),
        pytest.param(b"data: [DONE]\r\n\r\n", id="another line's end"),
        pytest.param(b"data:[DONE] \n\n", id="spaces"),
        pytest.param(b"data: [DONE]\n\ndata: {broken\n\n", id="data after [DONE]"),
    ],
)
def test_an_answer_with_its_end_marked_is_whole(end):
    for marks_end in (True, False):
        answer = fold(read([sse([TEXT, finish()], done=False) + end], marks_end=marks_end))

        assert answer.parts[0].content == Text("Hello")
        assert answer.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"data: [DO", id="cut in [DONE]"),
        pytest.param(b"data: \n\n", id="an empty event"),
        pytest.param(b": ping\n\n", id="a comment"),
    ],
)
def test_an_end_that_is_not_marked_is_one_only_where_vendors_are_known_not_to_mark_it(end):
    stream = sse([TEXT, finish()], done=False) + end

    answer = fold(read([stream], marks_end=False))
    with pytest.raises(errors.ProviderProtocolError):
        read([stream])

    assert answer.parts[0].content == Text("Hello")


def test_every_named_vendor_marks_the_end_of_its_streams():
    assert {kind for kind, dialect in KINDS.items() if not dialect.marks_end} == set()
    assert not openai_compatible._DIALECT.marks_end


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.MAX_OUTPUT_TOKENS),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("model_length", FinishReason.CONTEXT_WINDOW),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("something new", FinishReason.OTHER),
    ],
)
def test_the_vendors_word_for_the_finish_is_kept(said, reason):
    answer = read_chunks(TEXT, finish(said))

    assert (answer.finish_reason, answer.provider_finish_reason) == (reason, said)


@pytest.mark.parametrize("word", ["error", "insufficient_system_resource"])
def test_an_answer_the_vendor_broke_off_is_no_answer(word):
    with pytest.raises(errors.ProviderUnavailable):
        read_chunks(TEXT, finish(word))


def test_a_filter_that_strikes_the_answer_is_a_result():
    results = {"hate": {"filtered": True}, "violence": {"filtered": False}}

    answer = read_chunks(TEXT, finish("content_filter", content_filter_results=results))

    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT, ("hate",))


def test_an_error_that_is_a_filter_is_a_result():
    error = {"error": {"code": "content_filter", "message": "secret words"}}

    answer = read_chunks(TEXT, json.dumps(error).encode())

    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT)
    assert answer.parts[0].content == Text("Hello")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"error": {"message": "x", "type": "server_error"}}, errors.ProviderUnavailable),
        ({"error": {"message": "x", "code": 429}}, errors.ProviderRateLimited),
        ({"error": {"code": "rate_limit_exceeded"}}, errors.ProviderRateLimited),
        ({"error": "boom"}, errors.ProviderUnavailable),
        ({"error": {"message": "half a \ud83d", "code": 503}}, errors.ProviderUnavailable),
        ({"error": {"type": "invalid_request_error"}}, errors.ProviderRejectedRequest),
        ({"object": "error", "message": "x", "code": 503}, errors.ProviderUnavailable),
        ({"message": "x", "code": "context_length_exceeded"}, errors.ContextLengthExceeded),
        ({"choices": [], "error": {"code": 502}}, errors.ProviderUnavailable),
        ({"detail": "x"}, errors.ProviderUnavailable),
    ],
)
def test_an_error_inside_a_stream_is_raised_as_what_it_is(said, kind):
    with pytest.raises(kind):
        read([sse([TEXT, json.dumps(said).encode(), finish()])])


def test_every_part_is_finished_before_the_end():
    events = read(
        [sse([delta(reasoning="a"), TEXT, calling(piece("one", "", index=0, id="a")), finish()])]
    )

    assert [event.index for event in events if isinstance(event, PartFinished)] == [0, 1, 2]
    assert isinstance(events[-1], Ended)
    assert not any(isinstance(event, Ended) for event in events[:-1])


def test_a_reason_that_is_the_word_for_none_ends_nothing():
    unfinished = TEXT.replace(b'"finish_reason": null', b'"finish_reason": "null"')

    with pytest.raises(errors.ProviderProtocolError):
        read([sse([unfinished], done=False)])

    assert read_chunks(unfinished, finish()).finish_reason is FinishReason.STOP


def test_a_whole_message_in_one_event_of_a_stream_is_the_answer():
    message = {"content": "Hello", "tool_calls": [{"id": "a", **piece("one", "{}")}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}

    answer = read_chunks(json.dumps({"choices": [choice]}).encode())

    assert [part.content for part in answer.parts] == [Text("Hello"), ToolCall("a", "one", "{}")]


def test_a_message_repeated_beside_its_pieces_is_said_once():
    ends = {"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}

    answer = read_chunks(TEXT, json.dumps({"choices": [ends]}).encode())

    assert [part.content for part in answer.parts] == [Text("Hello")]
