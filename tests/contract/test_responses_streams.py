"""How events of the Responses API become parts, also where a server departs from its own rules."""

import json

import pytest
from recordings import sse
from responses_reading import (
    added,
    completed,
    created,
    decoder,
    done,
    event,
    grown,
    message,
    read,
    read_events,
    read_whole,
)

from llm_service.domain.completion import (
    FinishReason,
    PartDelta,
    TokenUsage,
)
from llm_service.domain.content import (
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llm_service.errors import ProviderProtocolError, ProviderUnavailable
from llm_service.providers.base import Accepted, Ended

TEXT = "output_text"
ARGUMENTS = "function_call_arguments"


def contents(answer) -> list:
    return [part.content for part in answer.parts]


def kept(part) -> dict:
    return json.loads(part.provider_state.data)


def test_text_grows_as_it_comes_and_is_brought_to_its_whole():
    answer = read_events(
        created(),
        added(0, **message("", "msg_1") | {"content": []}),
        grown(TEXT, 0, "msg_1", "Hel", content_index=0),
        done(0, **message("Hello")),
        completed(message("Hello")),
    )

    assert contents(answer) == [Text("Hello")]
    assert kept(answer.parts[0])["message"]["id"] == "msg_1"


def test_pieces_that_contradict_the_whole_stand():
    answer = read_events(
        grown(TEXT, 0, "msg_1", "Hola", content_index=0), completed(message("Hello there"))
    )

    assert contents(answer) == [Text("Hola")]


def test_a_message_can_hold_text_and_a_refusal_side_by_side():
    answer = read_events(
        grown(TEXT, 0, "msg_1", "Well, ", content_index=0),
        grown("refusal", 0, "msg_1", "no.", content_index=1),
        completed(),
    )

    assert contents(answer) == [Text("Well, "), Refusal("no.")]
    assert answer.finish_reason is FinishReason.REFUSAL


def test_thinking_is_a_part_for_each_summary_and_one_of_them_holds_the_item():
    summary = [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "c2VhbGVk"}

    answer = read_events(
        created(),
        added(0, type="reasoning", id="rs_1", summary=[], encrypted_content="unfinished"),
        grown("reasoning_summary_text", 0, "rs_1", "One.", summary_index=0),
        done(0, **item),
        completed(item),
    )

    assert contents(answer) == [Thinking("One."), Thinking("Two.")]
    assert kept(answer.parts[0]) == {"item": item}
    assert kept(answer.parts[1]) == {"rest_of": "rs_1"}
    assert answer == read_whole(item)


def test_thinking_that_is_withheld_is_redacted_and_sealed_anew_at_the_end():
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    sealed = {**item, "encrypted_content": "last"}

    answer = read_events(
        added(0, **item, encrypted_content="first"),
        done(0, **item, encrypted_content="second"),
        completed(sealed),
    )

    assert contents(answer) == [Thinking("", redacted=True)]
    assert kept(answer.parts[0]) == {"item": sealed}


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("max_output_tokens", FinishReason.MAX_OUTPUT_TOKENS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("max_tool_calls", FinishReason.PAUSED),
        ("steered", FinishReason.OTHER),
    ],
)
def test_why_an_answer_is_incomplete_is_told_with_the_vendors_word(reason, meant):
    answer = read_events(
        completed(message("Well"), status="incomplete", incomplete_details={"reason": reason})
    )

    assert (answer.finish_reason, answer.provider_finish_reason) == (meant, reason)
    assert contents(answer) == [Text("Well")]


def test_an_answer_that_does_not_say_why_it_is_incomplete_ends_all_the_same():
    answer = read_events(completed(status="incomplete", incomplete_details=None))

    assert (answer.finish_reason, answer.provider_finish_reason) == (
        FinishReason.OTHER,
        "incomplete",
    )


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (None, None),
        ({"input_tokens": -1, "output_tokens": 1}, None),
        ({"input_tokens": 10**30, "output_tokens": 1}, None),
        ({"input_tokens": "5", "output_tokens": 1}, None),
        ({"input_tokens": 5, "output_tokens": 2}, TokenUsage(5, 2)),
        (
            {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 6},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 2},
            },
            TokenUsage(5, 3, cache_read_input_tokens=4, reasoning_output_tokens=2),
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 2},
                "total_tokens": 10,
            },
            TokenUsage(5, 5, reasoning_output_tokens=2),
        ),
    ],
)
def test_only_believable_usage_is_believed(said, usage):
    assert read_events(completed(usage=said)).usage == usage


def test_who_answers_is_told_at_the_start_and_completed_at_the_end():
    pieces = [sse([created(), completed(message("Hi"))], done=False)]

    first, *_, last = read(pieces, decoder(request_id="req_1"))

    assert first == Accepted("m", "req_1")
    assert last == Ended(FinishReason.STOP, "completed", None, "m")
    assert read(pieces)[0].provider_request_id == "resp_1"


