"""What a process holds of budgets stays its own while the database knows it, and no longer."""

import asyncio

import pytest

from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.budgets import Budgets
from llm_service.storage.budget_accounts import BudgetAccounts
from llm_service.storage.database import Database
from tests.integration.budgeting import Replica, a_budget, a_draft, account


async def test_a_process_whose_first_question_failed_still_keeps_what_it_is_granted_next(
    database, monkeypatch
):
    first, second = Replica(database), Replica(database)
    budget = await a_budget(database, 100)
    whole = BudgetAccounts.open
    failures = [StorageUnavailable("the row is locked")]

    async def open_(self, window):
        if failures:
            raise failures.pop()
        return await whole(self, window)

    monkeypatch.setattr(BudgetAccounts, "open", open_)
    with pytest.raises(StorageUnavailable):
        await first.begin(budget, 100)
    first.time += 1
    await first.begin(budget, 100)

    await second.rest()  # which gives back what processes hold that nobody knows

    assert await account(database, budget) == (0, 100)
    assert not await second.call(budget, 100, 100)


async def test_a_process_that_asks_for_several_budgets_at_once_at_first_loses_none_of_its_room(
    postgresql_url,
):
    async with Database.open(postgresql_url) as database:
        made = [
            (await Budgets(database).create("acme", f"b{n}", a_draft(1_000)))[0] for n in range(8)
        ]
        await asyncio.gather(*(asking(database) for _ in made))  # connections are there then
        replica = Replica(database)

        for end in await asyncio.gather(*(replica.begin(budget, 10) for budget in made)):
            end(0)
        await replica.rest()
        await replica.rest()

        assert [await account(database, budget) for budget in made] == [(0, 0)] * 8


async def asking(database):
    async with database.begin() as tx:
        await tx.budget_accounts.now()
        await asyncio.sleep(0)
