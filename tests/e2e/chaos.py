"""What chaos is made of: a vendor that keeps its own invoice, replicas, and who calls them."""

import asyncio
import json
import random
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import grpc

from llm_service.rpc.stubs import budget_service_pb2 as budget_pb
from llm_service.rpc.stubs import budget_service_pb2_grpc as budget_pb_grpc
from llm_service.rpc.stubs import common_pb2
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from tests.contract.vendor_server import Asked, Reply
from tests.e2e.process import serving
from tests.e2e.service import asking

LONGEST = 40  # pieces of a streamed answer
GUARD_SECONDS = 120
LEAVING = 8  # one caller of so many goes before the answer is there
MODEL = "providers/vendor/models/m"
DONE = b"data: [DONE]\n\n"


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


class Endless(list):
    """As many replies as calls."""

    def pop(self, _place=-1):
        return self[0]


@dataclass
class Outcomes:
    """By call. `confirmed`: output tokens of those answered. `left`: whose caller went."""

    confirmed: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


class Replica:
    """One process after another in one folder, and callers that never give up on it."""

    def __init__(self, folder, numbers, **environment) -> None:
        self._folder = folder
        self._numbers = numbers
        self._environment = environment
        self._stack = AsyncExitStack()
        self._calling = 0
        self.seen = Outcomes()
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

    async def pause(self, seconds: float) -> None:
        """Stand still for so long, in the middle of whatever it does."""
        self.running.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.running.process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        await self._stack.aclose()

    async def call(self) -> None:
        """Calls, whole and streamed, until cancelled; what was answered is noted."""
        while True:
            await self.up.wait()
            number = str(next(self._numbers))
            self._calling += 1
            with suppress(grpc.aio.AioRpcError, TimeoutError):
                await self._one(number)
            self._calling -= 1
            async with self.answered:
                self.answered.notify_all()

    async def worked(self, more: int) -> None:
        """Return once so many more calls were answered."""
        enough = len(self.seen.confirmed) + more
        async with asyncio.timeout(GUARD_SECONDS), self.answered:
            await self.answered.wait_for(lambda: len(self.seen.confirmed) >= enough)

    async def _one(self, number: str) -> None:
        patience = None
        if random.randrange(LEAVING) == 0:  # noqa: S311 - any caller will do
            self.seen.left.add(number)
            patience = random.random() * 0.02  # noqa: S311
        async with asyncio.timeout(patience):
            self.seen.confirmed[number] = await self._answer(number)

    async def _answer(self, number: str) -> int:
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


async def all_settled(service, invoice: Invoice) -> None:
    """Once each call of the invoice has a record: recovery looks every ten seconds."""
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            records = await records_of(service)
            if invoice.tokens.keys() <= {one.attribution.session for one in records}:
                return
            await asyncio.sleep(0.5)


async def with_budget(service) -> None:
    """A budget that counts and could block every call, and has room for all of them."""
    rule = budget_pb.BudgetRule(threshold_percent=100, action=budget_pb.BudgetRule.ACTION_BLOCK)
    budget = budget_pb.Budget(
        limit_requests=1_000_000_000, period=budget_pb.Budget.PERIOD_LIFETIME, rules=[rule]
    )
    stub = budget_pb_grpc.BudgetServiceStub(service.channel)
    await stub.CreateBudget(
        budget_pb.CreateBudgetRequest(parent="tenants/default", budget_id="all", budget=budget)
    )


async def nothing_reserved(service) -> budget_pb.BudgetStatus:
    """Once no replica holds room any more, those that died included."""
    stub = budget_pb_grpc.BudgetServiceStub(service.channel)
    asked = budget_pb.GetBudgetRequest(name="tenants/default/budgets/all")
    async with asyncio.timeout(2 * GUARD_SECONDS):
        while True:
            status = (await stub.GetBudget(asked)).budget.status
            if not status.reserved:
                return status
            await asyncio.sleep(0.5)
