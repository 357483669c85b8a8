"""Streams opened and reset, thousands of them: nothing is left of them but their rows.

`make storm STREAMS=10000` is the whole proof and prints what it measured.
"""

import asyncio
import itertools
import json
import os
import time
from collections import Counter
from statistics import median

import grpc
import pytest

from llm_service.rpc.stubs import common_pb2, model_pb2
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from tests.e2e.process import serving
from tests.e2e.service import asking

STREAMS = int(os.environ.get("STREAMS") or 1000)
AT_ONCE = 50
MEASURED_FROM = 5_000  # streams: fewer say nothing of memory
MOST_GROWTH_KIB = 100  # for a thousand streams
PARTS = 20  # after each of which memory is measured
WARM = 4  # parts, in which pools and caches fill: of 10,000 streams, 2,000
MODEL = "providers/vendor/models/m"
PRICE = model_pb2.Price(
    items=[
        model_pb2.PriceItem(meter="input-tokens", nano_usd_per_million=1_000_000_000),
        model_pb2.PriceItem(meter="output-tokens", nano_usd_per_million=1_000_000_000),
    ]
)


class Upstream:
    """Streams a few words and then holds the connection open, like a model that thinks."""

    def __init__(self) -> None:
        self.open = 0
        self.heard: Counter[str] = Counter()
        self.left = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                number = json.loads(await reader.readexactly(size))["messages"][-1]["content"]
                self.heard[number if isinstance(number, str) else number[0]["text"]] += 1
                writer.write(_HEAD)
                for _ in range(5):
                    writer.write(_CHUNK)
                    await writer.drain()
                    await asyncio.sleep(0)
                await reader.read(1)  # returns when the service hangs up
                return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            self.open -= 1
            async with self.left:
                self.left.notify_all()


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n'
_CHUNK = f"{len(_EVENT):x}\r\n".encode() + _EVENT + b"\r\n"


async def opened_and_reset(service, number: int) -> None:
    """Leave at once, once it has been heard of, or after some words."""
    who = common_pb2.Attribution(session=str(number))
    call = service.completions.StreamComplete(asking(MODEL, str(number), attribution=who))
    try:
        for _ in range(number % 4):
            await call.read()
    except grpc.aio.AioRpcError:
        return
    call.cancel()


async def storm(service, numbers, count: int) -> None:
    async def worker() -> None:
        for number in itertools.islice(numbers, max(1, count // AT_ONCE)):
            await opened_and_reset(service, number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def rows_of(service) -> list[usage_pb.UsageRecord]:
    rows, token = [], ""
    while True:
        page = await service.usage.ListUsageRecords(
            usage_pb.ListUsageRecordsRequest(
                parent="tenants/default", page_size=1000, page_token=token
            )
        )
        rows += page.usage_records
        token = page.next_page_token
        if not token:
            return rows


def resident_kib(process) -> int:
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def growth_of(held: list[int]) -> float:
    """For each part after the warm ones: the median of the slopes between any two points.

    Some two megabytes come and go: the few points that have them are no growth.
    """
    points = list(enumerate(held))[WARM:]
    return median((b - a) / (y - x) for (x, a), (y, b) in itertools.combinations(points, 2))


@pytest.mark.timeout(1200)
async def test_a_storm_of_cancelled_streams_leaves_nothing_but_its_rows(tmp_path, capsys):
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    numbers = itertools.count()
    async with serving(tmp_path) as running:
        service = running.service
        await service.add_provider("vendor", f"http://127.0.0.1:{port}/v1")
        await service.admin.CreateModel(
            admin_pb.CreateModelRequest(
                parent="providers/vendor",
                model_id="m",
                model=model_pb2.Model(provider_model="m", price=PRICE),
            )
        )
        began = time.monotonic()
        held = []
        for _ in range(PARTS):
            await storm(service, numbers, STREAMS // PARTS)
            held.append(resident_kib(running.process))
        seconds = time.monotonic() - began
        growth = growth_of(held) * PARTS * 1000 // STREAMS
        async with asyncio.timeout(10), upstream.left:
            await upstream.left.wait_for(lambda: upstream.open == 0)
        rows = await settled(service, upstream)
    server.close()

    by_call = Counter(row.attribution.session for row in rows)
    charged = {row.attribution.session for row in rows if row.attempt.cost.total_nano_usd > 0}
    assert max(upstream.heard.values()) == 1
    assert set(by_call.values()) == {1}
    assert set(upstream.heard) <= charged
    assert {row.error_reason for row in rows} == {"CANCELLED"}
    with capsys.disabled():
        print(  # noqa: T201 - the figures are the point
            f"\n{STREAMS} streams opened and reset in {seconds:.1f} s: {len(upstream.heard)} heard "
            f"by the upstream, all charged once; {upstream.open} upstream calls left; "
            f"{growth:.0f} KiB of memory more for each thousand\nmemory, KiB: {held}",
        )
    assert STREAMS < MEASURED_FROM or growth <= MOST_GROWTH_KIB


async def settled(service, upstream) -> list[usage_pb.UsageRecord]:
    """All rows, once every call the upstream has heard of has one."""
    async with asyncio.timeout(20):
        while True:
            rows = await rows_of(service)
            if set(upstream.heard) <= {row.attribution.session for row in rows}:
                return rows
            await asyncio.sleep(0.1)
