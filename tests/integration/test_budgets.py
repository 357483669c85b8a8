"""Budgets hold whatever replicas do at once, and are what the ledger says."""

import asyncio
from datetime import timedelta

import pytest

from llm_service.domain.alert import AlertAction
from llm_service.domain.budget import BudgetPeriod, BudgetRule, BudgetUnit
from llm_service.errors import BudgetExceeded, StorageUnavailable
from llm_service.gateway.admin.budgets import Budgets
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.gateway.budgets.scope import window_at
from llm_service.gateway.ledger import Uploads
from llm_service.storage.database import Database
from tests.integration.budgeting import (
    BLOCK,
    Replica,
    a_budget,
    a_draft,
    a_use,
    account,
    alerts,
    replicas,
    status,
)


async def attempt_all(url, limit, calls=500, most=10, used=7):
    async with replicas(url, 3) as three:
        budget = await a_budget(three[0].database, limit)
        results = await asyncio.gather(
            *(three[n % 3].call(budget, most, used) for n in range(calls))
        )
        for one in three:
            await one.rest()
        return budget, results, await account(three[0].database, budget)


async def test_u5_of_500_calls_at_once_on_three_replicas_no_more_pass_than_there_is_room_for(
    postgresql_url,
):
    _, results, (spent, reserved) = await attempt_all(postgresql_url, limit=1_000, used=10)

    assert 50 <= sum(results) <= 100
    assert spent == 10 * sum(results) <= 1_000
    assert reserved == 0


async def test_u5_nobody_is_refused_where_there_is_twice_the_room(postgresql_url):
    _, results, (spent, reserved) = await attempt_all(postgresql_url, limit=10_000)

    assert all(results)
    assert (spent, reserved) == (3_500, 0)


async def test_what_is_held_and_not_used_is_free_for_others_again(database):
    one, two = Replica(database), Replica(database)
    budget = await a_budget(database, 100)
    end = await one.begin(budget, 100)
    assert not await two.call(budget, 1, 1)

    end(10)
    await one.rest()
    two.time += 1

    assert await account(database, budget) == (10, 0)
    assert await two.call(budget, 90, 90)
    await two.rest()
    assert await account(database, budget) == (100, 0)


async def test_a_record_is_counted_once_however_often_it_is_stored(database):
    budget = await a_budget(database, 1_000)
    record = a_use(10)

    for _ in range(3):
        async with database.begin() as tx:
            await Accounting().store(tx, [record, record])

    assert await account(database, budget) == (10, 0)


async def test_a_lost_commit_is_tried_again_and_counts_once(database):
    replica = Replica(database)
    budget = await a_budget(database, 100)
    assert await replica.call(budget, 20, 15)
    whole = replica.ledger.store

    async def store_and_fail(tx, records):
        await whole(tx, records)
        raise StorageUnavailable("the connection broke")

    replica.ledger.store = store_and_fail
    with pytest.raises(StorageUnavailable):
        await replica.ledger.flush()
    replica.ledger.store = whole
    await replica.rest()
    await replica.rest()

    assert await account(database, budget) == (15, 0)


async def test_an_attempt_that_used_nothing_gives_everything_back(database):
    replica = Replica(database)
    budget = await a_budget(database, 100)
    assert await replica.call(budget, 100, 0)
    assert await replica.call(budget, 100, 100)

    await replica.rest()
    await replica.rest()

    assert await account(database, budget) == (100, 0)


async def test_what_a_budget_counts_is_what_the_ledger_says(database):
    budget = await a_budget(database, 1_000, filter='agent = "a" OR label.team = "x"')
    other = a_use(5, agent="b")
    found = [a_use(1, agent="a"), a_use(2, agent="b", labels={"team": "x"}), other]
    async with database.begin() as tx:
        await Accounting().store(tx, [*found, a_use(100, tenant="other", agent="a")])
    assert await account(database, budget) == (3, 0)

    async with database.begin() as tx:
        await tx.budget_accounts.charge(await _window(tx, budget), 50)
    wrong_by = await Budgets(database).reconcile(budget)

    assert wrong_by == -50
    assert await account(database, budget) == (3, 0)


