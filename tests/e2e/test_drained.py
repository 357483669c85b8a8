"""A provider that bills the whole answer, and a caller who goes: the row has the vendor's count."""

import asyncio
import json

from llm_service.rpc.stubs import usage_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import CANCEL_POLICY_DRAIN
from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.process import serving
from tests.e2e.service import asking

MODEL = "providers/billing/models/m"
SOURCES = pb.UsageRecord


def chunk(**fields) -> bytes:
    return json.dumps({"id": "c", "model": "m", "choices": [], **fields}).encode()


def a_paused_stream(go_on: asyncio.Event) -> Reply:
    """A word, and the rest with its count when told so."""
    word = chunk(choices=[{"index": 0, "delta": {"content": "word "}}])
    end = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    count = chunk(usage={"prompt_tokens": 30, "completion_tokens": 400})
    pieces = [sse([word], done=False), sse([end, count])]
    return Reply(200, {"content-type": "text/event-stream"}, pieces, until=go_on)


async def left(service, vendor, go_on: asyncio.Event) -> None:
    """Begin, hear a word, go; the vendor is still at it."""
    await service.add_provider("billing", vendor.base_uri, cancel_policy=CANCEL_POLICY_DRAIN)
    vendor.replies.append(a_paused_stream(go_on))
    call = service.completions.StreamComplete(asking(MODEL))
    while not (await call.read()).part_delta.text:
        pass
    call.cancel()


async def the_row(service):
    async with asyncio.timeout(30):
        while True:
            if rows := await service.records():
                (row,) = rows
                return row
            await asyncio.sleep(0.02)


async def test_the_answer_is_read_on_to_the_vendors_count(tmp_path, vendor):
    go_on = asyncio.Event()
    async with serving(tmp_path) as running:
        await left(running.service, vendor, go_on)
        assert await running.service.records() == []
        go_on.set()

        row = await the_row(running.service)

    assert row.error_reason == "CANCELLED"
    assert row.usage_source == SOURCES.USAGE_SOURCE_PROVIDER
    assert (row.attempt.usage.input_tokens, row.attempt.usage.output_tokens) == (30, 400)


async def test_a_stop_waits_for_it_no_longer_than_a_drain_may_take(tmp_path, vendor):
    async with serving(tmp_path, LLM_DRAIN_SECONDS="1") as running:
        await left(running.service, vendor, asyncio.Event())
        running.terminate()
        assert await running.ended() == 0
    async with serving(tmp_path) as after:
        row = await the_row(after.service)

    assert row.error_reason == "CANCELLED"
    assert row.usage_source == SOURCES.USAGE_SOURCE_ESTIMATE
    assert row.attempt.usage.output_tokens > 0


async def test_a_process_killed_meanwhile_loses_no_row(tmp_path, vendor):
    async with serving(tmp_path) as before:
        await left(before.service, vendor, asyncio.Event())
        before.process.kill()
        await before.process.wait()
    async with serving(tmp_path) as after:
        row = await the_row(after.service)

    assert row.error_reason == "ABANDONED"
    assert row.attempt.usage.input_tokens > 0
