"""The gate of budgets: no attempt is dialled that a budget which blocks has no room for."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from llm_service.domain.budget import Budget, charge
from llm_service.domain.usage import UsageRecord
from llm_service.errors import StorageUnavailable
from llm_service.gateway.budgets import bounds
from llm_service.gateway.budgets.holding import Hold
from llm_service.gateway.budgets.leases import Leases
from llm_service.gateway.budgets.scope import Use, counts
from llm_service.gateway.configuration import View
from llm_service.gateway.gates import Admission, Pass

WAIT_SECONDS = 2.0
"""How long an attempt waits for the database where a budget is nearly used up."""


class BudgetGate:
    """Holds of every hard budget that counts an attempt the most it could use.

    Soft budgets refuse nothing and are not waited for. Without budgets it costs a look-up.

    Args:
        view: what a tenant's calls fall under; as `Configuration.view`.
        leases: what is held of them.
    """

    def __init__(self, view: Callable[[str], Awaitable[View]], leases: Leases) -> None:
        self._view = view
        self._leases = leases

    async def enter(self, admission: Admission) -> Pass:
        view = await self._view(admission.call.request.attribution.tenant)
        budgets = view.budgets
        if not budgets:
            return _NOTHING
        admission.budget_time = self._leases.clock.now()
        use = use_of(admission)
        hard = [one for one in budgets if one.block_at is not None and counts(one, use)]
        needs = [(budget, bounds.most(budget, admission)) for budget in hard]
        needs = [(budget, most) for budget, most in needs if most > 0]
        if not needs:
            return _NOTHING
        left = admission.call.by - admission.call.now
        try:
            async with asyncio.timeout(max(0.0, min(WAIT_SECONDS, left))):
                holds, admission.budget_time = await self._leases.hold(needs)
        except TimeoutError:
            raise StorageUnavailable("the database does not say if there is room") from None
        return _Held(self._leases, holds)


class _Nothing:
    """Of an attempt that no hard budget counts."""

    def settled(self, record: UsageRecord) -> None:
        """Nothing is held."""


_NOTHING = _Nothing()


class _Held:
    """What an attempt holds, by budget."""

    def __init__(self, leases: Leases, holds: Sequence[tuple[Budget, Hold]]) -> None:
        self._leases = leases
        self._holds = holds

    def settled(self, record: UsageRecord) -> None:
        used = [(hold, charge(budget.unit, record.attempt)) for budget, hold in self._holds]
        self._leases.settle(record.attempt_id, used)


def use_of(admission: Admission) -> Use:
    target = admission.target
    return Use(
        admission.call.request.attribution,
        target.provider.name,
        target.model.name,
        target.credential.name if target.credential else "",
        admission.call.operation,
    )