async def _window(tx, budget):
    return window_at(budget, await tx.budget_accounts.now())


@pytest.mark.parametrize(
    ("unit", "spent"),
    [(BudgetUnit.TOKENS, 30), (BudgetUnit.NANO_USD, 30), (BudgetUnit.REQUESTS, 2)],
)
async def test_a_new_budget_counts_what_its_period_has_used_already(database, unit, spent):
    async with database.begin() as tx:
        await Accounting().store(tx, [a_use(10), a_use(20), a_use(0), a_use(5, tenant="other")])

    budget = await a_budget(database, 100, unit=unit, period=BudgetPeriod.MONTH)

    assert await account(database, budget) == (spent, 0)


async def test_records_and_a_budget_that_come_at_once_miss_nothing(database):
    ledger = Uploads(database)
    for _ in range(40):
        ledger.add(a_use(1))
    flushed = asyncio.create_task(ledger.flush())

    budget = await a_budget(database, 1_000, period=BudgetPeriod.MONTH)
    await flushed

    assert await account(database, budget) == (40, 0)


async def test_u7_a_use_counts_in_the_window_it_was_let_through_in(database):
    budget = await a_budget(database, 1_000, period=BudgetPeriod.HOUR)
    async with database.read() as tx:
        now = await tx.budget_accounts.now()
    before = a_use(3, now - timedelta(hours=1))

    async with database.begin() as tx:
        await Accounting().store(tx, [before, a_use(4, now)])

    assert (await account(database, budget))[0] == 4
    async with database.read() as tx:
        windows = [await _spent(tx, budget, one) for one in (before.budget_time, now)]
    assert windows == [3, 4]


async def _spent(tx, budget, moment):
    found = await tx.budget_accounts.of([window_at(budget, moment)])
    return found[budget.uid].spent


async def test_u8_three_replicas_that_pass_a_threshold_together_raise_one_alert(postgresql_url):
    async with replicas(postgresql_url, 3) as three:
        database = three[0].database
        budget = await a_budget(database, 100, BudgetRule(80, AlertAction.ALERT))
        for one in three:
            for _ in range(30):
                one.ledger.add(a_use(1))

        await asyncio.gather(*(one.ledger.flush() for one in three))

        assert await account(database, budget) == (90, 0)
        assert await alerts(database) == [(80, "alert")]


async def test_every_threshold_that_is_passed_is_told_once_and_a_refusal_too(database):
    replica = Replica(database)
    rules = BudgetRule(50, AlertAction.ALERT), BudgetRule(80, AlertAction.DOWNGRADE, "m"), BLOCK
    budget = await a_budget(database, 100, *rules)

    assert await replica.call(budget, 50, 50)
    await replica.rest()
    assert await alerts(database) == [(50, "alert")]
    assert await replica.call(budget, 40, 40)
    assert not await replica.call(budget, 20, 20)
    await replica.rest()

    assert await alerts(database) == [(50, "alert"), (100, "block"), (80, "downgrade")]
    assert (await status(database, budget)).blocking


async def test_the_settings_threshold_tells_of_each_tenants_day_once(database):
    accounting = Accounting(daily_cost_nano_usd=100)
    for _ in range(3):
        async with database.begin() as tx:
            await accounting.store(tx, [a_use(60), a_use(10, tenant="other")])

    assert await alerts(database) == [(100, "alert")]


async def test_what_a_silent_process_holds_comes_back_and_it_cannot_spend_it(database):
    paused, other = Replica(database, timedelta(0)), Replica(database)
    budget = await a_budget(database, 100)
    end = await paused.begin(budget, 60)
    end(0)

    async with database.begin() as tx:
        assert await tx.budget_accounts.end_silent(timedelta(0)) >= 60
    assert await account(database, budget) == (0, 0)
    assert await other.call(budget, 100, 100)

    with pytest.raises(BudgetExceeded):
        await paused.begin(budget, 1)


async def test_a_process_that_was_forgotten_while_it_paused_starts_with_nothing(database):
    paused = Replica(database)
    budget = await a_budget(database, 1_000)
    end = await paused.begin(budget, 10)
    async with database.begin() as tx:
        await tx.budget_accounts.end_silent(timedelta(seconds=-1))

    paused.time += 11  # its own clock may not have told it yet
    await paused.leases.tick()
    end(10)
    await paused.rest()

    assert await account(database, budget) == (10, 0)


