"""The Messages API's recordings, its framing, and its answers as our decoder reads them."""

import json
import re
from pathlib import Path

from recordings import WIRE, answer_params, other_params, stream_params

from llm_service.providers.fold import fold
from llm_service.providers.messages.decoder import MessagesDecoder
from llm_service.providers.vendor import Reply

_STARTED = re.compile(rb'"message_start".*?"id": ?"(\w+)"')
_TYPE = re.compile(rb'\{"type": ?"(\w+)"')
FOLDER = WIRE / "anthropic-messages"
# Two halves of two answers, as a relay joined them: no answer, and the SDK misreads it.
SPLICED = "spliced-message-start.chunks.txt"


def streams() -> list:
    """Every streamed recording of an answer as SSE bytes; one skipped test if there are none."""
    found = stream_params(FOLDER, _framed, _is_event)
    return [param for param in found if param.values[0] is None or not _is_spliced(*param.values)]


def answers() -> list:
    """Every whole answer."""
    return answer_params(FOLDER, _is_answer)


def no_answers() -> list:
    """Errors, and what is no answer of the Messages API."""
    return other_params(FOLDER, _framed, _is_answer, _is_event)


def _is_answer(said: dict) -> bool:
    return said.get("type") == "message"


def _is_event(said: dict) -> bool:
    return said.get("type") not in (None, "error")


def _is_spliced(stream: bytes) -> bool:
    """Another answer begins before the first one ends."""
    first = stream.partition(b"event: message_stop")[0]
    return len(set(_STARTED.findall(first))) > 1


def _framed(lines: list[bytes]) -> bytes:
    return sse(*lines)


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
