"""What a budget counts as records come is what the ledger says it should have counted."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from llm_service.domain.budget import Budget, BudgetUnit
from llm_service.errors import InvalidField
from llm_service.gateway.budgets.scope import Use, condition, counts, scope
from llm_service.storage.budget_accounts import Window
from tests.integration.budgeting import a_use

NOW = datetime.now(UTC)
LABELS = ({}, {"team": "x"}, {"team": ""}, {"team": "X", "a.b": "5"}, {"a.b": "a%b"})
FIELDS = ("tenant", "agent", "label", "label.team", "label.a.b", "operation")
OPERATORS = ("=", "!=", "<", ">=", ":")
VALUES = ('"x"', '"X"', "5", "*", '"a%"', '""')


def is_filter(text):
    try:
        condition(text)
    except InvalidField:
        return False
    return True


@pytest.mark.parametrize("form", ["{}", "NOT {}", "NOT ({} AND agent = x)"])
async def test_a_filter_means_the_same_in_memory_and_in_the_ledger(database, form):
    records = [a_use(1, agent=agent, labels=labels) for agent in ("", "x") for labels in LABELS]
    texts = [form.format(f"{f} {o} {v}") for f, o, v in product(FIELDS, OPERATORS, VALUES)]
    budgets = [Budget("acme", "b", "u", NOW, NOW, filter=text) for text in texts if is_filter(text)]
    counted = {one.filter: sum(counts(one, Use.of(each)) for each in records) for one in budgets}
    window = Window("u", NOW - timedelta(days=1), None)
    async with database.begin() as tx:
        await tx.usage.add_many(records)
        summed = {
            one.filter: await tx.budget_accounts.spent(window, BudgetUnit.TOKENS, scope(one))
            for one in budgets
        }

    assert len(budgets) > 100
    assert counted == summed
