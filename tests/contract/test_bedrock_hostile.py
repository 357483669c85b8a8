"""Streams of Converse that are broken, too large or made to harm."""

import json
from binascii import crc32
from contextlib import suppress
from struct import pack

import pytest
from bedrock_answers import HELLO, answer, contents, whole
from bedrock_wire import decoder, ended, event, read_all, text
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.domain.completion import FinishReason
from llm_service.domain.content import Text
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers.base import Ended
from llm_service.providers.converse import frames
from llm_service.providers.fold import fold


@pytest.mark.parametrize(
    "broken",
    [
        event("contentBlockDelta", payload=b"{"),
        event("contentBlockDelta", payload=b"[1]"),
        event("contentBlockDelta", payload=b'{"delta":{"text":"\xff"}}'),
        event("contentBlockDelta", payload=b"[" * 5000),
        HELLO[1][:-1] + b"\x00",
        b"\x00" * 16,
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    ],
)
def test_a_broken_message_fails_after_what_came_before_it(broken):
    events, failure = read_all([b"".join([*HELLO, broken, *ended()])])

    assert isinstance(failure, ProviderProtocolError)
    assert contents(fold([*events, Ended(FinishReason.OTHER, "", None)])) == [Text("Hello")]


def test_half_a_character_of_two_code_units_is_read_as_one_that_is_lost():
    broken = event("contentBlockDelta", payload=b'{"delta":{"text":"a\\ud83d"}}')

    assert contents(answer(broken, *ended())) == [Text("a\ufffd")]


@pytest.mark.parametrize(
    "body",
    [
        b'{"output":{"message":{"content":[{"text":"\xff"}]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[{"toolUse":{"input":"\xff"}}]}},"stopReason":"x"}',
        b'{"output":{"message":{"content":"x"}}}',
        b'{"output":{"message":{}}}',
        b'{"output":{}}',
        b"[]",
        b"",
    ],
)
def test_a_whole_answer_that_is_none_is_a_protocol_error(body):
    with pytest.raises(ProviderProtocolError):
        decoder().whole(body)


def test_a_whole_answer_mended_where_a_character_was_cut():
    body = b'{"output":{"message":{"content":[{"text":"a\\ud83d"}]}},"stopReason":"end_turn"}'

    assert contents(fold(decoder().whole(body))) == [Text("a\ufffd")]


def test_an_empty_answer_is_one():
    assert contents(whole()) == contents(answer(*ended())) == []


@pytest.mark.parametrize(
    "prelude",
    [
        (frames.MAX_MESSAGE_BYTES + 1, 0),
        (100, frames.MAX_HEADER_BYTES + 1),
        (15, 0),
        (20, 8),
    ],
)
def test_a_message_of_impossible_size_is_refused_before_it_is_held(prelude):
    lengths = pack("!II", *prelude)

    with pytest.raises(ProviderProtocolError):
        list(frames.FrameReader().feed(lengths + pack("!I", crc32(lengths))))


def test_headers_that_are_not_text_are_passed_over_and_broken_ones_refused():
    every = b"".join(
        b"\x01" + bytes([97 + kind]) + bytes([kind]) + b"\x00" * size
        for kind, size in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16)]
    )
    every += b"\x01y\x06\x00\x02ab" + b"\x01z\x07\x00\x02hi"

    [message] = frames.FrameReader().feed(_framed(every, b"{}"))

    assert message == frames.Message({"z": "hi"}, b"{}")
    for broken in (b"\x05ab", b"\x01a\x0a", b"\x01a\x07\x00\x09hi", b"\x01a\x07\x00\x01\xff"):
        with pytest.raises(ProviderProtocolError):
            list(frames.FrameReader().feed(_framed(broken, b"{}")))


def _framed(headers: bytes, payload: bytes) -> bytes:
    prelude = pack("!II", len(headers) + len(payload) + 16, len(headers))
    prelude += pack("!I", crc32(prelude))
    return prelude + headers + payload + pack("!I", crc32(prelude + headers + payload))


def test_a_large_message_in_many_pieces_takes_linear_time():
    data = text("x" * 2_000_000)
    reader = frames.FrameReader()

    found = [m for at in range(0, len(data), 1000) for m in reader.feed(data[at : at + 1000])]

    assert len(found) == 1


KEYS = [
    *("text", "toolUse", "input", "name", "toolUseId", "reasoningContent", "citation", "image"),
    *("source", "bytes", "toolResult", "delta", "start", "contentBlockIndex", "usage", "trace"),
    *("guardrail", "stopReason", "signature", "redactedContent"),
]
EVENTS = [
    *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop"),
    *("messageStop", "metadata", "throttlingException", "novelty"),
]
LEAVES = st.sampled_from([None, True, 0, 1, -1, 1.5, "", "x", "\ud83d", [], {}])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), VALUES), max_size=5))
def test_whatever_the_events_hold_only_our_own_errors_leave(said):
    pieces = [event(name, payload=json.dumps(value).encode()) for name, value in said]

    _, failure = read_all([*pieces, *ended()])

    assert failure is None or isinstance(failure, GatewayError)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_whatever_the_bytes_are_only_our_own_errors_leave(rubbish, at):
    data = b"".join([*HELLO, *ended()])

    _, failure = read_all([data[:at] + rubbish + data[at:]])

    assert failure is None or isinstance(failure, GatewayError)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_whatever_a_whole_answer_holds_only_our_own_errors_leave(value):
    body = {"output": {"message": {"content": [value]}}, "stopReason": value, "usage": value}

    with suppress(ProviderProtocolError):
        decoder().whole(json.dumps(body).encode())
