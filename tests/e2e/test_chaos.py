"""U1: processes are killed under load, and every call the vendor worked on has one record."""

import asyncio
import json
import os
import random
import sys
from contextlib import AsyncExitStack, suppress
from itertools import count

import grpc
import pytest

from llm_service.rpc.stubs import common_pb2
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from llm_service.vault import Scheme, generate_key
from tests.contract.vendor_server import Asked, Reply, vendor_server
from tests.e2e.process import serving
from tests.e2e.service import asking
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)

CYCLES = int(os.environ.get("CYCLES", "1"))
CALLERS = 6
LONGEST = 40  # pieces of a streamed answer
GUARD_SECONDS = 60
MODEL = "providers/vendor/models/m"
PROVIDER = usage_pb.UsageRecord.USAGE_SOURCE_PROVIDER


class Invoice:
    """What the vendor charges for, by call: its own account, which no gateway sees."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}

    def __call__(self, asked: Asked) -> Reply:
        body = asked.json
        call = body["messages"][-1]["content"]
        call = call if isinstance(call, str) else call[0]["text"]
        assert call not in self.tokens, "a call was sent twice"
        tokens = self.tokens[call] = 1 + int(call) % LONGEST
        usage = {"prompt_tokens": 3, "completion_tokens": tokens}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"content": "w " * tokens}, "finish_reason": "stop"}
            return Reply(pieces=[json.dumps({"choices": [choice], "usage": usage}).encode()])
        deltas = [{"choices": [{"index": 0, "delta": {"content": "w "}}]}] * tokens
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        events = [*deltas, end, {"choices": [], "usage": usage}]
        lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
        return Reply(headers={"content-type": "text/event-stream"}, pieces=[*lines, DONE])


DONE = b"data: [DONE]\n\n"


class Endless(list):
    """As many replies as calls."""

    def pop(self, _place=-1):
        return self[0]


class Replica:
    """One process after another in one folder, and callers that never give up on it."""

    def __init__(self, folder, numbers, **environment) -> None:
        self._folder = folder
        self._numbers = numbers
        self._environment = environment
        self._stack = AsyncExitStack()
        self._calling = 0
        self.confirmed: dict[str, int] = {}
        self.answered = asyncio.Condition()
        self.up = asyncio.Event()

    async def start(self) -> None:
        self.running = await self._stack.enter_async_context(
            serving(self._folder, **self._environment)
        )
        self.up.set()

    async def kill(self) -> None:
        self.up.clear()
        self.running.process.kill()
        await self.running.process.wait()
        async with self.answered:  # or the end of the channel would cancel who is calling
            await self.answered.wait_for(lambda: not self._calling)
        await self._stack.aclose()

    async def stop(self) -> None:
        await self._stack.aclose()

    async def call(self) -> None:
        """Calls, whole and streamed, until cancelled; what was answered is noted."""
        while True:
            await self.up.wait()
            number = str(next(self._numbers))
            self._calling += 1
            with suppress(grpc.aio.AioRpcError):
                self.confirmed[number] = await self._one(number)
            self._calling -= 1
            async with self.answered:
                self.answered.notify_all()

    async def worked(self, more: int) -> None:
        """Return once so many more calls were answered."""
        enough = len(self.confirmed) + more
        async with asyncio.timeout(GUARD_SECONDS), self.answered:
            await self.answered.wait_for(lambda: len(self.confirmed) >= enough)

    async def _one(self, number: str) -> int:
        who = common_pb2.Attribution(session=number)
        asked = asking(MODEL, number, attribution=who)
        completions = self.running.service.completions
        if int(number) % 2:
            answer = await completions.Complete(asked, timeout=GUARD_SECONDS)
            return answer.completion.usage.output_tokens
        events = [event async for event in completions.StreamComplete(asked, timeout=GUARD_SECONDS)]
        return events[-1].finished.usage.output_tokens


async def records_of(service) -> list[usage_pb.UsageRecord]:
    found, token = [], ""
    while True:
        page = await service.usage.ListUsageRecords(
            usage_pb.ListUsageRecordsRequest(
                parent="tenants/default", page_size=1000, page_token=token
            )
        )
        found += page.usage_records
        token = page.next_page_token
        if not token:
            return found


async def all_settled(service, invoice: Invoice) -> list[usage_pb.UsageRecord]:
    """Once each call of the invoice has a record: recovery looks every ten seconds."""
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            records = await records_of(service)
            if invoice.tokens.keys() <= {one.attribution.session for one in records}:
                return records
            await asyncio.sleep(0.2)


async def killed(replicas: list[Replica]) -> None:
    """Kill one after the other while both work, and start it again."""
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(one.call()) for one in replicas for _ in range(CALLERS)]
        for cycle in range(CYCLES):
            replica = replicas[cycle % 2]
            await replica.worked(random.randint(5, 30))  # noqa: S311 - any moment will do
            await replica.kill()
            await replica.start()
        for caller in callers:
            caller.cancel()


@pytest.fixture
async def replicas(tmp_path, request):
    environment = {
        "LLM_DATABASE_URL": request.getfixturevalue("postgresql_url"),
        "LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1),
        "LLM_AUTH": "open",
    }
    numbers = count(1)
    both = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        both.append(Replica(folder, numbers, **environment))
        await both[-1].start()
    yield both
    for replica in both:
        await replica.stop()


@pytest.mark.timeout(180 + 20 * CYCLES)
async def test_u1_no_record_is_lost_or_doubled_when_processes_are_killed(replicas, capsys):
    invoice = Invoice()
    async with vendor_server() as vendor:
        vendor.replies = Endless([invoice])
        await replicas[0].running.service.add_provider("vendor", vendor.base_uri)
        await killed(replicas)
        records = await all_settled(replicas[0].running.service, invoice)

    by_call = {one.attribution.session: one for one in records}
    confirmed = replicas[0].confirmed | replicas[1].confirmed
    assert len(by_call) == len(records), "a call has two records"
    for number, tokens in confirmed.items():
        used = by_call[number].attempt.usage
        assert tokens == used.output_tokens == invoice.tokens[number]
        assert by_call[number].usage_source == PROVIDER
    for number in invoice.tokens:
        used = by_call[number].attempt.usage
        assert used.input_tokens + used.output_tokens > 0, "a dialled call was free"
    abandoned = sum(one.error_reason == "ABANDONED" for one in records)
    with capsys.disabled():
        told(
            f"{CYCLES} kills: {len(confirmed)} calls answered, {len(invoice.tokens)} charged for,"
            f" {len(records)} records, {abandoned} of them closed for a process that died"
        )


def told(line: str) -> None:
    """For whoever runs many cycles."""
    if CYCLES > 1:
        sys.stdout.write(f"\n{line}\n")