@pytest.mark.parametrize(
    "ending",
    [
        b"data: [DONE]\n\n",
        b"",
        b": ping\n\n",
        b'data: {"type": "response.completed"',
        b"data: " + completed(status="in_progress") + b"\n\n",
        b"data: " + completed(status="queued") + b"\n\n",
    ],
)
def test_a_stream_without_its_proper_end_is_an_error(ending):
    stream = sse([created(), grown(TEXT, 0, "m", "Hi", content_index=0)], done=False) + ending

    with pytest.raises(ProviderProtocolError):
        read([stream])


def test_an_answer_that_was_cancelled_is_none():
    with pytest.raises(ProviderUnavailable):
        read_events(completed(status="cancelled"))


def test_what_comes_after_the_end_is_of_no_interest():
    stream = sse([created(), completed(message("Hi"))], done=False)

    events = read([stream + b"data: {broken\n\ndata: " + completed(message("Ho")) + b"\n\n"])

    assert sum(isinstance(e, Ended) for e in events) == 1


@pytest.mark.parametrize(
    "noise",
    [
        b": keep-alive\n\n",
        b"event: keepalive\ndata: {}\n\n",
        b'data: {"type": "response.some_future.event", "delta": {}}\n\n',
        b'data: {"type": "response.output_item.added"}\n\n',
        b'data: {"type": "response.output_item.done", "output_index": 7}\n\n',
        b'data: {"type": "response.output_text.delta", "delta": null}\n\n',
        b'data: {"type": ["a"], "item": 1}\n\n',
        b"\r\n\r\n",
    ],
)
def test_events_that_say_nothing_change_nothing(noise):
    events = [created(), grown(TEXT, 0, "msg_1", "Hi", content_index=0), completed(message("Hi"))]
    stream = noise.join(sse([payload], done=False) for payload in events)

    answer = read([stream])

    assert answer[-1].finish_reason is FinishReason.STOP
    assert [e.text for e in answer if isinstance(e, PartDelta)] == ["Hi"]


@pytest.mark.parametrize(
    "data",
    [b"not json", b"[]", b"1", b'{"type": "\xff"}', b'{"a": "\\ud83d"', b"[" * 10**5],
)
def test_what_cannot_be_read_is_an_error(data):
    with pytest.raises(ProviderProtocolError):
        read([b"data: " + data + b"\n\n"])
    with pytest.raises(ProviderProtocolError):
        decoder().whole(data)


def test_half_a_character_becomes_a_mark_and_no_error():
    half = b'{"type":"response.output_text.delta","output_index":0,"delta":"\\ud83d"}'

    answer = read_events(half, completed(message("\N{WAVING HAND SIGN}")))

    assert contents(answer) == [Text("\N{REPLACEMENT CHARACTER}")]
    assert contents(read_whole(message("\ud83d"))) == contents(answer)


def test_a_stream_that_is_one_whole_answer_is_read_as_such():
    body = json.dumps({"status": "completed", "output": [message("Hi")]}).encode()

    assert contents(read_events(body)) == [Text("Hi")]


def test_an_answer_that_failed_without_output_says_so():
    with pytest.raises(ProviderUnavailable):
        decoder().whole(b'{"status": "failed", "error": {"code": "server_error"}}')


@pytest.mark.parametrize("kind", [b"mcp_list_tools", b"some_call", b"message", b"reasoning"])
def test_an_item_nested_too_deep_is_an_error_at_every_depth(kind):
    outcomes = set()

    for depth in range(900, 1010):
        deep = b"[" * depth + b"]" * depth
        item = b'{"type": "' + kind + b'", "content": [{"type": "x"}], "deep": ' + deep + b"}"
        reader = decoder()
        reader.feed(b'data: {"type": "response.output_item.done", "item": ' + item + b"}\n\n")
        reader.feed(b"data: " + completed() + b"\n\n")
        outcomes.add(type(reader.failure))

    assert outcomes == {type(None), ProviderProtocolError}


def test_a_text_may_come_without_its_pieces():
    answer = read_events(
        created(),
        ended("reasoning_summary_text", 0, "rs_1", text="Hm", summary_index=0),
        grown("output_text", 1, "msg_1", "He", content_index=0),
        ended("output_text", 1, "msg_1", text="Hello", content_index=0),
        ended("refusal", 1, "msg_1", refusal="No", content_index=1),
        completed(),
    )

    assert [part.content for part in answer.parts] == [Thinking("Hm"), Text("Hello"), Refusal("No")]


def test_a_calls_arguments_may_come_without_their_pieces():
    waiting = {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "one"}
    answer = read_events(
        created(),
        added(0, **waiting, arguments=""),
        ended("function_call_arguments", 0, "fc_1", arguments='{"x":1}'),
        ended("function_call_arguments", 0, "fc_1", arguments='{"x":1}'),
        completed(),
    )

    assert [part.content for part in answer.parts] == [ToolCall("a", "one", '{"x":1}')]


def ended(kind: str, index: int, item_id: str, **said) -> bytes:
    return event(f"response.{kind}.done", output_index=index, item_id=item_id, **said)
