"""Bedrock's event streams as bytes, its recordings, and our decoder reading them."""

import json
from binascii import crc32
from struct import pack

import pytest
from recordings import WIRE

from llm_service.providers.converse.decoder import ConverseDecoder
from llm_service.providers.converse.parts import Names
from llm_service.providers.vendor import Reply

CONVERSE = WIRE / "bedrock-converse"
EVENT_STREAM = "application/vnd.amazon.eventstream"


def frame(payload: bytes, **headers: str) -> bytes:
    """One message; `event_type="x"` is the header ":event-type"."""
    named = b"".join(
        _header(f":{name.replace('_', '-')}", value) for name, value in headers.items()
    )
    prelude = pack("!II", len(named) + len(payload) + 16, len(named))
    prelude += pack("!I", crc32(prelude))
    return prelude + named + payload + pack("!I", crc32(prelude + named + payload))


def _header(name: str, value: str) -> bytes:
    encoded = value.encode()
    return pack("!B", len(name)) + name.encode() + b"\x07" + pack("!H", len(encoded)) + encoded


def event(name: str, said: object = None, *, payload: bytes | None = None) -> bytes:
    body = json.dumps(said or {}, ensure_ascii=False).encode() if payload is None else payload
    return frame(body, event_type=name, content_type="application/json", message_type="event")


def exception(name: str, message: str = "", **more) -> bytes:
    body = json.dumps({"message": message, **more}).encode()
    return frame(
        body, exception_type=name, content_type="application/json", message_type="exception"
    )


def text(said: str, index: int = 0) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": said}})


def delta(index: int, **said) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": said})


def start(index: int, **said) -> bytes:
    return event("contentBlockStart", {"contentBlockIndex": index, "start": said})


def stop(index: int) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": index})


def call(index: int, call_id: str, name: str, *pieces: str) -> list[bytes]:
    grown = [delta(index, toolUse={"input": piece}) for piece in pieces]
    return [start(index, toolUse={"toolUseId": call_id, "name": name}), *grown, stop(index)]


def ended(reason: str = "end_turn", usage: dict | None = None, **metadata) -> list[bytes]:
    said = {"usage": usage or {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}}
    return [event("messageStop", {"stopReason": reason}), event("metadata", said | metadata)]


def messages(path) -> list[bytes]:
    """A recorded stream, message by message."""
    lines = (json.loads(line) for line in path.read_text().splitlines() if line.strip())
    return [event(name, said) for line in lines for name, said in line.items()]


def streams() -> list:
    """Every streamed recording as its messages; one skipped test if there are none."""
    paths = sorted(CONVERSE.glob("*.chunks.txt"))
    return [pytest.param(messages(path), id=path.name) for path in paths] or [_missing()]


def answers() -> list:
    """Every whole answer."""
    found = [
        pytest.param(path.read_bytes(), id=path.name)
        for path in sorted(CONVERSE.glob("*.json"))
        if b'"output"' in path.read_bytes()
    ]
    return found or [_missing()]


def _missing():
    reason = f"there are no recordings in {CONVERSE}"
    return pytest.param(None, marks=pytest.mark.skip(reason=reason))


def decoder(model="some.model", family="anthropic", names=None, reply=None) -> ConverseDecoder:
    reply = reply or Reply("req-1", (), {}, "")
    return ConverseDecoder("bedrock", model, family, names or Names(), reply)


def read(pieces, **how) -> list:
    """The events of a stream that came in these pieces; raises its failure."""
    events, failure = read_all(pieces, **how)
    if failure is not None:
        raise failure
    return events


def read_all(pieces, **how) -> tuple[list, Exception | None]:
    """The events of a stream, and its failure."""
    reader = decoder(**how)
    events = []
    for piece in pieces:
        events += reader.feed(piece)
        if reader.done or reader.failure:
            break
    else:
        events += reader.end()
    return events, reader.failure
