"""The gate of budgets: what it holds for an attempt, and what it refuses."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from llm_service.domain.alert import AlertAction
from llm_service.domain.budget import Budget, BudgetRule, BudgetUnit
from llm_service.domain.completion import GenerationParams
from llm_service.domain.provider import Price, PriceItem
from llm_service.errors import BudgetExceeded, CostUnknown, ProviderUnavailable
from llm_service.gateway.budgets.gate import BudgetGate
from llm_service.gateway.budgets.leases import DatabaseClock
from llm_service.gateway.configuration import View
from tests.fakes import FakeAdapter, an_answer
from tests.unit.two_providers import World

NOW = datetime(2026, 11, 28, tzinfo=UTC)
BLOCK = (BudgetRule(100, AlertAction.BLOCK),)


def a_budget(**changes) -> Budget:
    known = Budget("default", "b", "u", NOW, NOW, limit=10**15, rules=BLOCK)
    return replace(known, **changes)


class Room:
    """Stands in for leases: remembers what was asked for and what was used of it."""

    def __init__(self, *, full=False) -> None:
        self.clock = DatabaseClock()
        self.full = full
        self.asked: list[tuple[str, int]] = []
        self.used: list[int] = []

    async def hold(self, needs):
        self.asked += [(budget.budget_id, most) for budget, most in needs]
        if self.full:
            raise BudgetExceeded("full", metadata={}, retry_delay=None)
        return [(budget, object()) for budget, _ in needs], NOW

    def settle(self, attempt_id, holds):
        self.used += [used for _, used in holds]


def a_world(*budgets, room=None, adapters=(), **more):
    async def view(tenant):
        return View(1, {}, {}, {}, {}, (), budgets)

    room = room or Room()
    adapters = adapters or (FakeAdapter(an_answer()),)
    return World(*adapters, gates=[BudgetGate(view, room)], **more), room


async def test_the_most_an_attempt_could_cost_is_held_and_what_it_cost_is_told():
    world, room = a_world(a_budget())

    completion = await world.complete()

    [(_, most)] = room.asked
    assert most >= 100 * 2_000 + 1_000
    assert room.used == [completion.cost.total_nano_usd]
    assert world.ledger.records[0].budget_time == NOW
    assert world.ledger.records[0].charge_time == NOW


async def test_the_callers_own_limit_of_output_is_the_bound():
    adapter = FakeAdapter(an_answer(), an_answer())
    world, room = a_world(a_budget(unit=BudgetUnit.TOKENS), adapters=(adapter,))

    await world.complete(params=GenerationParams(max_output_tokens=7))
    await world.complete(params=GenerationParams(max_output_tokens=8))

    assert room.asked[1][1] - room.asked[0][1] == 1


async def test_every_target_is_admitted_again_before_it_is_dialled():
    failing = FakeAdapter(ProviderUnavailable("x"))
    world, room = a_world(
        a_budget(filter='provider = "providers/two"', unit=BudgetUnit.REQUESTS),
        a_budget(budget_id="all", unit=BudgetUnit.REQUESTS),
        adapters=(failing, FakeAdapter(an_answer())),
    )

    await world.complete()

    assert room.asked == [("all", 1), ("b", 1), ("all", 1)]


async def test_without_room_nobody_is_called():
    adapter = FakeAdapter(an_answer())
    world, _ = a_world(a_budget(), room=Room(full=True), adapters=(adapter,))

    with pytest.raises(BudgetExceeded):
        await world.complete()

    assert adapter.calls == []


async def test_u6_a_model_without_a_price_is_refused_under_a_hard_budget_of_money():
    world, room = a_world(a_budget(), model={"price": None})

    with pytest.raises(CostUnknown) as refused:
        await world.complete()

    assert refused.value.metadata["missing"] == "price"
    assert room.asked == []


async def test_without_any_limit_of_output_there_is_no_bound():
    world, _ = a_world(a_budget(unit=BudgetUnit.TOKENS), model={"max_output_tokens": 0})

    with pytest.raises(CostUnknown) as refused:
        await world.complete()

    assert refused.value.metadata["missing"] == "max_output_tokens"


async def test_what_is_declared_to_be_free_is_never_refused():
    free = Price("v", (PriceItem("input-tokens", 0), PriceItem("output-tokens", 0)))
    world, room = a_world(a_budget(), room=Room(full=True), model={"price": free})

    await world.complete()

    assert room.asked == []


@pytest.mark.parametrize(
    "budget",
    [
        pytest.param(a_budget(rules=(BudgetRule(100, AlertAction.ALERT),)), id="soft"),
        pytest.param(a_budget(filter='agent = "other"'), id="another-agent"),
        pytest.param(a_budget(tenant="other"), id="another-tenant"),
        pytest.param(a_budget(filter="operation = embeddings"), id="another-operation"),
        pytest.param(a_budget(filter='NOT model : "m"'), id="another-model"),
    ],
)
async def test_a_budget_that_is_soft_or_for_others_refuses_nothing(budget):
    world, room = a_world(budget, room=Room(full=True), model={"price": None})

    await world.complete()

    assert room.asked == []
    assert world.ledger.records[0].budget_time is not None


async def test_without_budgets_nothing_is_held_or_noted():
    world, room = a_world()

    await world.complete()

    assert room.asked == []
    assert world.ledger.records[0].budget_time is None
