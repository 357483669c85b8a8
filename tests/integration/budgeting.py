"""Replicas that share the budgets of one database, with clocks of their own to set."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

from llm_service.domain.alert import AlertAction
from llm_service.domain.budget import Budget, BudgetPeriod, BudgetRule, BudgetUnit
from llm_service.domain.completion import Attempt, Attribution, Cost, ServedBy, TokenUsage
from llm_service.domain.listing import Listing
from llm_service.domain.usage import UsageRecord
from llm_service.errors import BudgetExceeded
from llm_service.gateway.admin.budgets import BudgetDraft, Budgets
from llm_service.gateway.budgets.leases import TERM, DatabaseClock, Leases
from llm_service.gateway.ids import new_id
from llm_service.gateway.ledger import Uploads
from llm_service.storage.database import Database

BLOCK = BudgetRule(100, AlertAction.BLOCK)


def a_draft(limit: int, *rules: BudgetRule, **changes) -> BudgetDraft:
    known = {"unit": BudgetUnit.TOKENS, "period": BudgetPeriod.LIFETIME, **changes}
    return BudgetDraft(limit=limit, rules=rules or (BLOCK,), **known)


async def a_budget(database: Database, limit: int, *rules: BudgetRule, **changes) -> Budget:
    """Of the tenant acme, in tokens, hard and for good unless something else is said."""
    budget, _ = await Budgets(database).create("acme", "b", a_draft(limit, *rules, **changes))
    return budget


async def status(database: Database, budget: Budget):
    _, found = await Budgets(database).get(budget.tenant, budget.budget_id)
    return found


async def account(database: Database, budget: Budget) -> tuple[int, int]:
    """What is spent of it, and what is reserved."""
    found = await status(database, budget)
    return found.spent, found.reserved


async def alerts(database: Database) -> list[tuple[int, str]]:
    async with database.read() as tx:
        page = await tx.alerts.list(None, Listing(100))
    return [(alert.threshold_percent, alert.action.value) for alert in page.items]


def a_use(tokens: int, when: datetime | None = None, tenant: str = "acme", **who) -> UsageRecord:
    """The record of an attempt that used so many tokens, one nano-USD each."""
    now = datetime.now(UTC)
    usage, cost = (TokenUsage(tokens), Cost(tokens)) if tokens else (None, None)
    target = ServedBy("providers/p", "providers/p/models/m")
    return UsageRecord(
        new_id(),
        new_id(),
        Attribution(tenant, **who),
        Attempt(target, now, 0.1, None, usage, cost),
        now,
        attempt_id=new_id(),
        budget_time=when,
    )


class Replica:
    """One process: what it holds of budgets, and its ledger."""

    def __init__(self, database: Database, term=TERM) -> None:
        self.time = 1000.0
        self.process = new_id()
        self.database = database
        self.leases = Leases(database, self.process, DatabaseClock(lambda: self.time), term)
        self.ledger = Uploads(database)
        self.ledger.holds = self.leases

    async def begin(self, budget: Budget, most: int):
        """Hold that much; what ends the attempt with what it used."""
        holds, when = await self.leases.hold([(budget, most)])

        def end(used: int) -> UsageRecord:
            record = a_use(used, when)
            self.ledger.add(record)
            self.leases.settle(record.attempt_id, [(hold, used) for _, hold in holds])
            return record

        return end

    async def call(self, budget: Budget, most: int, used: int) -> bool:
        """Whether it was let through."""
        try:
            end = await self.begin(budget, most)
        except BudgetExceeded:
            return False
        end(used)
        return True

    async def rest(self) -> None:
        """Store what is settled, and have nothing to do for a while."""
        await self.ledger.flush()
        self.time += 2
        await self.leases.tick()


@asynccontextmanager
async def replicas(url: str, count: int):
    """Each with connections of its own."""
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        yield [Replica(await stack.enter_async_context(Database.open(url))) for _ in range(count)]
