"""OpenAI's Responses API as a fake: strict about what it is asked, true to its framing."""

import json
from typing import Any

from vendor_server import Asked, Reply

from fakes.said import Finish, Said, cut

FIELDS = {
    "model", "input", "stream", "store", "include", "instructions", "max_output_tokens",
    "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key",
    "prompt_cache_options", "reasoning", "safety_identifier", "service_tier", "stream_options",
    "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation",
}  # fmt: skip
EFFORTS = {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
INPUT_BLOCKS = {
    "input_text": {"type", "text", "prompt_cache_breakpoint"},
    "input_image": {"type", "detail", "image_url", "file_id", "prompt_cache_breakpoint"},
    "input_file": {
        "type", "file_data", "file_id", "file_url", "filename", "detail", "prompt_cache_breakpoint",
    },
}  # fmt: skip
OUTPUT_BLOCKS = {
    "output_text": {"type", "text", "annotations", "logprobs"},
    "refusal": {"type", "refusal"},
}
CALLS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "shell_call": "shell_call_output",
    "local_shell_call": "local_shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "computer_call": "computer_call_output",
}
ERRORS: dict[str, tuple[int, str | None, str]] = {
    "rate_limit": (429, "rate_limit_exceeded", "requests"),
    "bad_key": (401, "invalid_api_key", "invalid_request_error"),
    "no_permission": (403, "unsupported_country_region_territory", "request_forbidden"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
    "context_length": (400, "context_length_exceeded", "invalid_request_error"),
    "overloaded": (503, None, "service_unavailable_error"),
    "server_error": (500, "server_error", "server_error"),
    "not_found": (404, "model_not_found", "invalid_request_error"),
    "bad_request": (400, None, "invalid_request_error"),
    "timeout": (408, None, "timeout"),
}


def check(asked: Asked) -> None:
    """Whether the vendor would take the request."""
    assert asked.method == "POST"
    assert asked.path.partition("?")[0].endswith("/responses")
    assert "authorization" in asked.headers or "api-key" in asked.headers
    body = asked.json
    assert set(body) <= FIELDS, set(body) - FIELDS
    assert isinstance(body["model"], str)
    assert body["model"]
    assert isinstance(body["input"], list)
    assert body["input"]
    assert body.get("reasoning", {}).get("effort", "low") in EFFORTS
    assert body.get("reasoning", {}).get("summary", "auto") in {"auto", "concise", "detailed"}
    assert all(isinstance(name, str) for name in body.get("include", []))
    _check_tools(body)
    _check_format(body.get("text", {}))
    _check_items(body["input"])


def _check_tools(body: dict[str, Any]) -> None:
    names = set()
    for tool in body.get("tools", []):
        if tool["type"] == "function":
            assert set(tool) <= {"type", "name", "description", "parameters", "strict"}
            assert isinstance(tool["parameters"], dict)
            assert isinstance(tool["strict"], bool)
            names.add(tool["name"])
    assert body.get("tools", ["none"]), "an empty list of tools"
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, str):
        assert choice in {"auto", "none", "required"}
    elif choice["type"] == "function":
        assert choice["name"] in names
    else:
        assert choice["type"] == "allowed_tools"
        assert choice["mode"] in {"auto", "required"}
        assert {tool["name"] for tool in choice["tools"]} <= names
    assert names or "parallel_tool_calls" not in body


def _check_format(text: dict[str, Any]) -> None:
    said = text.get("format", {"type": "text"})
    if said["type"] == "json_schema":
        assert set(said) <= {"type", "name", "schema", "strict", "description"}
        assert isinstance(said["schema"], dict)
        assert said["name"]
    else:
        assert said in ({"type": "text"}, {"type": "json_object"})


def _check_items(items: list[dict[str, Any]]) -> None:
    called: dict[str, str] = {}
    ids = [item["id"] for item in items if "id" in item]
    assert len(ids) == len(set(ids)), "an item comes twice"
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            _check_message(item)
        elif kind.endswith("_output") and kind in CALLS.values():
            _check_output(item, called)
        elif kind == "reasoning":
            assert item["id"]
            assert isinstance(item["summary"], list)
            assert item.get("encrypted_content") or item.get("content")
        else:
            assert kind != "item_reference"
            if kind == "function_call":
                assert isinstance(item["arguments"], str)
                assert item["name"]
            if "call_id" in item:
                assert 0 < len(item["call_id"]) <= 64
                called[item["call_id"]] = kind


def _check_output(item: dict[str, Any], called: dict[str, str]) -> None:
    call_id = item.get("call_id") or item["id"]
    assert CALLS[called.pop(call_id)] == item["type"]
    if item["type"] == "function_call_output":
        assert set(item) <= {"type", "call_id", "output", "caller", "id", "status"}
        _check_content(item["output"], INPUT_BLOCKS)


