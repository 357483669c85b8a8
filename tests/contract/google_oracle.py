"""What the google-genai SDK makes of bytes and sends for parameters: the measure of ours."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx2
from google import genai
from google.genai import types


@dataclass
class Told:
    """An answer, in the terms both sides have. `calls`: id, name and arguments, read."""

    text: str = ""
    thinking: str = ""
    signatures: list[bytes] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    finish: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    model: str = ""


def client(handler, **more) -> genai.Client:
    options = types.HttpOptions(
        base_url="http://vendor.test",
        api_version="v1beta",
        httpx_async_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handler)),
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    return genai.Client(api_key="key", http_options=options, **more)


def read_stream(data: bytes) -> Told:
    return asyncio.run(_read_stream(data))


def read_answer(data: bytes) -> Told:
    return asyncio.run(_read_answer(data))


async def sent_body(**parameters) -> dict[str, Any]:
    """The JSON the SDK puts on the wire for the parameters."""
    seen = []

    def reply(request):
        seen.append(request.content)
        return httpx2.Response(200, json={"candidates": []})

    await client(reply).aio.models.generate_content(**parameters)
    return json.loads(seen[0])


async def _read_stream(data: bytes) -> Told:
    def reply(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    stream = await client(reply).aio.models.generate_content_stream(model="m", contents="x")
    return _joined([chunk async for chunk in stream])


async def _read_answer(data: bytes) -> Told:
    def reply(request):
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=data)

    return _joined([await client(reply).aio.models.generate_content(model="m", contents="x")])


def _joined(chunks) -> Told:
    """The SDK leaves it to its callers to join the chunks, and the arguments of a call."""
    told = Told()
    pending: list[tuple[str, str, dict]] = []
    for chunk in chunks:
        told.model = told.model or chunk.model_version or ""
        if chunk.usage_metadata and chunk.usage_metadata.prompt_token_count is not None:
            told.usage = _usage(chunk.usage_metadata)
        for candidate in chunk.candidates or []:
            told.finish = candidate.finish_reason.value if candidate.finish_reason else told.finish
            for part in (candidate.content and candidate.content.parts) or []:
                _take(told, part, pending)
    told.calls = pending
    return told


def _take(told: Told, part, calls) -> None:
    if part.thought_signature:
        told.signatures.append(part.thought_signature)
    if part.text and part.thought:
        told.thinking += part.text
    elif part.text:
        told.text += part.text
    if (call := part.function_call) is None:
        return
    if call.name:
        calls.append((call.id or "", call.name, dict(call.args or {})))
    for arg in call.partial_args or []:
        _put(calls[-1][2], arg)


def _put(held: Any, arg) -> None:
    """Set a value at its path in what is held, or go on with the string that is there."""
    path = [
        int(index) if index else name
        for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", arg.json_path)
    ]
    for segment, following in pairwise(path):
        if isinstance(held, list) and segment == len(held):
            held.append([] if isinstance(following, int) else {})
        elif isinstance(held, dict):
            held.setdefault(segment, [] if isinstance(following, int) else {})
        held = held[segment]
    last = path[-1]
    value = next(
        (v for v in (arg.string_value, arg.number_value, arg.bool_value) if v is not None), None
    )
    if isinstance(held, list) and last == len(held):
        held.append(value)
    elif isinstance(held, dict) and last not in held:
        held[last] = value
    else:
        held[last] += value


def _usage(said) -> dict[str, int]:
    return {
        "input": (said.prompt_token_count or 0) + (said.tool_use_prompt_token_count or 0),
        "output": (said.candidates_token_count or 0) + (said.thoughts_token_count or 0),
        "reasoning": said.thoughts_token_count or 0,
        "cached": said.cached_content_token_count or 0,
    }
