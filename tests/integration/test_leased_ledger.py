"""Attempts that are open in the database: each leaves one record, whoever settles it."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from llm_service.domain.completion import Attempt, Attribution, ServedBy, TokenUsage
from llm_service.domain.usage import (
    ABANDONED,
    AttemptProgress,
    OpenedAttempt,
    Operation,
    UsageRecord,
    UsageSource,
)
from llm_service.errors import StorageUnavailable
from llm_service.gateway.ids import new_id
from llm_service.gateway.leased_ledger import LeasedLedger
from tests.integration.samples import NOW

TARGET = ServedBy("providers/p", "providers/p/models/m")
WHO = Attribution("acme")
OVER = timedelta(0)
"""A lease that has always run out."""


def opened(attempt_id):
    return OpenedAttempt(attempt_id, "c", WHO, TARGET, NOW, Operation.CHAT, input_tokens=7)


def settled(attempt_id):
    attempt = Attempt(TARGET, NOW, 0.5, None, TokenUsage(3, 4))
    return UsageRecord(
        new_id(), "c", WHO, attempt, NOW, usage_source=UsageSource.PROVIDER, attempt_id=attempt_id
    )


@asynccontextmanager
async def running(ledger):
    work = asyncio.create_task(ledger.run())
    try:
        yield ledger
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@pytest.fixture
async def ledger(database):
    async with running(LeasedLedger(database)) as ledger:
        yield ledger


async def records(database):
    async with database.read() as tx:
        return await tx.usage.since("", "acme", 1000)


async def left_open(database):
    async with database.begin() as tx:
        return {one.opened.attempt_id for one in await tx.open_attempts.abandoned(OVER, 1000)}


async def test_an_open_attempt_is_in_the_database_until_its_record_is(database, ledger):
    await asyncio.gather(*(ledger.open(opened(str(number))) for number in range(30)))
    ledger.record(settled("1"))
    await ledger.flush()

    assert [record.attempt_id for record in await records(database)] == ["1"]
    assert await left_open(database) == {str(number) for number in range(30)} - {"1"}


async def test_attempts_of_a_silent_process_are_closed_by_the_latest_account(database):
    silent = LeasedLedger(database)
    async with running(silent):
        await silent.open(opened("a"))
        await silent.open(opened("b"))
        silent.progress("b", AttemptProgress(TokenUsage(5, 6), 2.0))
        await silent._beat()

    assert await LeasedLedger(database, lease=OVER).reconcile() == 2
    assert await LeasedLedger(database, lease=OVER).reconcile() == 0

    found = {record.attempt_id: record for record in await records(database)}
    assert {one.error_reason for one in found.values()} == {ABANDONED}
    assert found["a"].attempt.usage == TokenUsage(7, estimated=True)
    assert found["b"].attempt.usage == TokenUsage(5, 6)
    assert found["b"].usage_source is UsageSource.PROGRESS


async def test_a_process_that_was_only_paused_does_not_settle_a_second_time(database):
    paused = LeasedLedger(database)
    async with running(paused):
        await paused.open(opened("a"))
        await paused._beat()
        assert await LeasedLedger(database, lease=OVER).reconcile() == 1

        paused.record(settled("a"))
        await paused.flush()

    [record] = await records(database)
    assert record.error_reason == ABANDONED


async def test_what_was_settled_in_time_is_not_closed_again(database, ledger):
    await ledger.open(opened("a"))
    ledger.record(settled("a"))
    await ledger.flush()

    assert await LeasedLedger(database, lease=OVER).reconcile() == 0
    [record] = await records(database)
    assert record.usage_source is UsageSource.PROVIDER


async def test_a_process_that_lives_keeps_its_attempts(database, ledger):
    await ledger.open(opened("a"))
    await ledger._beat()

    assert await LeasedLedger(database).reconcile() == 0


async def test_a_process_that_has_left_leaves_its_attempts_to_others(database):
    leaving = LeasedLedger(database)
    async with running(leaving):
        await leaving.open(opened("a"))
        await leaving._beat()
    await leaving.aclose()

    assert await LeasedLedger(database).reconcile() == 1


class Held:
    """A database whose transactions begin once they are let."""

    def __init__(self, database):
        self._database = database
        self.asked = asyncio.Event()
        self.let = asyncio.Event()
        self.down = False

    @asynccontextmanager
    async def begin(self):
        self.asked.set()
        await self.let.wait()
        if self.down:
            raise StorageUnavailable("the database is away")
        async with self._database.begin() as tx:
            yield tx


async def test_a_caller_who_left_meanwhile_leaves_no_open_attempt(database):
    held = Held(database)
    ledger = LeasedLedger(held)
    serving = asyncio.create_task(ledger._open_asked())
    waiting = asyncio.create_task(ledger.open(opened("gone")))
    await held.asked.wait()
    unasked = asyncio.create_task(ledger.open(opened("never")))
    await asyncio.sleep(0)
    for caller in (waiting, unasked):
        caller.cancel()
    await asyncio.gather(waiting, unasked, return_exceptions=True)
    held.let.set()
    await ledger.open(opened("stays"))
    await ledger._beat()
    serving.cancel()

    async with database.begin() as tx:
        await tx.open_attempts.leave(ledger._owner)
    assert await left_open(database) == {"stays"}


async def test_those_refused_together_have_an_error_each(database):
    held = Held(database)
    held.down = True
    held.let.set()
    ledger = LeasedLedger(held)
    serving = asyncio.create_task(ledger._open_asked())

    errors = await asyncio.gather(
        *(ledger.open(opened(str(number))) for number in range(3)), return_exceptions=True
    )
    serving.cancel()

    assert {type(error) for error in errors} == {StorageUnavailable}
    assert len(set(map(id, errors))) == 3


async def test_nobody_waits_for_a_ledger_that_stops(database):
    held = Held(database)
    ledger = LeasedLedger(held)
    serving = asyncio.create_task(ledger._open_asked())
    waiting = asyncio.create_task(ledger.open(opened("a")))
    await held.asked.wait()
    serving.cancel()

    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(waiting, 10)


async def test_an_attempt_is_not_there_before_the_process_it_belongs_to(database):
    ledger = LeasedLedger(database)
    serving = asyncio.create_task(ledger._open_asked())
    await ledger.open(opened("a"))
    serving.cancel()

    async with database.begin() as tx:
        assert await tx.open_attempts.abandoned(timedelta(hours=1), 10) == ()
