"""What the openai SDK makes of bytes and sends for parameters: the measure of our own code."""

import functools
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState


@dataclass
class Told:
    """An answer, in the terms both sides have."""

    text: str
    reasoning: str
    refusal: str
    calls: list[tuple[str, str, str]]
    finish: str | None
    usage: dict[str, Any] | None


def client(handler) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="sk-test",
        base_url="http://vendor.test/v1",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handler)),
    )


def reader(data: bytes, content_type: str) -> openai.OpenAI:
    """A client whose every call is answered with the data. No event loop: it is made often."""

    def reply(request):
        return httpx2.Response(200, headers={"content-type": content_type}, content=data)

    return openai.OpenAI(
        api_key="sk-test",
        base_url="http://vendor.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(reply)),
    )


@functools.cache
def read_stream(data: bytes) -> Told:
    """The SDK reads the chunks; its accumulator joins them, where it can."""
    with reader(data, "text/event-stream") as sdk:
        chunks = list(sdk.chat.completions.create(model="m", messages=[], stream=True))
    return _joined(chunks)


async def read_answer(data: bytes) -> Told:
    def reply(request):
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=data)

    async with client(reply) as sdk:
        answer = await sdk.chat.completions.create(model="m", messages=[])
    choice = answer.choices[0]
    return _told(choice.message, choice.finish_reason, answer.usage)


async def sent_body(**parameters) -> dict[str, Any]:
    """The JSON the SDK puts on the wire for the parameters."""
    seen = []

    def reply(request):
        seen.append(request.content)
        return httpx2.Response(200, json={"choices": []})

    async with client(reply) as sdk:
        await sdk.chat.completions.create(**parameters)
    return seen[0]


def _joined(chunks) -> Told:
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    _number_calls(chunks)
    lists = [c for c in chunks if c.choices and isinstance(c.choices[0].delta.content, list)]
    if lists:
        return _of_lists(chunks, usage)
    state = ChatCompletionStreamState()
    for chunk in chunks:
        if chunk.choices or chunk.usage:
            state.handle_chunk(chunk)
    choice = state.current_completion_snapshot.choices[0]
    return _told(choice.message, choice.finish_reason, usage[-1] if usage else None)


def _number_calls(chunks) -> None:
    """The accumulator wants calls numbered from 0; some vendors start at 1, or have no numbers."""
    numbers = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                call.index = numbers.setdefault(call.index, len(numbers))
                call.type = "function"


def _of_lists(chunks, usage) -> Told:
    """The accumulator refuses content lists without indexes: join the SDK's chunks by hand."""
    text = reasoning = ""
    finish = None
    for chunk in chunks:
        for choice in chunk.choices:
            more_text, more_reasoning = _contents(choice.delta.content)
            text += more_text
            reasoning += more_reasoning
            finish = choice.finish_reason or finish
    return Told(text, reasoning, "", [], finish, _usage(usage[-1] if usage else None))


def _told(message, finish, usage) -> Told:
    text, reasoning = _contents(message.content)
    extra = message.model_extra or {}
    return Told(
        text,
        reasoning + (extra.get("reasoning_content") or extra.get("reasoning") or ""),
        message.refusal or "",
        [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []],
        finish,
        _usage(usage),
    )


def _contents(content) -> tuple[str, str]:
    if not isinstance(content, list):
        return content or "", ""
    text = "".join(block["text"] for block in content if block["type"] == "text")
    thoughts = [block["thinking"] for block in content if block["type"] == "thinking"]
    return text, "".join(piece["text"] for thought in thoughts for piece in thought)


def _usage(usage) -> dict[str, Any] | None:
    return None if usage is None else usage.model_dump()
