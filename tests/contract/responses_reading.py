"""Reads Responses answers with our decoder, as the adapter does, and writes events of them."""

import json

import pytest
from recordings import WIRE, sse

from llm_service.providers.fold import fold
from llm_service.providers.responses.decoder import ResponsesDecoder
from llm_service.providers.vendor import Reply

FOLDER = WIRE / "openai-responses"
# Chat Completions answers lie in the folder too; one stream is no JSON where it begins.
OTHERS = ("azure-deepseek-reasoning.1.", "parallel-tool-call-wrapper.1.chunks.txt")


def recorded(suffix: str) -> list:
    """The recordings of answers; one skipped test if there are none."""
    found = [
        pytest.param(_bytes(path), id=path.name)
        for path in sorted(FOLDER.glob(f"*{suffix}"))
        if "error" not in path.name and not path.name.startswith(OTHERS)
    ]
    reason = f"there are no recordings in {FOLDER}"
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=reason))]


def _bytes(path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".json":
        return data
    return sse(_first_answer(line for line in data.split(b"\n") if line.strip()), done=False)


def _first_answer(lines):
    """The lines of one answer: some recordings hold one after another."""
    for line in lines:
        yield line
        if json.loads(line).get("type") == "response.completed":
            return


def decoder(format_tool: str = "", **reply) -> ResponsesDecoder:
    return ResponsesDecoder(
        "openai",
        format_tool,
        Reply(**{"request_id": "", "warnings": (), "headers": {}, "hide": "", **reply}),
    )


def read(pieces, reader: ResponsesDecoder | None = None) -> list:
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


def event(kind: str, **said) -> bytes:
    return json.dumps({"type": kind, **said}).encode()


def created(**said) -> bytes:
    return event("response.created", response={"id": "resp_1", "model": "m", **said})


def added(index: int, **item) -> bytes:
    return event("response.output_item.added", output_index=index, item=item)


def done(index: int, **item) -> bytes:
    return event("response.output_item.done", output_index=index, item=item)


def grown(kind: str, index: int, item_id: str, delta: str, **said) -> bytes:
    return event(f"response.{kind}.delta", output_index=index, item_id=item_id, delta=delta, **said)


def completed(*output, status: str = "completed", **said) -> bytes:
    response = {"id": "resp_1", "model": "m", "status": status, "output": list(output), **said}
    return event(f"response.{status}", response=response)


def message(text: str, item_id: str = "msg_1", **said) -> dict:
    block = {"type": "output_text", "text": text, "annotations": [], **said}
    return {
        "type": "message",
        "id": item_id,
        "role": "assistant",
        "status": "completed",
        "content": [block],
    }


def call(name: str, arguments: str, call_id: str, item_id: str = "fc_1", **said) -> dict:
    called = {"name": name, "arguments": arguments, "call_id": call_id}
    return {"type": "function_call", "id": item_id, "status": "completed", **called, **said}


def read_events(*payloads: bytes, reader: ResponsesDecoder | None = None):
    """The answer of a stream of these events."""
    return fold(read([sse(payloads, done=False)], reader))


def read_whole(*output, reader: ResponsesDecoder | None = None, **said):
    """The answer of a body with these items."""
    body = {"id": "resp_1", "model": "m", "status": "completed", "output": list(output), **said}
    return fold((reader or decoder()).whole(json.dumps(body).encode()))
