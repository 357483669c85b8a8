"""Every recording through the whole service: a gRPC client gets what the openai SDK says."""

import asyncio
import itertools
from collections import defaultdict
from dataclasses import replace

import pytest

from llm_service.providers.http import Response
from llm_service.rpc.stubs import completion_pb2 as pb
from tests.contract.openai_oracle import Told, read_answer, read_stream
from tests.contract.recordings import answers, arrivals, streams
from tests.contract.vendor_server import Reply
from tests.e2e.service import asking

_numbers = itertools.count()
SSE = {"content-type": "text/event-stream"}
SINGLE_BYTES = 8 * 1024
ODD_BYTES = 97


def told(message, provider_finish_reason: str) -> Told:
    text = thinking = refusal = ""
    calls = []
    for part in message.parts:
        match part.WhichOneof("part"):
            case "text":
                text += part.text
            case "thinking":
                thinking += part.thinking.text
            case "refusal":
                refusal += part.refusal
            case "tool_call":
                call = part.tool_call
                calls.append((call.id, call.name, call.arguments_json))
    return Told(text, thinking, refusal, calls, provider_finish_reason or None, None)


def folded(events) -> pb.Completion:
    """What a client that follows the contract makes of the events."""
    completion = pb.Completion()
    for number, event in enumerate(events):
        assert event.sequence == number
        match event.WhichOneof("event"):
            case "started":
                completion.id = event.started.id
            case "part_started":
                assert event.part_started.index == len(completion.message.parts)
                completion.message.parts.add().CopyFrom(event.part_started.part)
            case "part_delta":
                grow(completion.message.parts[event.part_delta.index], event.part_delta)
            case "finished":
                completion.finish_reason = event.finished.finish_reason
                completion.provider_finish_reason = event.finished.provider_finish_reason
                completion.usage.CopyFrom(event.finished.usage)
    assert events[0].HasField("started")
    assert events[-1].HasField("finished")
    return completion


def grow(part, delta) -> None:
    match delta.WhichOneof("delta"):
        case "text":
            part.text += delta.text
        case "thinking":
            part.thinking.text += delta.thinking
        case "refusal":
            part.refusal += delta.refusal
        case "arguments_json":
            part.tool_call.arguments_json += delta.arguments_json
        case "citation":
            part.citations.add().CopyFrom(delta.citation)


def arrivals_over_a_socket(data: bytes) -> list[list[bytes]]:
    """Whole, in odd pieces, and by event.

    The odd pieces: of a long recording the first bytes one by one, the rest so that events are cut
    anywhere. Each is a turn of the event loop; every byte alone is `one_byte_a_read`.
    """
    whole, by_byte, by_event = arrivals(data).values()
    rest = [data[n : n + ODD_BYTES] for n in range(SINGLE_BYTES, len(data), ODD_BYTES)]
    return [whole, [*by_byte[:SINGLE_BYTES], *rest], by_event]


def assert_same_usage(ours, theirs) -> None:
    if theirs is None:
        assert ours.estimated
        return
    answered = theirs["completion_tokens_details"] or {}
    reasoning = answered.get("reasoning_tokens") or 0
    output = theirs["completion_tokens"]
    if theirs["total_tokens"] == theirs["prompt_tokens"] + output + reasoning:
        output += reasoning
    assert (ours.input_tokens, ours.output_tokens) == (theirs["prompt_tokens"], output)
    assert ours.reasoning_output_tokens == reasoning


@pytest.fixture
def one_byte_a_read(monkeypatch):
    """Whatever has arrived from the vendor, the service reads it byte by byte."""

    async def chunk(response: Response, *, by: float) -> bytes:
        byte = bytes(itertools.islice(unread[response], 1))
        if not byte:
            unread[response] = iter(await everything(response, by=by))
            byte = bytes(itertools.islice(unread[response], 1))
        return byte

    everything = Response.chunk
    unread = defaultdict(lambda: iter(b""))
    monkeypatch.setattr(Response, "chunk", chunk)


@pytest.fixture
async def model(service, vendor):
    provider_id = f"wire-{next(_numbers)}"
    await service.add_provider(provider_id, vendor.base_uri)
    return f"providers/{provider_id}/models/recorded"


@pytest.mark.parametrize("data", answers())
async def test_a_recorded_answer(service, vendor, model, data):
    theirs = await read_answer(data)
    vendor.say(data)

    answer = await service.completions.Complete(asking(model), timeout=20)

    assert_same(answer.completion, theirs)


async def streamed(service, vendor, model, pieces) -> pb.Completion:
    vendor.replies.append(Reply(200, SSE, pieces))
    call = service.completions.StreamComplete(asking(model), timeout=50)
    return folded([event async for event in call])


def assert_same(completion, theirs: Told) -> None:
    ours = told(completion.message, completion.provider_finish_reason)
    assert ours == replace(theirs, usage=None)
    assert_same_usage(completion.usage, theirs.usage)


@pytest.mark.parametrize("data", streams())
async def test_a_recorded_stream_whole_in_odd_pieces_and_by_event(service, vendor, model, data):
    theirs = await asyncio.to_thread(read_stream, data)

    for pieces in arrivals_over_a_socket(data):
        completion = await streamed(service, vendor, model, pieces)

        assert_same(completion, theirs)


@pytest.mark.parametrize("data", streams())
async def test_a_recorded_stream_byte_by_byte(service, vendor, model, data, one_byte_a_read):
    theirs = await asyncio.to_thread(read_stream, data)

    completion = await streamed(service, vendor, model, [data])

    assert_same(completion, theirs)
