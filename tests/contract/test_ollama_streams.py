"""Ollama's lines, in order and out of it: framing, endings, leaves of every type."""

import base64
import json

import pytest

from llm_service import errors
from llm_service.domain.completion import FinishReason, TokenUsage
from llm_service.domain.content import (
    Media,
    Modality,
    ProviderState,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from llm_service.providers.fold import fold
from llm_service.providers.ollama_chat import lines
from llm_service.providers.ollama_chat.decoder import OllamaDecoder
from llm_service.providers.ollama_chat.lines import LineReader
from llm_service.providers.vendor import Reply

TIME = "2026-11-21T01:02:03.04Z"


def line(**message) -> bytes:
    more = {key: message.pop(key) for key in ("logprobs", "done_reason") if key in message}
    said = {"model": "m", "created_at": TIME, "message": message, "done": False, **more}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def last(reason="stop", **more) -> bytes:
    said = {"model": "m", "message": {"content": ""}, "done": True, "done_reason": reason, **more}
    return json.dumps(said).encode() + b"\n"


END = last(prompt_eval_count=5, eval_count=3)


def read(pieces):
    decoder = OllamaDecoder("ollama", Reply("", (), {}, ""))
    events = []
    for piece in pieces:
        events += decoder.feed(piece)
        if decoder.done or decoder.failure:
            break
    else:
        events += decoder.end()
    if decoder.failure is not None:
        raise decoder.failure
    return fold(events)


def whole(data):
    return fold(OllamaDecoder("ollama", Reply("", (), {}, "")).whole(data))


def call(arguments: str, **more) -> bytes:
    extra = "".join(f'"{key}":"{value}",' for key, value in more.items())
    return (
        f'{{"model":"m","created_at":"{TIME}","message":{{"content":"","tool_calls":[{{{extra}'
        f'"function":{{"name":"time","arguments":{arguments}}}}}]}},"done":false}}\n'
    ).encode()


STREAM = (
    line(thinking="Hm")
    + line(thinking=", well")
    + line(content="Góðan ")
    + call('{"z": 1, "a": "é"}', id="call_9")
    + line(content="dag 👋")
    + END
)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_stream_is_the_same_answer_however_it_arrives(size):
    answer = read(STREAM[i : i + size] for i in range(0, len(STREAM), size))

    assert [part.content for part in answer.parts] == [
        Thinking("Hm, well"),
        Text("Góðan "),
        ToolCall("call_9", "time", '{"z": 1, "a": "é"}'),
        Text("dag 👋"),
    ]
    assert answer.parts[0].provider_state == ProviderState("ollama", b'{"thinking":true}')
    assert answer.usage == TokenUsage(5, 3)
    assert answer.finish_reason is FinishReason.TOOL_CALLS
    assert answer == read([STREAM.replace(b"\n", b"\r\n\r\n")])


def test_a_stream_cut_anywhere_never_ends():
    for cut in range(len(STREAM) - 1):
        if STREAM[:cut].strip().endswith(END.strip()):
            break
        with pytest.raises(errors.ProviderProtocolError):
            read([STREAM[:cut]])


def test_a_last_line_may_lack_its_end_and_nothing_after_it_is_read():
    assert read([STREAM.rstrip()]) == read([STREAM])
    assert read([STREAM + line(content="more") + b"{broken"]) == read([STREAM])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("{}", "{}"),
        ('{"b":1,"a":[1.50,2e3]}', '{"b":1,"a":[1.50,2e3]}'),
        ("null", "{}"),
        (r'"{\"a\":1}"', '{"a":1}'),
    ],
)
def test_arguments_are_the_text_on_the_wire(arguments, expected):
    answer = read([call(arguments, id="a") + END])

    assert answer.parts[0].content == ToolCall("a", "time", expected)


def test_calls_without_ids_get_ids_no_other_turn_has():
    answer = read([call("{}") + call("{}") + END])

    assert [part.content.id for part in answer.parts] == [
        "call_20261121T010203" + "04Z_0",
        "call_20261121T01020304Z_1",
    ]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", FinishReason.STOP), ("length", FinishReason.MAX_OUTPUT_TOKENS)]
    + [(other, FinishReason.OTHER) for other in ("load", "unload", "", "new")],
)
def test_why_it_finished_is_told(reason, expected):
    answer = read([line(content="Hi") + last(reason)])

    assert (answer.finish_reason, answer.provider_finish_reason) == (expected, reason)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, None),
        ({"prompt_eval_count": 4}, TokenUsage(4, 0)),
        ({"eval_count": 4}, TokenUsage(0, 4)),
        ({"prompt_eval_count": -1, "eval_count": 2**40}, None),
        ({"prompt_eval_count": "4", "eval_count": 4.0}, TokenUsage(0, 4)),
    ],
)
def test_only_believable_counts_are_believed(said, expected):
    assert read([line(content="Hi") + last(**said)]).usage == expected


def test_probabilities_come_with_their_text():
    said = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]

    answer = read([line(content="Hi", logprobs=said) + END])

    assert answer.parts[0].logprobs == (TokenLogprob("Hi", -0.5, b"Hi"),)


def test_an_image_of_the_answer_is_a_part():
    answer = read([line(content="", images=[base64.b64encode(b"\x89PNG").decode()]) + END])

    assert answer.parts[0].content == Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")


@pytest.mark.parametrize(
    "said",
    [
        {"content": None, "thinking": 5, "tool_calls": None, "images": {}},
        {"content": ["x"], "tool_calls": [{"id": 3}]},
        {},
    ],
)
def test_leaves_of_other_types_are_passed_over(said):
    assert read([line(**said) + line(content="Hi") + END]).parts[0].content == Text("Hi")


def test_an_error_line_in_a_stream_of_status_200_is_an_error():
    with pytest.raises(errors.ProviderUnavailable) as failure:
        read([line(content="Hi"), b'{"error":"an error was encountered while running x"}\n'])

    assert "running" not in str(failure.value)


@pytest.mark.parametrize(
    "data",
    [
        b"{broken\n",
        b'{"message": "text"}\n',
        b'{"message":{"content":"\xff\xfe"}}\n',
        b"[]\n",
        b"[" * 9999 + b"\n",
        line(content="", images=["no base64!"]),
        b"\n\n\n",
        b"",
    ],
)
def test_what_is_no_answer_is_an_error_and_never_ok(data):
    with pytest.raises(errors.ProviderProtocolError):
        read([data])
    with pytest.raises(errors.ProviderProtocolError):
        whole(data)


def test_half_a_surrogate_pair_is_mended():
    data = rb'{"message":{"content":"a \ud83d"},"done":false}' + b"\n" + END

    assert read([data]).parts[0].content == Text("a �")


def test_a_whole_answer_may_come_in_lines_and_over_lines():
    said = {"model": "m", "message": {"content": "Hi"}, "done": True, "done_reason": "stop"}

    assert whole(json.dumps(said, indent=2).encode()) == whole(json.dumps(said).encode())
    assert whole(line(content="H") + line(content="i") + last()).parts[0].content == Text("Hi")


def test_an_answer_that_is_not_done_is_none():
    with pytest.raises(errors.ProviderProtocolError):
        whole(line(content="Hi"))


def test_a_line_without_end_is_bounded(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    reader = LineReader()
    held = [list(reader.feed(b"0123456789")) for _ in range(10)]

    with pytest.raises(errors.ProviderProtocolError):
        list(reader.feed(b"0"))

    assert held == [[]] * 10
