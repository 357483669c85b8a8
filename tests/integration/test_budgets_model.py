"""Whatever replicas do in which order, budgets end where one process alone would have had them."""

import asyncio
import shutil
from itertools import count

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from llm_service.errors import BudgetExceeded
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.storage.database import Database
from tests.integration.budgeting import Replica, a_budget, a_use, account

LIMIT = 200
REPLICAS = 2


class Model(RuleBasedStateMachine):
    """Two replicas on one database, beside a sum and the attempts in flight."""

    fresh: "callable"

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.context = Database.open(self.fresh())
        self.database = self.run(self.context.__aenter__())
        self.replicas = [Replica(self.database) for _ in range(REPLICAS)]
        self.budget = self.run(a_budget(self.database, LIMIT))
        self.flying = [[], []]
        self.unstored = [0, 0]
        self.spent = 0

    def run(self, work):
        return self.runner.run(work)

    @rule(which=st.integers(0, 1), most=st.integers(1, 60))
    def reserve(self, which, most):
        replica = self.replicas[which]
        replica.time += 1  # past what was said a moment ago
        try:
            end = self.run(replica.begin(self.budget, most))
        except BudgetExceeded as refused:
            said = refused.metadata
            assert int(said["spent"]) + int(said["reserved"]) + most > LIMIT
        else:
            self.flying[which].append((most, end))

    @precondition(lambda self: any(self.flying))
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data, share):
        which = data.draw(st.sampled_from([n for n in (0, 1) if self.flying[n]]))
        most, end = self.flying[which].pop()
        used = round(most * share)
        self.run(self._end(end, used))
        self.unstored[which] += used

    @rule(which=st.integers(0, 1))
    def store(self, which):
        self.run(self.replicas[which].ledger.flush())
        self._stored(which)

    @rule(which=st.integers(0, 1))
    def rest(self, which):
        self.run(self.replicas[which].rest())
        self._stored(which)

    @rule(which=st.integers(0, 1))
    def die(self, which):
        """Whoever finds its journal settles what was in flight."""
        dead = self.replicas[which]
        uses = [a_use(most) for most, _ in self.flying[which]]
        self.run(self._bury(dead, uses))
        self._stored(which)
        self.spent += sum(most for most, _ in self.flying[which])
        self.flying[which] = []
        self.replicas[which] = Replica(self.database)

    @invariant()
    def no_more_is_spent_and_held_than_there_is(self):
        spent, reserved = self.run(account(self.database, self.budget))
        assert spent == self.spent
        assert spent + reserved <= LIMIT
        held = sum(most for flying in self.flying for most, _ in flying)
        assert held + sum(self.unstored) <= reserved

    def teardown(self):
        for flying in self.flying:
            for most, end in flying:
                self.run(self._end(end, most))
                self.spent += most
        self.spent += sum(self.unstored)
        for replica in (*self.replicas, *self.replicas):
            self.run(replica.rest())
        try:
            assert self.run(account(self.database, self.budget)) == (self.spent, 0)
            if self.spent < LIMIT:  # all the rest is there for one
                self.run(self.replicas[0].begin(self.budget, LIMIT - self.spent))
        finally:
            self.run(self.context.__aexit__(None, None, None))
            self.runner.close()

    def _stored(self, which):
        self.spent += self.unstored[which]
        self.unstored[which] = 0

    async def _end(self, end, used):
        end(used)

    async def _bury(self, dead, uses):
        await dead.ledger.flush()  # what its journal holds of it
        async with self.database.begin() as tx:
            if uses:
                await Accounting().store(tx, uses)
            await tx.budget_accounts.leave(dead.process)


def test_budgets_are_as_a_sequential_model_has_them(migrated_sqlite, tmp_path):
    numbers = count()

    class OnSqlite(Model):
        @staticmethod
        def fresh():
            path = tmp_path / f"{next(numbers)}.db"
            shutil.copyfile(migrated_sqlite, path)
            return f"sqlite+aiosqlite:///{path}"

    run_state_machine_as_test(
        OnSqlite,
        settings=settings(
            max_examples=12,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
