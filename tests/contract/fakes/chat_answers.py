"""What a vendor of Chat Completions says: answers whole and streamed, and errors."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vendor_server import Asked, Reply

from fakes.said import Call, Finish, Said, cut, own_tokens

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream"}
_FINISH = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "stop",
}
# For each error: the status, the error's type and code, and its prose.
_ERRORS: dict[str, tuple[int, str, str | None, str]] = {
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests"),
    "bad_key": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided"),
    "no_permission": (403, "permission_error", None, "You are not allowed to use this model"),
    "quota": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
    "context_length": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens",
    ),
    "overloaded": (503, "server_error", None, "The engine is currently overloaded"),
    "server_error": (500, "server_error", None, "The server had an error"),
    "not_found": (404, "invalid_request_error", "model_not_found", "The model does not exist"),
    "bad_request": (400, "invalid_request_error", None, "Invalid value for 'temperature'"),
    "timeout": (408, "timeout", None, "The request timed out"),
}
# Each vendor's own name for thinking.
THOUGHTS = {"groq": "reasoning", "together": "reasoning", "openrouter": "reasoning"}


def answer(said: Said, asked: Asked, kind: str = "openai") -> Reply:
    """The whole answer."""
    said = _by_tool(said, asked)
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    message |= _thinking(said, said.thinking, kind, last=True)
    if said.refusal:
        message["refusal"] = said.refusal
    if said.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in said.calls
        ]
    if kind == "mistral" and said.thinking:
        message["content"] = [_block(said.thinking), {"type": "text", "text": said.text}]
    choice = {"index": 0, "message": message, "finish_reason": _FINISH[said.finish]}
    body = {**_head(said, "chat.completion"), "choices": [choice], "usage": usage(said)}
    return Reply(200, _JSON, [json.dumps(body).encode()])


def stream(said: Said, asked: Asked, kind: str = "openai") -> Reply:
    """The answer in pieces, each an event of its own."""
    said = _by_tool(said, asked)
    chunks = [_chunk(said, {"role": "assistant", "content": ""})]
    thoughts = cut(said.thinking, said.pieces) if said.thinking else []
    for number, piece in enumerate(thoughts):
        last = number == len(thoughts) - 1
        if kind == "mistral":
            chunks.append(_chunk(said, {"content": [_block(piece)]}))
        else:
            chunks.append(_chunk(said, _thinking(said, piece, kind, last=last)))
    chunks += [_chunk(said, {"content": piece}) for piece in _pieces(said.text, said)]
    chunks += [_chunk(said, {"refusal": piece}) for piece in _pieces(said.refusal, said)]
    for index, call in enumerate(said.calls):
        function = {"name": call.name, "arguments": ""}
        opened = {"index": index, "id": call.id, "type": "function", "function": function}
        chunks.append(_chunk(said, {"tool_calls": [opened]}))
        for piece in _pieces(call.arguments, said):
            grown = {"index": index, "function": {"arguments": piece}}
            chunks.append(_chunk(said, {"tool_calls": [grown]}))
    chunks.append(_chunk(said, {}, _FINISH[said.finish]))
    options = asked.json.get("stream_options") or {}
    _tell_on_the_way(chunks, said, asked.json, kind)
    if options.get("include_usage") or kind in ("mistral", "openrouter", "together"):
        told = {**_head(said, "chat.completion.chunk"), "choices": [], "usage": usage(said)}
        chunks.append(told)
    events = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    return Reply(200, _EVENTS, [*events, b"data: [DONE]\n\n"])


def _tell_on_the_way(chunks: list[dict[str, Any]], said: Said, asked: Any, kind: str) -> None:
    """What a vendor tells of its tokens beside the text."""
    if (asked.get("stream_options") or {}).get("continuous_usage_stats"):
        _tell_as_it_goes(chunks, said)
    if asked.get("return_token_ids"):
        _show_tokens(chunks, said)
    if kind == "together":
        _show_each_token(chunks, said)


def _tell_as_it_goes(chunks: list[dict[str, Any]], said: Said) -> None:
    """The usage so far with every chunk, by a vocabulary of its own (vLLM)."""
    text = ""
    for chunk in chunks:
        text += chunk["choices"][0]["delta"].get("content") or ""
        tokens = replace(said.tokens, output=own_tokens(text))
        chunk["usage"] = usage(replace(said, tokens=tokens))


def _show_tokens(chunks: list[dict[str, Any]], said: Said) -> None:
    """The tokens of each chunk, and of what went in, by a vocabulary of its own (Fireworks)."""
    chunks[0]["prompt_token_ids"] = list(range(said.tokens.input))
    text = ""
    for chunk in chunks:
        (choice,) = chunk["choices"]
        before = own_tokens(text)
        text += "".join(_says(choice["delta"]))
        choice["token_ids"] = list(range(before, own_tokens(text)))


def _show_each_token(chunks: list[dict[str, Any]], said: Said) -> None:
    """The token that a chunk is, except where it is several, and one it had guessed (Together)."""
    texts = 0
    for number, chunk in enumerate(chunks):
        delta = chunk["choices"][0]["delta"]
        is_text = bool(delta.get("content"))
        texts += is_text
        delta["token_id"] = number if is_text and said.pieces == 0 and texts != 2 else None


def _says(delta: dict[str, Any]) -> Iterator[str]:
    for name in ("content", "reasoning_content", "refusal"):
        yield delta.get(name) or ""
    for call in delta.get("tool_calls", ()):
        yield call["function"].get("arguments", "")


def error(name: str) -> Reply | None:
    """A refusal as OpenAI puts it."""
    if name not in _ERRORS:
        return None
    status, kind, code, prose = _ERRORS[name]
    headers = dict(_JSON)
    if name == "rate_limit":
        headers["retry-after"] = "2"
    body = {"error": {"message": prose, "type": kind, "param": None, "code": code}}
    return Reply(status, headers, [json.dumps(body).encode()])


def usage(said: Said) -> dict[str, Any]:
    """Inclusive totals, with their subsets."""
    tokens = said.tokens
    told: dict[str, Any] = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }
    if tokens.cache_write:
        told["prompt_tokens_details"]["cache_write_tokens"] = tokens.cache_write
    return told


def _by_tool(said: Said, asked: Asked) -> Said:
    """A model made to answer by a tool says what it has to say in the tool's arguments."""
    choice = asked.json.get("tool_choice")
    forced = isinstance(choice, dict) and "function" in choice
    if not forced or not said.text or said.calls:
        return said
    name = choice["function"]["name"]
    told = [tool["function"].get("description", "") for tool in asked.json["tools"]]
    if len(told) != 1 or not told[0].startswith("Answer by calling"):
        return said
    calls = (Call("call_answer", name, said.text),)
    finish = Finish.TOOL_CALLS if said.finish is Finish.STOP else said.finish
    return replace(said, text="", calls=calls, finish=finish)


def _pieces(text: str, said: Said) -> list[str]:
    return cut(text, said.pieces) if text else []


def _block(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def _thinking(said: Said, text: str, kind: str, *, last: bool) -> dict[str, Any]:
    if not text or kind == "mistral":
        return {}
    told: dict[str, Any] = {THOUGHTS.get(kind, "reasoning_content"): text}
    if kind == "openrouter":
        detail = {"type": "reasoning.text", "text": text, "index": 0, "format": "fake-v1"}
        if last and said.signature:
            detail["signature"] = said.signature
        told["reasoning_details"] = [detail]
    return told


def _head(said: Said, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1, "model": said.model}


def _chunk(said: Said, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**_head(said, "chat.completion.chunk"), "choices": [choice]}
