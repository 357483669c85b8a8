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
    ledger.dialled("1")
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
