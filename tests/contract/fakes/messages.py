"""Anthropic's Messages API, played over HTTP: as strict with requests as the vendor is."""

import json
import re

import msgspec
from vendor_server import Asked, Reply

from fakes.messages_checks import check_body
from fakes.said import Finish, Said, cut, own_tokens
from llm_service.providers.messages.formats import FORMAT_TOOL

_PATH = re.compile(r"/v1/messages(/count_tokens)?")
_STOPS = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.REFUSAL: "refusal",
}
_FRAME, _TURN = 7, 4  # tokens around all, and around each turn
_FILTERED = "Output blocked by content filtering policy"
_ERRORS = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your rate limit"),
    "bad_key": (401, "authentication_error", "invalid x-api-key"),
    "no_permission": (403, "permission_error", "Your API key does not have permission"),
    "quota": (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API.",
    ),
    "context_length": (
        400,
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
    "not_found": (404, "not_found_error", "model: some-model"),
    "bad_request": (400, "invalid_request_error", "messages.0.content: Field required"),
    "timeout": (504, "timeout_error", "Request timed out"),
}


def check(asked: Asked) -> None:
    """Assert that the vendor would take the request."""
    assert asked.method == "POST"
    assert _PATH.fullmatch(asked.path), asked.path
    assert asked.headers["x-api-key"]
    assert asked.headers["content-type"] == "application/json"
    version = asked.headers["anthropic-version"]
    assert version in ("2023-06-01", "2026-10-21")
    check_body(asked.json, version, counting=asked.path.endswith("/count_tokens"))


def answer(said: Said, asked: Asked) -> Reply:
    """The answer in one piece."""
    if said.finish is Finish.CONTENT_FILTER:
        return _error(400, "invalid_request_error", _FILTERED)
    message = _message(said) | {
        "content": _blocks(said, asked),
        "stop_reason": _stop(said, asked),
        "stop_sequence": None,
        "usage": _usage(said),
    }
    if said.refusal:
        message["stop_details"] = _details(said)
    return Reply(200, {"request-id": "req_1"}, [msgspec.json.encode(message)])


def stream(said: Said, asked: Asked) -> Reply:
    """The answer event by event."""
    if said.finish is Finish.CONTENT_FILTER:
        return _error(400, "invalid_request_error", _FILTERED)
    begun = _usage(said) | {"output_tokens": 1}
    begun.pop("output_tokens_details", None)
    nothing_yet = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": begun}
    events = [{"type": "message_start", "message": _message(said) | nothing_yet}, {"type": "ping"}]
    for index, block in enumerate(_blocks(said, asked)):
        events += _streamed(block, index, said)
    delta = {"stop_reason": _stop(said, asked), "stop_sequence": None}
    if said.refusal:
        delta["stop_details"] = _details(said)
    usage = {name: count for name, count in _usage(said).items() if name != "cache_creation"}
    events.append({"type": "message_delta", "delta": delta, "usage": usage})
    events.append({"type": "message_stop"})
    headers = {"content-type": "text/event-stream; charset=utf-8", "request-id": "req_1"}
    return Reply(200, headers, [_event(event) for event in events])


def told(asked: Asked, made: int) -> Reply | None:
    """The count of what it is asked to count, of nothing it has made."""
    if not asked.path.endswith("/count_tokens"):
        return None
    check(asked)
    texts = [block["text"] for turn in asked.json["messages"] for block in turn["content"]]
    tokens = _FRAME + sum(_TURN + own_tokens(text) for text in texts)
    return Reply(200, {}, [msgspec.json.encode({"input_tokens": tokens})])


def error(name: str) -> Reply:
    """The vendor's error of the name."""
    return _error(*_ERRORS[name])


def _error(status: int, kind: str, message: str) -> Reply:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    headers = {"retry-after": "7"} if status == 429 else {}
    return Reply(status, headers, [json.dumps(body).encode()])


def _event(event: dict) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"


def _message(said: Said) -> dict:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": said.model}


def _answers_by_tool(said: Said, asked: Asked) -> bool:
    tools = asked.json.get("tools", ())
    return bool(said.text) and any(tool.get("name") == FORMAT_TOOL for tool in tools)


def _stop(said: Said, asked: Asked) -> str:
    return "tool_use" if _answers_by_tool(said, asked) else _STOPS[said.finish]


def _blocks(said: Said, asked: Asked) -> list[dict]:
    blocks = []
    if said.thinking:
        signed = {"thinking": said.thinking, "signature": said.signature}
        blocks.append({"type": "thinking", **signed})
    if _answers_by_tool(said, asked):
        blocks.append(_call("toolu_format", FORMAT_TOOL, said.text))
    elif said.text:
        blocks.append({"type": "text", "text": said.text})
    return blocks + [_call(call.id, call.name, call.arguments) for call in said.calls]


def _call(call_id: str, name: str, arguments: str) -> dict:
    raw = msgspec.Raw((arguments or "{}").encode())
    return {"type": "tool_use", "id": call_id, "name": name, "input": raw}


def _streamed(block: dict, index: int, said: Said) -> list[dict]:
    match block["type"]:
        case "text":
            empty = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": p} for p in cut(block["text"], said.pieces)]
        case "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            pieces = cut(block["thinking"], said.pieces)
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case _:
            empty = block | {"input": {}}
            arguments = bytes(block["input"]).decode()
            pieces = ["", *cut(arguments, 3)] if arguments != "{}" else [""]
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _usage(said: Said) -> dict:
    """The vendor leaves what was cached out of `input_tokens`."""
    tokens = said.tokens
    return {
        "input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"thinking_tokens": tokens.reasoning},
    }


def _details(said: Said) -> dict:
    return {"type": "refusal", "category": "cyber", "explanation": said.refusal}
