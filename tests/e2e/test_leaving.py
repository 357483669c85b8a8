"""A caller who leaves stops the vendor's meter, is charged once, and leaves nothing behind."""

import asyncio
import json
import math
import time

import grpc
import pytest

from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.service import asking

POINTS = range(20)
CLOSED_WITHIN_SECONDS = 0.1
HEARD_WITHIN_SECONDS = 0.02  # what the service allows a caller's clock to be ahead
TRIES = 12


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


async def settled(service, model, count: int) -> list:
    """The rows of the model's calls, once so many are there."""
    async with asyncio.timeout(10):
        while True:
            if len(await rows_of(service, model)) >= count:
                # Reading flushes the ledger: whatever came twice would be here now.
                return await rows_of(service, model)
            await asyncio.sleep(0.01)


async def rows_of(service, model) -> list:
    return [r for r in await service.records() if r.attempt.target.model == model]


def our_tasks() -> set[str]:
    """Tasks that could be left over of a call."""
    names = (task.get_coro().__qualname__ for task in asyncio.all_tasks())
    return {name for name in names if "Completion" in name or "Egress" in name or "chat" in name}


async def hang_up_seconds(vendor) -> float:
    """How long the vendor waits for the connection to close, from now."""
    left = time.monotonic()
    async with asyncio.timeout(5):
        await vendor.hung_up.wait()
    vendor.hung_up.clear()
    return time.monotonic() - left


async def in_time(leave, count: int) -> list[float]:
    """Leave again while it took too long: a machine that pauses adds time, and never takes any."""
    times = []
    for _ in range(count):
        times.append(await leave())
        if times[-1] < CLOSED_WITHIN_SECONDS:
            break
    assert min(times) < CLOSED_WITHIN_SECONDS
    return times


@pytest.mark.parametrize("point", POINTS)
async def test_cancelling_a_stream_closes_the_upstream_at_once(service, vendor, held, point):
    async def leave() -> float:
        vendor.heard.clear()
        vendor.replies.append(a_held_stream(point))
        call = service.completions.StreamComplete(asking(held), timeout=60)
        reading = asyncio.create_task(texts(call, point) if point else call.read())
        await (reading if point else vendor.heard.wait())
        call.cancel()
        took = await hang_up_seconds(vendor)
        await asyncio.gather(reading, return_exceptions=True)
        return took

    times = await in_time(leave, TRIES)

    rows = await settled(service, held, len(times))
    assert {row.error_reason for row in rows} == {"CANCELLED"}
    assert len(rows) == len(times)
    assert all(row.attempt.usage.input_tokens > 0 for row in rows)
    assert all(row.attempt.usage.estimated for row in rows)
    assert all((row.attempt.usage.output_tokens > 0) == (point > 0) for row in rows)
    assert not our_tasks()


@pytest.mark.parametrize("point", POINTS)
async def test_a_deadline_closes_the_upstream_at_once(service, vendor, held, point):
    seconds = 0.025 + point / 200
    unheard = late = 0

    async def heard_after(began: float) -> float:
        await vendor.heard.wait()
        return time.monotonic() - began

    async def leave() -> float:
        nonlocal seconds, unheard, late
        seconds = min(seconds * 2, 2.0)  # what a busy machine had no time for gets more of it
        vendor.heard.clear()
        vendor.replies[:] = [a_held_stream(point)]
        began = time.monotonic()
        hearing = asyncio.create_task(heard_after(began))
        call = service.completions.StreamComplete(asking(held), timeout=seconds)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await texts(call, 10_000)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began >= seconds - 0.02
        if not vendor.heard.is_set():  # the machine paused until the deadline had passed
            hearing.cancel()
            unheard += 1
            return math.inf
        late += await hearing > HEARD_WITHIN_SECONDS
        return await hang_up_seconds(vendor)

    times = await in_time(leave, TRIES)

    rows = await settled(service, held, len(times) - unheard)
    # A caller's clock starts first. Where the machine paused before the call was heard, its library
    # may cancel before the service's clock has run out; nowhere else.
    reasons = [row.error_reason for row in rows]
    assert set(reasons) <= {"DEADLINE_EXCEEDED", "CANCELLED"}
    assert reasons.count("CANCELLED") <= late + unheard
    assert len(times) - unheard <= len(rows) <= len(times)
    assert not our_tasks()


async def test_cancelling_a_whole_answer_closes_the_upstream_at_once(service, vendor, held):
    async def leave() -> float:
        vendor.heard.clear()
        vendor.replies.append(Reply(200, {}, (), held=True))
        call = service.completions.Complete(asking(held), timeout=60)
        waiting = asyncio.ensure_future(call.code())
        await vendor.heard.wait()
        call.cancel()
        took = await hang_up_seconds(vendor)
        assert await waiting is grpc.StatusCode.CANCELLED
        return took

    times = await in_time(leave, TRIES)

    rows = await settled(service, held, len(times))
    assert {row.error_reason for row in rows} == {"CANCELLED"}
    assert len(rows) == len(times)
