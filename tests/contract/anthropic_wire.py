"""The Messages API's recordings, its framing, and its answers as our decoder reads them."""

import json
import re
from pathlib import Path

import pytest
from recordings import WIRE

from llm_service.providers.fold import fold
from llm_service.providers.messages.decoder import MessagesDecoder
from llm_service.providers.vendor import Reply

_TYPE = re.compile(rb'\{"type": ?"(\w+)"')
FOLDER = WIRE / "anthropic-messages"
# Two halves of two answers, as a relay joined them: no answer, and the SDK misreads it.
SPLICED = "spliced-message-start.chunks.txt"


def streams() -> list:
    """Every streamed recording of an answer as SSE bytes; one skipped test if there are none."""
    return _found(
        [path for path in sorted(FOLDER.glob("*.chunks.txt")) if path.name != SPLICED], framed
    )


def answers() -> list:
    """Every whole answer."""
    return _found(sorted(FOLDER.glob("*.json")), Path.read_bytes)


def framed(path: Path) -> bytes:
    return sse(*(line for line in path.read_bytes().split(b"\n") if line.strip()))


def sse(*payloads: bytes | dict) -> bytes:
    """Events as the vendor frames them."""
    stream = b""
    for payload in payloads:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        kind = _TYPE.match(data)
        stream += b"event: " + (kind[1] if kind else b"") + b"\ndata: " + data + b"\n\n"
    return stream


def decoder(format_tool: str = "", headers=None, hide: str = "") -> MessagesDecoder:
    return MessagesDecoder("anthropic", format_tool, Reply("", (), headers or {}, hide))


def read(pieces, reader: MessagesDecoder | None = None) -> list:
    """The events of a stream that came in these pieces; raises its failure."""
    reader = reader or decoder()
    events = []
    for piece in pieces:
        events += reader.feed(piece)
        if reader.done or reader.failure:
            break
    else:
        events += reader.end()
    if reader.failure is not None:
        raise reader.failure
    return events


def read_events(*payloads: bytes | dict, format_tool: str = ""):
    """The answer of a stream of these events."""
    return fold(read([sse(*payloads)], decoder(format_tool)))


# --- events ---------------------------------------------------------------------------------------


def start(**more) -> dict:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
        **more,
    }
    return {"type": "message_start", "message": message}


def opened(block: dict, index: int | None = 0) -> dict:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(kind: str, index: int | None = 0, **said) -> dict:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **said}}


def closed(index: int | None = 0) -> dict:
    return {"type": "content_block_stop", "index": index}


def stop(reason: str | None = "end_turn", usage=None, **more) -> dict:
    said = {"stop_reason": reason, "stop_sequence": None, **more}
    return {"type": "message_delta", "delta": said, "usage": usage or {"output_tokens": 5}}


def text(said: str, index: int = 0) -> list[dict]:
    """A whole block of text."""
    block = opened({"type": "text", "text": ""}, index)
    return [block, delta("text_delta", index, text=said), closed(index)]


def error(kind: str, message: str = "Overloaded", **more) -> dict:
    return {"type": "error", "error": {"type": kind, "message": message, **more}}


END: dict = {"type": "message_stop"}
PING: dict = {"type": "ping"}


def _found(paths, load) -> list:
    found = [pytest.param(load(path), id=path.name) for path in paths]
    missing = pytest.mark.skip(reason=f"there are no recordings in {FOLDER}")
    return found or [pytest.param(None, marks=missing)]
