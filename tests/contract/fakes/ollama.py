"""Ollama's own API."""

import base64
import json
from typing import Any

from vendor_server import Asked, Reply

from fakes.said import Finish, Said, cut

_JSON = {"content-type": "application/json; charset=utf-8"}
_LINES = {"content-type": "application/x-ndjson"}
_FIELDS = frozenset(
    (
        *("model", "messages", "tools", "format", "options", "stream", "think", "keep_alive"),
        *("logprobs", "top_logprobs"),
    )
)
_OPTIONS = frozenset(
    (
        *("temperature", "top_p", "top_k", "num_predict", "stop", "seed", "frequency_penalty"),
        *("presence_penalty", "num_ctx", "min_p"),
    )
)
_MESSAGE = frozenset(
    ("role", "content", "images", "tool_calls", "thinking", "tool_name", "tool_call_id")
)
_ERRORS: dict[str, tuple[int, str]] = {
    "rate_limit": (429, "too many requests"),
    "bad_key": (401, "unauthorized"),
    "no_permission": (403, "access to this model is denied"),
    "quota": (429, "you have reached your weekly usage limit"),
    "context_length": (400, "the input length exceeds the context length"),
    "overloaded": (503, "server busy, please try again. maximum pending requests exceeded"),
    "server_error": (500, "llama runner process has terminated: exit status 2"),
    "not_found": (404, "model 'nope' not found"),
    "bad_request": (400, "invalid options: temperature"),
}


def check(asked: Asked) -> None:
    """Assert that the server would take the request."""
    assert (asked.method, asked.path) == ("POST", "/api/chat")
    body = asked.json
    assert not body.keys() - _FIELDS, body.keys() - _FIELDS
    assert isinstance(body["model"], str)
    assert isinstance(body.get("stream", True), bool)
    assert body.get("think", True) in (True, False, "low", "medium", "high")
    assert body.get("options", {}).keys() <= _OPTIONS
    assert body.get("format", "json") == "json" or isinstance(body["format"], dict)
    for tool in body.get("tools", []):
        assert tool["type"] == "function"
        assert tool["function"].keys() <= {"name", "description", "parameters"}
        assert isinstance(tool["function"]["parameters"], dict)
    calls: list[str] = []
    for message in body["messages"]:
        calls = _check_message(message, calls)


def _check_message(message: dict[str, Any], calls: list[str]) -> list[str]:
    assert not message.keys() - _MESSAGE, message.keys() - _MESSAGE
    assert message["role"] in ("system", "user", "assistant", "tool")
    assert isinstance(message["content"], str)
    for image in message.get("images", []):
        base64.b64decode(image, validate=True)
    if message["role"] == "tool":
        assert message["tool_call_id"] in calls, "a result without its call"
        return calls
    for call in message.get("tool_calls", []):
        assert isinstance(call["function"]["arguments"], dict)
    return calls + [call["id"] for call in message.get("tool_calls", [])]


def answer(said: Said, asked: Asked) -> Reply:
    """The whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text or said.refusal}
    if said.thinking:
        message["thinking"] = said.thinking
    if said.calls:
        message["tool_calls"] = [_call(call, n) for n, call in enumerate(said.calls)]
    body = {**_head(said), "message": message, **_end(said)}
    return Reply(200, _JSON, [_encoded(body)])


def stream(said: Said, asked: Asked) -> Reply:
    """The answer in lines."""
    thoughts = cut(said.thinking, said.pieces) if said.thinking else []
    messages: list[dict[str, Any]] = [{"content": "", "thinking": piece} for piece in thoughts]
    text = said.text or said.refusal
    messages += [{"content": piece} for piece in (cut(text, said.pieces) if text else [])]
    messages += [
        {"content": "", "tool_calls": [_call(call, n)]} for n, call in enumerate(said.calls)
    ]
    lines = [
        {**_head(said), "message": {"role": "assistant", **message}, "done": False}
        for message in messages
    ]
    lines.append({**_head(said), "message": {"role": "assistant", "content": ""}, **_end(said)})
    return Reply(200, _LINES, [_encoded(line) + b"\n" for line in lines])


def error(name: str) -> Reply | None:
    """A refusal; a server of one's own never times out."""
    if name not in _ERRORS:
        return None
    status, prose = _ERRORS[name]
    return Reply(status, _JSON, [_encoded({"error": prose})])


def _encoded(said: dict[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode()


def _call(call, number: int) -> dict[str, Any]:
    arguments = json.loads(call.arguments or "{}")
    return {
        "id": call.id,
        "function": {"index": number, "name": call.name, "arguments": arguments},
    }


def _head(said: Said) -> dict[str, Any]:
    return {"model": said.model, "created_at": "2026-11-21T01:02:03.000000004Z"}


def _end(said: Said) -> dict[str, Any]:
    reason = "length" if said.finish is Finish.LENGTH else "stop"
    return {
        "done": True,
        "done_reason": reason,
        "total_duration": 5,
        "load_duration": 1,
        "prompt_eval_count": said.tokens.input,
        "eval_count": said.tokens.output,
    }
