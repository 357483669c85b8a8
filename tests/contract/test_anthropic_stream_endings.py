"""How answers of the Messages API end: by a reason, by an error, or not at all."""

import json

import pytest
from anthropic_wire import (
    END,
    PING,
    closed,
    decoder,
    delta,
    error,
    opened,
    read,
    read_events,
    sse,
    start,
    stop,
    text,
)

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage, FinishReason
from llm_service.domain.content import Refusal, Text
from llm_service.providers.base import Ended
from llm_service.providers.fold import fold

TOOL = {"type": "tool_use", "id": "toolu_1", "name": "time", "input": {}}


def contents(answer) -> list:
    return [part.content for part in answer.parts]


def state(part) -> dict:
    return json.loads(part.provider_state.data)


def arguments(*pieces, index=0) -> list[dict]:
    return [delta("input_json_delta", index, partial_json=piece) for piece in pieces]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP_SEQUENCE),
        ("max_tokens", FinishReason.MAX_OUTPUT_TOKENS),
        ("model_context_window_exceeded", FinishReason.CONTEXT_WINDOW),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("pause_turn", FinishReason.PAUSED),
        ("compaction", FinishReason.PAUSED),
        ("refusal", FinishReason.REFUSAL),
        ("brand_new", FinishReason.OTHER),
    ],
)
def test_why_an_answer_ends(word, reason):
    answer = read_events(start(), *text("Hi"), stop(word), END)

    assert (answer.finish_reason, answer.provider_finish_reason) == (reason, word)


def test_a_refusal_says_why_and_by_which_policy():
    details = {"type": "refusal", "category": "bio", "explanation": "Not that."}

    answer = read_events(start(), stop("refusal", stop_details=details), END)

    assert contents(answer) == [Refusal("Not that.")]
    assert state(answer.parts[0]) == {"stop_details": details}
    assert answer.content_filter == ContentFilter(None, ("bio",))


def test_a_refusal_without_an_explanation_keeps_what_there_is():
    details = {"type": "refusal", "category": None, "fallback_credit_token": "t"}

    answer = read_events(start(), *text("So"), stop("refusal", stop_details=details), END)

    assert contents(answer) == [Text("So"), Text("")]
    assert state(answer.parts[1]) == {"stop_details": details}
    assert answer.content_filter is None


@pytest.mark.parametrize("events", [[], [start()], [start(), *text("Hi")], [start(), stop()]])
def test_a_stream_without_its_last_event_is_a_failure(events):
    with pytest.raises(errors.ProviderProtocolError):
        read([sse(*events)])


def test_an_answer_that_does_not_say_why_it_ended_is_a_failure():
    with pytest.raises(errors.ProviderProtocolError):
        read_events(start(), *text("Hi"), END)


def test_what_follows_the_end_is_of_no_interest():
    events = read([sse(start(), *text("Hi"), stop(), END), b"data: {broken\n\n"])

    assert isinstance(events[-1], Ended)


@pytest.mark.parametrize("events", [text("Hi"), [stop()], [END], [opened(TOOL)], [closed()]])
def test_anything_before_the_start_is_a_failure(events):
    with pytest.raises(errors.ProviderProtocolError):
        read_events(*events)


def test_pings_comments_and_unknown_events_tell_nothing():
    new = {"type": "weather_report", "text": "Rain"}

    answer = read_events(PING, new, start(), PING, *text("Hi"), new, stop(), PING, END)

    assert contents(answer) == [Text("Hi")]


def test_a_repeated_start_of_the_answer_changes_nothing():
    again = start(usage={"input_tokens": 99, "output_tokens": 9})

    answer = read_events(start(), *text("Hi"), again, *text("!", 1), stop(), END)

    assert contents(answer) == [Text("Hi"), Text("!")]
    assert answer.usage.input_tokens == 10


def test_a_start_a_relay_made_up_gives_way_to_the_vendors():
    answer = read_events(
        start(id="made_up", model=""), start(model="claude-y"), *text("Hi"), stop(), END
    )

    assert answer.provider_model == "claude-y"


