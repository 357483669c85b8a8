"""A budget that downgrades has completions served by its cheaper model, and says so."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from llm_service.domain.alert import AlertAction
from llm_service.domain.budget import Budget, BudgetRule, BudgetUnit
from llm_service.gateway.budgets.downgrades import DOWNGRADED, Downgrades
from llm_service.gateway.budgets.leases import DatabaseClock
from llm_service.gateway.completions import Completions
from llm_service.gateway.configuration import Owned, view_of
from llm_service.gateway.routing import Router
from llm_service.storage.budget_accounts import Account
from tests.fakes import FakeAdapter, a_model, a_request, an_answer
from tests.unit.two_providers import PRICE, FakeConfiguration, World

NOW = datetime(2026, 11, 28, tzinfo=UTC)
RULES = (
    BudgetRule(50, AlertAction.DOWNGRADE, "smaller"),
    BudgetRule(80, AlertAction.DOWNGRADE, "smallest"),
)


class Spent:
    """A database in which so much of every budget is spent."""

    def __init__(self, spent) -> None:
        self.spent = spent
        self.budget_accounts = self

    @asynccontextmanager
    async def read(self):
        yield self

    async def now(self):
        return NOW

    async def of(self, windows):
        return {one.budget_uid: Account(self.spent, 0, None) for one in windows}


def a_budget(**changes) -> Budget:
    known = Budget("default", "b", "u", NOW, NOW, unit=BudgetUnit.TOKENS, limit=100, rules=RULES)
    return replace(known, **changes)


async def served_by(spent, budget, model="m"):
    """The model that served, and the warnings."""
    adapter = FakeAdapter(an_answer())
    world = World(adapter)
    provider = world.completions._configuration._view.providers["providers/one"]
    models = tuple(
        a_model(provider, name, price=PRICE, max_output_tokens=100)
        for name in ("m", "smaller", "smallest")
    )
    shared = Owned((provider,), {}, {provider.name: models})
    own = Owned((), {}, {}, budgets=(budget,))
    configuration = FakeConfiguration(view_of(1, shared, own, "default"))
    configuration.loaded = {"default": own}
    clock = DatabaseClock(lambda: 0.0)
    downgrades = Downgrades(Spent(spent), configuration, clock, Router())
    await downgrades.refresh()
    completions = Completions(configuration, world.completions._upstream, downgrades=downgrades)
    completion = await completions.complete(a_request(model=model), None)
    return completion.served_by.model.rpartition("/")[2], completion.warnings


@pytest.mark.parametrize(
    ("spent", "model"), [(0, "m"), (49, "m"), (50, "smaller"), (79, "smaller"), (80, "smallest")]
)
async def test_the_highest_threshold_that_is_reached_says_which_model_serves(spent, model):
    served, warnings = await served_by(spent, a_budget())

    assert served == model
    assert [one.reason for one in warnings] == ([] if model == "m" else [DOWNGRADED])
    assert all("tenants/default/budgets/b" in one.message for one in warnings)


@pytest.mark.parametrize(
    "budget",
    [
        pytest.param(a_budget(filter='agent = "other"'), id="for-others"),
        pytest.param(a_budget(filter='model : "dear"'), id="of-another-model"),
        pytest.param(
            a_budget(rules=(BudgetRule(50, AlertAction.DOWNGRADE, "nobody-serves-it"),)),
            id="nobody-serves-it",
        ),
    ],
)
async def test_a_call_that_is_not_concerned_or_cannot_be_moved_stays_as_it_was(budget):
    assert await served_by(100, budget) == ("m", ())


async def test_a_call_that_asks_for_the_cheaper_model_gets_it_without_a_warning():
    assert await served_by(100, a_budget(), "smallest") == ("smallest", ())