async def test_what_a_dead_process_held_is_free_once_its_records_are_stored(database):
    dead = Replica(database)
    budget = await a_budget(database, 100)
    await dead.begin(budget, 60)

    async with database.begin() as tx:  # as recovery does, with the records of its journal
        await Accounting().store(tx, [a_use(25)])
        await tx.budget_accounts.leave(dead.process)

    assert await account(database, budget) == (25, 0)


async def test_a_process_that_ends_gives_everything_back(database):
    replica = Replica(database)
    budget = await a_budget(database, 100)
    assert await replica.call(budget, 10, 5)

    await replica.ledger.flush()
    await replica.leases.aclose()

    assert await account(database, budget) == (5, 0)


async def test_d2_without_a_database_calls_live_on_what_is_held_and_then_are_refused(database):
    replica = Replica(database)
    budget = await a_budget(database, 1_000)
    assert await replica.call(budget, 10, 10)
    held = (await account(database, budget))[1]
    working, replica.leases._database = replica.leases._database, _Down()

    let_through = 1
    with pytest.raises(StorageUnavailable):  # noqa: PT012 - at some call
        while await replica.call(budget, 10, 10):
            let_through += 1
    replica.time += 2
    with pytest.raises(StorageUnavailable):
        await replica.leases.tick()

    assert let_through == held // 10 > 10
    replica.leases._database = working
    assert await replica.call(budget, 10, 10)
    await replica.rest()
    await replica.rest()
    assert await account(database, budget) == (10 * (let_through + 1), 0)


class _Down:
    def begin(self):
        raise StorageUnavailable("the database does not answer")

    read = begin


async def test_a_caller_that_leaves_while_the_database_is_asked_keeps_nothing(database):
    replica = Replica(database)
    budget = await a_budget(database, 100)
    asking = asyncio.create_task(replica.begin(budget, 100))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.gather(*replica.leases._taking, return_exceptions=True)

    assert await replica.call(budget, 100, 100)


async def test_a_refusal_says_when_there_will_be_room_only_if_that_is_soon(database):
    replica = Replica(database)
    budget = await a_budget(database, 10, period=BudgetPeriod.HOUR)

    with pytest.raises(BudgetExceeded) as refused:
        await replica.begin(budget, 11)

    assert refused.value.retriable
    assert 0 <= refused.value.retry_delay <= 3600
    assert refused.value.metadata["budget"] == "tenants/acme/budgets/b"
    assert refused.value.metadata["limit"] == "10"
    forever, _ = await Budgets(database).create("acme", "c", a_draft(10))
    with pytest.raises(BudgetExceeded) as refused:
        await replica.begin(forever, 11)
    assert not refused.value.retriable


async def test_nothing_is_left_of_a_deleted_budget(database_url):
    async with Database.open(database_url) as database:
        replica = Replica(database)
        budget = await a_budget(database, 100)
        assert await replica.call(budget, 10, 5)
        async with database.read() as tx:
            assert await tx.budget_accounts.any()

        await Budgets(database).delete("acme", "b")
        await replica.rest()

        async with database.read() as tx:
            assert not await tx.budget_accounts.any()


async def test_d4_a_budget_whose_row_is_broken_keeps_no_record_from_being_stored(database):
    await a_budget(database, 100)
    async with database.begin() as tx:
        await tx.budgets._connection.exec_driver_sql("UPDATE budgets SET filter = 'colour = red'")

    async with database.begin() as tx:
        await Accounting().store(tx, [a_use(10)])

    async with database.read() as tx:
        assert len(await tx.usage.since("", "acme", 10)) == 1


async def test_whatever_vendors_claim_can_be_counted_and_stored(database):
    budget = await a_budget(database, 100, BudgetRule(80, AlertAction.ALERT))

    for _ in range(2):
        async with database.begin() as tx:
            await Accounting().store(tx, [a_use(2**62), a_use(2**62)])

    assert await account(database, budget) == (2**62, 0)
    assert await alerts(database) == [(80, "alert")]
