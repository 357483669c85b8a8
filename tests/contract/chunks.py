"""Chunks of Chat Completions streams, each as the JSON of one event."""

import json

from llm_service.domain.content import ToolCall


def delta(**said) -> bytes:
    choice = {"index": 0, "delta": said, "finish_reason": None}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}).encode()


def finish(reason: str = "stop", **more) -> bytes:
    choice = {"index": 0, "delta": {}, "finish_reason": reason, **more}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}).encode()


def usage(**said) -> bytes:
    return json.dumps({"id": "chatcmpl-1", "choices": [], "usage": said}).encode()


def calling(*pieces: dict) -> bytes:
    return delta(tool_calls=list(pieces))


def piece(name=None, arguments=None, **more) -> dict:
    function = {"name": name, "arguments": arguments}
    return {**more, "function": {k: v for k, v in function.items() if v is not None}}


TEXT = delta(content="Hello")
A = ToolCall("a", "one", '{"x":1}')
