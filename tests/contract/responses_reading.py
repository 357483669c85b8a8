"""Reads Responses answers with our decoder, as the adapter does, and writes events of them."""

import json

from recordings import WIRE, answer_params, other_params, sse, stream_params

from llm_service.providers.fold import fold
from llm_service.providers.responses.decoder import ResponsesDecoder
from llm_service.providers.vendor import Reply

FOLDER = WIRE / "openai-responses"
_LAST = ("response.completed", "response.incomplete", "response.failed")


def streams() -> list:
    """Every recorded stream of an answer, the first where it holds several."""
    return stream_params(FOLDER, _framed, _is_event)


def answers() -> list:
    """Every whole answer."""
    return answer_params(FOLDER, _is_answer)


def no_answers() -> list:
    """Errors, and what is no answer of the API: Chat Completions lie in the folder too."""
    return other_params(FOLDER, _all_framed, _is_answer, _is_event)


def _is_answer(said: dict) -> bool:
    return said.get("object") == "response" and not said.get("error")


def _is_event(said: dict) -> bool:
    kind = said.get("type")
    return type(kind) is str and kind not in ("error", "response.failed")


def _framed(lines: list[bytes]) -> bytes:
    return sse(_first_answer(lines), done=False)


def _all_framed(lines: list[bytes]) -> bytes:
    return sse(lines, done=False)


def _first_answer(lines):
    """The lines of one answer: some recordings hold one after another."""
    for line in lines:
        yield line
        if json.loads(line).get("type") in _LAST:
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
