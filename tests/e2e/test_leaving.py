"""A caller who leaves stops the vendor's meter, is charged once, and leaves nothing behind."""

import asyncio
import json
import time

import grpc
import pytest

from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.service import asking

POINTS = range(20)
CLOSED_WITHIN_SECONDS = 0.1


def chunk(text: str) -> bytes:
    return json.dumps(
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]}
    ).encode()


def a_held_stream(pieces: int) -> Reply:
    """So many chunks at once, and then silence until the client hangs up."""
    body = [sse([chunk(f"word{n} ")], done=False) for n in range(pieces)]
    return Reply(200, {"content-type": "text/event-stream"}, body, held=True)


async def texts(call, wanted: int) -> str:
    """Read until so many words have come."""
    text = ""
    async for event in call:
        text += event.part_delta.text
        if text.count("word") >= wanted:
            return text
    raise AssertionError("the stream ended early")


@pytest.fixture
async def held(service, vendor, request):
    name = f"held-{abs(hash(request.node.name)) % 10**8}"
    await service.add_provider(name, vendor.base_uri)
    return f"providers/{name}/models/m"


async def settled(service, model) -> list:
    """The rows of the model's calls, once they are there."""
    async with asyncio.timeout(10):
        while True:
            rows = [r for r in await service.records() if r.attempt.target.model == model]
            if rows:
                return rows
            await asyncio.sleep(0.01)


def our_tasks() -> set[str]:
    """Tasks that could be left over of a call."""
    names = (task.get_coro().__qualname__ for task in asyncio.all_tasks())
    return {name for name in names if "Completion" in name or "Egress" in name or "chat" in name}


@pytest.mark.parametrize("point", POINTS)
async def test_cancelling_a_stream_closes_the_upstream_at_once(service, vendor, held, point):
    vendor.replies.append(a_held_stream(point))
    call = service.completions.StreamComplete(asking(held), timeout=60)
    if point:
        await texts(call, point)
    else:
        reading = asyncio.create_task(call.read())
        await vendor.heard.wait()

    call.cancel()
    left = time.monotonic()
    async with asyncio.timeout(5):
        await vendor.hung_up.wait()
    took = time.monotonic() - left

    if not point:
        with pytest.raises(asyncio.CancelledError):
            await reading
    rows = await settled(service, held)
    assert took < CLOSED_WITHIN_SECONDS
    assert [row.error_reason for row in rows] == ["CANCELLED"]
    assert rows[0].attempt.usage.input_tokens > 0
    assert rows[0].attempt.usage.estimated
    assert (rows[0].attempt.usage.output_tokens > 0) == (point > 0)
    assert not our_tasks()


@pytest.mark.parametrize("point", POINTS)
async def test_a_deadline_closes_the_upstream_at_once(service, vendor, held, point):
    vendor.replies.append(a_held_stream(point))
    began = time.monotonic()
    call = service.completions.StreamComplete(asking(held), timeout=0.5 + point / 100)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await texts(call, 10_000)
    ended = time.monotonic()
    async with asyncio.timeout(5):
        await vendor.hung_up.wait()
    took = time.monotonic() - ended

    rows = await settled(service, held)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended - began >= 0.5 + point / 100 - 0.02
    assert took < CLOSED_WITHIN_SECONDS
    assert [row.error_reason for row in rows] == ["DEADLINE_EXCEEDED"]
    assert not our_tasks()


async def test_cancelling_a_whole_answer_closes_the_upstream_at_once(service, vendor, held):
    vendor.replies.append(Reply(200, {}, (), held=True))
    call = service.completions.Complete(asking(held), timeout=60)
    waiting = asyncio.ensure_future(call.code())
    await vendor.heard.wait()

    call.cancel()
    async with asyncio.timeout(CLOSED_WITHIN_SECONDS):
        await vendor.hung_up.wait()

    assert await waiting is grpc.StatusCode.CANCELLED
    rows = await settled(service, held)
    assert [row.error_reason for row in rows] == ["CANCELLED"]
