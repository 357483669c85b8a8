"""What the anthropic SDK makes of bytes and sends for parameters: the measure of our own code."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
from anthropic.lib.streaming._beta_messages import accumulate_event

SERVER_CALLS = ("server_tool_use", "mcp_tool_use")


@dataclass
class Told:
    """An answer, in the terms both sides have.

    `calls`: id, name, input and whether the vendor ran it. `exact`: the argument text of each call
    that came in pieces. `kept`: blocks the contract has no place for.
    """

    text: str = ""
    thinking: list[tuple[str, str]] = field(default_factory=list)
    redacted: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, Any, bool]] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    citations: list[list[Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""
    finish: str = ""
    model: str = ""
    id: str = ""
    container: str = ""
    usage: dict[str, int] | None = None


def client(handler) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        api_key="sk-test",
        base_url="http://vendor.test",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handler)),
        open_telemetry=False,
    )


def read_stream(data: bytes) -> Told:
    """The SDK reads the events, up to the answer's end; its accumulator joins them."""
    return asyncio.run(_read_stream(data))


async def _read_stream(data: bytes) -> Told:
    def reply(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    snapshot, buffers, exact = None, {}, {}
    async with client(reply) as sdk:
        stream = await sdk.beta.messages.create(model="m", max_tokens=1, messages=[], stream=True)
        async for event in stream:
            snapshot = accumulate_event(
                event=event,
                current_snapshot=snapshot,
                json_bufs=buffers,
                request_headers=httpx2.Headers(),
            )
            if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                exact[event.index] = exact.get(event.index, "") + event.delta.partial_json
            if event.type == "message_stop":
                break
    told = _told(snapshot)
    told.exact = [text for _, text in sorted(exact.items()) if text]
    return told


async def read_answer(data: bytes) -> Told:
    def reply(request):
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=data)

    async with client(reply) as sdk:
        return _told(await sdk.beta.messages.create(model="m", max_tokens=1, messages=[]))


async def sent(**parameters) -> httpx2.Request:
    """The request the SDK makes for the parameters."""
    seen = []

    def reply(request):
        seen.append(request)
        return httpx2.Response(200, json={"type": "message", "content": []})

    async with client(reply) as sdk:
        await sdk.beta.messages.create(**parameters)
    return seen[0]


def _told(message) -> Told:
    told = Told(finish=message.stop_reason or "", model=message.model, id=message.id)
    for block in message.content:
        _add(told, block)
    details = message.stop_details
    told.refusal = (details.explanation or "") if details else ""
    told.container = message.container.id if message.container else ""
    told.usage = _usage(message.usage)
    return told


def _add(told: Told, block) -> None:
    if block.type == "text":
        told.text += block.text
        told.citations += [[c.to_dict() for c in block.citations]] if block.citations else []
    elif block.type == "thinking":
        told.thinking.append((block.thinking, block.signature or ""))
    elif block.type == "redacted_thinking":
        told.redacted.append(block.data)
    elif block.type == "tool_use" or block.type in SERVER_CALLS:
        told.calls.append((block.id, block.name, block.input, block.type in SERVER_CALLS))
    else:
        said = block.to_dict()
        told.kept.append({name: said[name] for name in said if said[name] is not None})


def _usage(usage) -> dict[str, int]:
    """Inclusive totals; a compaction is billed with the answer and left out of the SDK's totals."""
    parts = [usage, *(one for one in usage.iterations or () if one.type == "compaction")]
    cached = [(one.cache_read_input_tokens or 0) for one in parts]
    written = [(one.cache_creation_input_tokens or 0) for one in parts]
    kept = [
        one.cache_creation.ephemeral_1h_input_tokens if one.cache_creation else 0 for one in parts
    ]
    details = usage.output_tokens_details
    return {
        "input": sum(one.input_tokens for one in parts) + sum(cached) + sum(written),
        "output": sum(one.output_tokens for one in parts),
        "cache_read": sum(cached),
        "cache_write": sum(written),
        "cache_write_1h": sum(kept),
        "reasoning": details.thinking_tokens if details else 0,
    }