def _check_message(item: dict[str, Any]) -> None:
    assert item["role"] in {"user", "system", "developer", "assistant"}
    if item["role"] == "assistant" and isinstance(item["content"], list):
        assert item["id"].startswith("msg_")
        assert item["status"] in {"in_progress", "completed", "incomplete"}
        assert item["content"]
        assert set(item) <= {"type", "role", "id", "status", "phase", "content"}
        _check_content(item["content"], OUTPUT_BLOCKS)
    else:
        assert set(item) <= {"type", "role", "content", "status"}
        _check_content(item["content"], INPUT_BLOCKS)


def _check_content(content: str | list[dict[str, Any]], blocks: dict[str, set[str]]) -> None:
    if isinstance(content, str):
        return
    assert content
    for block in content:
        assert set(block) <= blocks[block["type"]], block
        if block["type"] == "output_text":
            assert isinstance(block["annotations"], list)
        if block["type"] == "input_image":
            assert ("image_url" in block) != ("file_id" in block)
            assert block["detail"] in {"low", "high", "auto", "original"}


def answer(said: Said, asked: Asked) -> Reply:
    """The scripted answer, whole."""
    return Reply(200, {"content-type": "application/json"}, [json.dumps(_whole(said)).encode()])


def stream(said: Said, asked: Asked) -> Reply:
    """The same in events."""
    events: list[dict[str, Any]] = []
    begun = {**_response(said), "status": "in_progress", "output": [], "usage": None}
    events.append({"type": "response.created", "response": begun})
    events.append({"type": "response.in_progress", "response": begun})
    for index, item in enumerate(_items(said)):
        events += _events(item, index, said)
    ended = _whole(said)
    events.append({"type": f"response.{ended['status']}", "response": ended})
    pieces = [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': n})}\n\n".encode()
        for n, event in enumerate(events)
    ]
    return Reply(200, {"content-type": "text/event-stream"}, pieces)


def error(name: str) -> Reply | None:
    status, code, kind = ERRORS[name]
    prose = "This request did not go well: sk-0123456789abcdef."
    body = {"error": {"message": prose, "type": kind, "param": None, "code": code}}
    headers = {"retry-after": "2"} if status in (429, 503) else {}
    return Reply(status, headers, [json.dumps(body).encode()])


def _response(said: Said) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": said.model, "tools": [], "error": None}


def _whole(said: Said) -> dict[str, Any]:
    reasons = {Finish.LENGTH: "max_output_tokens", Finish.CONTENT_FILTER: "content_filter"}
    reason = reasons.get(said.finish)
    tokens = said.tokens
    return {
        **_response(said),
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _items(said),
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {
                "cached_tokens": tokens.cache_read,
                "cache_write_tokens": tokens.cache_write,
            },
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        },
    }


def _items(said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thinking or said.signature:
        summary = [{"type": "summary_text", "text": said.thinking}] if said.thinking else []
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary})
        items[-1]["encrypted_content"] = said.signature or None
    content = []
    if said.refusal:
        content.append({"type": "refusal", "refusal": said.refusal})
    elif said.text:
        content.append({"type": "output_text", "text": said.text, "annotations": []})
    if content:
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        items.append({**message, "content": content})
    for number, call in enumerate(said.calls):
        called = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        items.append({"type": "function_call", "id": f"fc_{number}", "status": "completed"})
        items[-1] |= called
    return items


def _events(item: dict[str, Any], index: int, said: Said) -> list[dict[str, Any]]:
    at = {"output_index": index, "item_id": item["id"]}
    begun = {**item, "status": "in_progress"}
    inside: list[dict[str, Any]] = []
    if item["type"] == "function_call":
        begun["arguments"] = ""
        kind = "response.function_call_arguments"
        inside += [{"type": f"{kind}.delta", "delta": d} for d in cut(item["arguments"], 3)]
        inside.append({"type": f"{kind}.done", "arguments": item["arguments"]})
    elif item["type"] == "reasoning":
        begun |= {"summary": [], "encrypted_content": "unfinished"}
        inside += _block(item["summary"], "response.reasoning_summary_text", "summary_index", said)
    else:
        begun["content"] = []
        kind = "refusal" if said.refusal else "output_text"
        inside += _block(item["content"], f"response.{kind}", "content_index", said)
    added = {"type": "response.output_item.added", "output_index": index, "item": begun}
    done = {"type": "response.output_item.done", "output_index": index, "item": item}
    return [added, *({**event, **at} for event in inside), done]


def _block(blocks, kind: str, place: str, said: Said) -> list[dict[str, Any]]:
    events = []
    part = (
        "response.reasoning_summary_part" if place == "summary_index" else "response.content_part"
    )
    for number, block in enumerate(blocks):
        text = block.get("text") or block.get("refusal")
        events.append({"type": f"{part}.added", place: number, "part": {**block}})
        events += [
            {"type": f"{kind}.delta", place: number, "delta": piece}
            for piece in cut(text, said.pieces)
        ]
        events.append({"type": f"{kind}.done", place: number, "text": text})
        events.append({"type": f"{part}.done", place: number, "part": block})
    return events
