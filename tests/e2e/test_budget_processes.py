"""U5: processes share a budget; no more calls pass than it has room for, also if one is killed."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from grpc import StatusCode
from sqlalchemy import make_url

from llm_service.rpc.stubs import budget_service_pb2 as pb
from llm_service.rpc.stubs.budget_service_pb2_grpc import BudgetServiceStub
from llm_service.rpc.stubs.generation_pb2 import GenerationParams
from llm_service.rpc.stubs.model_service_pb2 import ListModelsRequest
from llm_service.vault import Scheme, generate_key
from tests.e2e.process import serving
from tests.e2e.service import asking
from tests.e2e.test_replicas import generation_of
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)

CALLS = int(os.environ.get("CALLS", "40"))
PROCESSES = int(os.environ.get("PROCESSES", "2"))
MOST_TOKENS = 20
WORDS = "word " * 400
GUARD_SECONDS = 150
NAME = "tenants/default/budgets/b"


async def budget_of(services, limit_requests) -> None:
    """A new one with so much room, which every process knows."""
    stub = BudgetServiceStub(services[0].channel)
    await stub.DeleteBudget(pb.DeleteBudgetRequest(name=NAME, allow_missing=True))
    creating = stub.CreateBudget(
        pb.CreateBudgetRequest(
            parent="tenants/default",
            budget_id="b",
            budget=pb.Budget(
                limit_requests=limit_requests,
                period=pb.Budget.PERIOD_LIFETIME,
                rules=[
                    pb.BudgetRule(threshold_percent=80, action="ACTION_ALERT"),
                    pb.BudgetRule(threshold_percent=100, action="ACTION_BLOCK"),
                ],
            ),
        )
    )
    created = await generation_of(creating)
    for service in services:
        await known(service, created)


async def known(service, generation: int) -> None:
    """Return once a process has the configuration of that generation."""
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            call = service.models.ListModels(ListModelsRequest(page_size=1))
            if await generation_of(call) >= generation:
                return
            await asyncio.sleep(0.02)


async def status(service) -> pb.BudgetStatus:
    stub = BudgetServiceStub(service.channel)
    return (await stub.GetBudget(pb.GetBudgetRequest(name=NAME))).budget.status


async def settled(service, spent) -> pb.BudgetStatus:
    """Once nothing is reserved."""
    return await seen(service, lambda found: not found.reserved and found.spent >= spent)


async def seen(service, wanted) -> pb.BudgetStatus:
    """The status once it is as wanted."""
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            found = await status(service)
            if wanted(found):
                return found
            await asyncio.sleep(0.02)


async def passes(service) -> bool:
    params = GenerationParams(max_output_tokens=MOST_TOKENS)
    call = service.completions.Complete(
        asking("providers/echo/models/echo-1", params=params), timeout=60
    )
    code = await call.code()
    assert code in (StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED), await call.details()
    return code is StatusCode.OK


async def at_once(services) -> int:
    """How many of the calls pass."""
    calls = (passes(services[n % len(services)]) for n in range(CALLS))
    return sum(await asyncio.gather(*calls))


async def test_u5_processes_share_a_budget_to_the_last_call(postgresql_url, tmp_path):  # noqa: F811
    shared = {
        "LLM_DATABASE_URL": make_url(postgresql_url).render_as_string(hide_password=False),
        "LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1),
        "LLM_AUTH": "open",
    }
    async with asyncio.timeout(GUARD_SECONDS), AsyncExitStack() as stack:
        running = []
        for number in range(PROCESSES):
            folder = tmp_path / str(number)
            folder.mkdir()
            running.append(await stack.enter_async_context(serving(folder, **shared)))
        services = [one.service for one in running]
        await services[0].add_provider("echo", "", kind="echo", key="")
        await services[0].add_provider(
            "slow", "", kind="echo", key="", settings={"tokens_per_second": "5"}
        )

        await budget_of(services, CALLS // 5)
        passed = await at_once(services)
        assert CALLS // 10 <= passed <= CALLS // 5
        narrow = await settled(services[0], passed)
        await budget_of(services, 2 * CALLS)
        assert await at_once(services) == CALLS
        wide = await settled(services[0], CALLS)
        after = await _killed(running, tmp_path, shared)

    assert (narrow.spent, narrow.reserved) == (passed, 0)
    assert (wide.spent, wide.reserved) == (CALLS, 0)
    assert after.reserved == 0
    told = f"{passed} of {CALLS} passed with room for {CALLS // 5}; all with twice the room"
    sys.stdout.write(f"\n{told}\n")


async def _killed(running, tmp_path, shared) -> pb.BudgetStatus:
    """The status once a process was killed in the middle of calls, and its journal was found."""
    last = running[-1]
    calls = [asyncio.create_task(_called(last.service)) for _ in range(10)]
    await seen(running[0].service, lambda found: found.reserved > 0)
    last.process.kill()
    await last.process.wait()
    await asyncio.gather(*calls)
    async with serving(tmp_path / str(len(running) - 1), **shared) as again:
        return await settled(again.service, CALLS)


async def _called(service) -> None:
    asked = asking("providers/slow/models/echo-1", WORDS)
    call = service.completions.StreamComplete(asked, timeout=60)
    assert await call.code() is StatusCode.UNAVAILABLE