def test_another_answer_within_the_answer_is_a_failure():
    with pytest.raises(errors.ProviderProtocolError):
        read_events(start(), *text("Hi"), start(id="msg_2"), *text("Hi"), stop(), END)


@pytest.mark.parametrize(
    "events",
    [
        [delta("text_delta", text="Hi")],
        [opened(TOOL), delta("text_delta", text="Hi")],
        [opened({"type": "text", "text": ""}), *arguments("{}")],
        [*text("Hi"), delta("text_delta", text="Hi")],
        [{"type": "content_block_start", "index": 0}],
        [{"type": "content_block_start", "index": 0, "content_block": []}],
        [{"type": "content_block_delta", "index": 0, "delta": "Hi"}],
        [{"type": "message_start"}],
        [b"{"],
        [b"[]"],
        [b"\xff\xfe"],
        [b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"\xff"}}'],
    ],
)
def test_events_that_make_no_sense_are_a_failure(events):
    with pytest.raises(errors.ProviderProtocolError):
        read([sse(start(), *events, stop(), END)])


def test_half_a_character_does_not_break_an_answer():
    block = b'{"type":"content_block_start","content_block":{"type":"text","text":"a\\ud83d"}}'
    more = b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"\\udc4b"}}'

    answer = read_events(start(), block, more, closed(None), stop(), END)

    assert contents(answer) == [Text("a��")]


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"])
def test_lines_may_end_in_any_way(ends):
    stream = sse(start(), *text("Hi"), stop(), END).replace(b"\n", ends)

    answer = fold(read([stream[at : at + 1] for at in range(len(stream))]))

    assert contents(answer) == [Text("Hi")]


# --- errors within --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("overloaded_error", errors.ProviderUnavailable),
        ("api_error", errors.ProviderUnavailable),
        ("rate_limit_error", errors.ProviderRateLimited),
        ("timeout_error", errors.ProviderTimeout),
        ("invalid_request_error", errors.ProviderRejectedRequest),
        ("billing_error", errors.ProviderQuotaExhausted),
        ("brand_new_error", errors.ProviderUnavailable),
    ],
)
@pytest.mark.parametrize("before", [[], [start()], [start(), *text("Hi")]])
def test_an_error_in_a_stream_is_raised_after_what_came_before_it(kind, raised, before):
    reader = decoder()

    events = reader.feed(sse(*before, error(kind, "secret prompt")))

    assert type(reader.failure) is raised
    assert "secret" not in str(reader.failure)
    assert reader.failure.provider_code == kind
    assert not reader.done
    assert bool(events) == bool(before)


def test_a_filter_that_strikes_in_a_stream_ends_the_answer():
    blocked = error("invalid_request_error", "Output blocked by content filtering policy")

    answer = read_events(start(), *text("Hi"), blocked)

    assert contents(answer) == [Text("Hi")]
    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT)


def test_a_filter_may_strike_before_the_answer_starts():
    blocked = error("invalid_request_error", "Input blocked by content filtering policy")

    answer = read_events(blocked)

    assert contents(answer) == []
    assert answer.content_filter == ContentFilter(FilterStage.INPUT)


def test_a_report_without_a_delta_is_of_usage():
    report = {"type": "message_delta", "usage": {"output_tokens": 3}}

    answer = read_events(start(), *text("Hi"), stop(), report, END)

    assert answer.usage.output_tokens == 3
    assert answer.provider_finish_reason == "end_turn"


# --- whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b'"a"', b"<html>", b'{"content":1}', b'{"content":[1]}']
)
def test_a_whole_answer_that_is_none_is_a_failure(body):
    with pytest.raises(errors.ProviderProtocolError):
        decoder().whole(body)


def test_a_whole_answer_may_be_an_error():
    with pytest.raises(errors.ProviderUnavailable):
        decoder().whole(json.dumps(error("overloaded_error")).encode())


def test_a_whole_answer_without_a_reason_is_of_another():
    answer = fold(decoder().whole(b'{"id":"m","content":[{"type":"text","text":"Hi"}]}'))

    assert contents(answer) == [Text("Hi")]
    assert (answer.finish_reason, answer.usage) == (FinishReason.OTHER, None)
