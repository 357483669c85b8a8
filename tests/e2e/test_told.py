"""A caller goes, from a vendor that can tell what the answer used till then: the row has it."""

import asyncio
import json

from llm_service.rpc.stubs import usage_service_pb2 as pb
from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.process import serving
from tests.e2e.service import asking

MODEL = "providers/telling/models/m"
SOURCES = pb.UsageRecord
TOKENS = 4321  # no estimate of the word that was sent
WORD = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "word "}}]}


def tells(reply: Reply):
    """What the vendor does when it is asked, beside its answers; and whether it was."""
    asked = asyncio.Event()

    def beside(request):
        if request.path != "/tokenize":
            return None
        asked.set()
        return reply

    return asked, beside


async def left(service, vendor) -> None:
    """Begin, hear a word, go."""
    settings = {"token_counts": "vllm"}
    await service.add_provider("telling", vendor.base_uri, settings=settings)
    pieces = [sse([json.dumps(WORD).encode()], done=False)]
    vendor.replies.append(Reply(200, {"content-type": "text/event-stream"}, pieces, held=True))
    call = service.completions.StreamComplete(asking(MODEL))
    while not (await call.read()).part_delta.text:
        pass
    call.cancel()


async def the_row(service):
    async with asyncio.timeout(30):
        while not (rows := await service.records()):  # noqa: ASYNC110 - a row tells nobody
            await asyncio.sleep(0.02)
    (row,) = rows
    return row


async def test_the_row_has_what_the_vendor_tells(tmp_path, vendor):
    _, vendor.beside = tells(Reply(200, {}, [json.dumps({"count": TOKENS}).encode()]))
    async with serving(tmp_path) as running:
        await left(running.service, vendor)
        row = await the_row(running.service)

    assert row.error_reason == "CANCELLED"
    assert row.attempt.usage.output_tokens == TOKENS


async def test_a_stop_waits_no_longer_than_a_drain_may_take_and_settles_by_estimate(
    tmp_path, vendor
):
    asked, vendor.beside = tells(Reply(silent=True))
    async with serving(tmp_path, LLM_DRAIN_SECONDS="1", LLM_CANCEL_ASK_SECONDS="60") as running:
        await left(running.service, vendor)
        await asked.wait()
        assert await running.service.records() == []
        running.terminate()
        async with asyncio.timeout(20):
            assert await running.ended() == 0
    async with serving(tmp_path) as after:
        row = await the_row(after.service)

    assert row.error_reason == "CANCELLED"
    assert row.usage_source == SOURCES.USAGE_SOURCE_ESTIMATE
    assert 0 < row.attempt.usage.output_tokens < TOKENS


async def test_a_process_killed_while_it_asks_leaves_one_row(tmp_path, vendor):
    asked, vendor.beside = tells(Reply(silent=True))
    async with serving(tmp_path, LLM_CANCEL_ASK_SECONDS="60") as before:
        await left(before.service, vendor)
        await asked.wait()
        before.process.kill()
        await before.process.wait()
    async with serving(tmp_path) as after:
        row = await the_row(after.service)

    assert row.error_reason == "ABANDONED"
    assert row.attempt.usage.input_tokens > 0
