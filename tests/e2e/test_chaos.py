"""U1: under load, whatever ends or stands still, each call the vendor worked on has one record."""

import asyncio
import os
import random
import sys
from contextlib import suppress
from itertools import count

import pytest

from llm_service.gateway.leased_ledger import LEASE
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from llm_service.storage import migrations
from llm_service.vault import Scheme, generate_key
from tests.contract.vendor_server import vendor_server
from tests.e2e.chaos import (
    GUARD_SECONDS,
    Endless,
    Invoice,
    Outcomes,
    Replica,
    all_settled,
    nothing_reserved,
    records_of,
    with_budget,
)
from tests.e2e.process import command
from tests.integration import postgres_server
from tests.integration.postgres_server import PostgresServer

CYCLES = int(os.environ.get("CYCLES", "2"))
CALLERS = 6
ROUND = 20  # cycles in which each sort of trouble comes
PROVIDER = usage_pb.UsageRecord.USAGE_SOURCE_PROVIDER
BEYOND_LEASE_SECONDS = LEASE.total_seconds() + 3


@pytest.fixture
def database():
    """What it has confirmed it keeps, whenever it ends."""
    with postgres_server.running(synchronous_commit="on") as server:
        migrations.upgrade(server.url("postgres"))
        yield server


@pytest.fixture
async def replicas(tmp_path, database):
    """Two with a disk of their own, and one that opens its attempts in the database."""
    environment = {
        "LLM_DATABASE_URL": database.url("postgres"),
        "LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1),
    }
    numbers = count(1)
    made = []
    for ledger in ("journal", "journal", "database"):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Replica(folder, numbers, LLM_LEDGER=ledger, **environment))
        await made[-1].start()
    yield made
    for replica in made:
        await replica.stop()


async def database_stopped(database: PostgresServer) -> None:
    """At once, as when its machine dies."""
    await asyncio.to_thread(database.stop)
    await asyncio.sleep(random.random() * 2)  # noqa: S311 - any while will do
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            with suppress(AssertionError):  # what served connections may not have ended yet
                await asyncio.to_thread(database.start)
                return
            await asyncio.sleep(0.5)


async def trouble(cycle: int, replicas: list[Replica], database: PostgresServer) -> None:
    """Mostly kills; in each round the database dies, and a process sleeps through its lease."""
    if cycle % ROUND == 1:
        await database_stopped(database)
    elif cycle % ROUND == 2:
        await random.choice(replicas[:2]).pause(random.random() * 2)  # noqa: S311
    elif cycle % ROUND == ROUND - 1:
        await replicas[2].pause(BEYOND_LEASE_SECONDS)
    else:
        replica = replicas[cycle % 3]
        await replica.worked(random.randint(5, 30))  # noqa: S311 - any moment will do
        await replica.kill()
        await replica.start()


async def troubled(replicas: list[Replica], database: PostgresServer) -> None:
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(one.call()) for one in replicas for _ in range(CALLERS)]
        for cycle in range(CYCLES):
            await trouble(cycle, replicas, database)
        for caller in callers:
            caller.cancel()


@pytest.mark.timeout(300 + 20 * CYCLES)
async def test_u1_no_record_is_lost_or_doubled_whatever_dies(replicas, database):
    invoice = Invoice()
    async with vendor_server() as vendor:
        vendor.replies = Endless([invoice])
        service = replicas[0].running.service
        await service.add_provider("vendor", vendor.base_uri)
        await with_budget(service)
        await troubled(replicas, database)
        service = replicas[0].running.service  # its process may be another
        await all_settled(service, invoice)
        status = await nothing_reserved(service)
        records = await records_of(service)  # those too of calls that died on their way out
    sums = await command("usage", "check", LLM_DATABASE_URL=database.url("postgres"))

    by_call = {one.attribution.session: one for one in records}
    seen = Outcomes()
    for replica in replicas:
        seen.confirmed |= replica.seen.confirmed
        seen.left |= replica.seen.left
    assert len(by_call) == len(records), "a call has two records"
    assert seen.confirmed.keys() <= by_call.keys(), "an answered call has no record"
    for number, tokens in seen.confirmed.items():
        assert tokens == invoice.tokens[number]
    for number, billed in invoice.tokens.items():
        record = by_call[number]
        used = record.attempt.usage
        assert used.input_tokens + used.output_tokens > 0, "a dialled call was free"
        assert record.usage_source != PROVIDER or used.output_tokens == billed
    assert sums.code == 0, sums
    assert status.spent == sum(one.attempt.HasField("usage") for one in records)
    # A process that slept through its lease answers for calls that others have closed by estimate.
    closed = {number for number, one in by_call.items() if one.error_reason == "ABANDONED"}
    unlike = {n for n in seen.confirmed if by_call[n].usage_source != PROVIDER}
    assert unlike <= closed & replicas[2].seen.confirmed.keys()
    told(
        f"{CYCLES} cycles: {len(seen.confirmed)} calls answered, {len(seen.left)} left by their"
        f" callers, {len(invoice.tokens)} charged for, {len(records)} records, {len(closed)} of"
        f" them closed for a process that died, {len(unlike)} of those answered all the same"
    )


def told(line: str) -> None:
    """For whoever runs many cycles."""
    if CYCLES > 2:
        sys.__stdout__.write(f"\n{line}\n")
