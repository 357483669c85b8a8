"""Usage records and budgets: what is stored is counted, in the same transaction and once."""

from collections.abc import Sequence
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from llm_service.domain.alert import Alert, AlertAction, AlertKind, AlertUnit
from llm_service.domain.budget import Budget, BudgetPeriod, BudgetRule, BudgetUnit, charge
from llm_service.domain.usage import UsageRecord
from llm_service.gateway.budgets.scope import Use, counts, is_in, scope, sound, window_at
from llm_service.gateway.ids import new_id
from llm_service.storage.budget_accounts import Window
from llm_service.storage.database import Database, Transaction
from llm_service.storage.positional import Settled

_IMPLIED = 0
"""The version of a budget that has no row: settings imply it."""


class Accounting:
    """Stores records with what they mean for budgets.

    Args:
        daily_cost_nano_usd: of which every tenant's cost of a day, in UTC, is told; None: of none.
    """

    def __init__(self, daily_cost_nano_usd: int | None = None) -> None:
        self._daily_cost = daily_cost_nano_usd
        self._budgets = False  # whether there were any when last looked at

    async def store_uncounted(self, database: Database, batch: Sequence[Settled]) -> bool:
        """Write records at once where nothing counts them; False: nothing was written.

        They are to be given to `store` then, which also sees when the last budget has gone.
        """
        if self._budgets or self._daily_cost is not None:
            return False
        return await database.store_uncounted(batch)

    async def store(self, tx: Transaction, records: Sequence[UsageRecord]) -> frozenset[str]:
        """Write records, and count those that are new: their attempts' ids, if budgets are there.

        The transaction is the service's own.
        """
        await tx.budget_accounts.share_counting()
        budgets = await self._counting(tx, {record.attribution.tenant for record in records})
        if not budgets:
            await tx.usage.add_many(records)
            return frozenset()
        new = await tx.usage.add_new(records)
        by_id = {record.record_id: record for record in records}
        added = [by_id[record_id] for record_id in new]
        for budget in budgets:  # in the order in which windows are locked
            for window, amount in sorted(_charges(budget, added).items(), key=_start):
                before = await tx.budget_accounts.charge(window, amount)
                await _tell(tx, budget, window, before, before + amount)
        return frozenset(record.attempt_id for record in added)

    async def recount(self, tx: Transaction, budget: Budget) -> int:
        """Put what the ledger says in the place of what is counted of the current window."""
        accounts = tx.budget_accounts
        await accounts.count_alone()
        window = window_at(budget, await accounts.now())
        if window is None:
            return 0
        before = (await accounts.open(window)).spent
        spent = await accounts.spent(window, budget.unit, scope(budget))
        await accounts.set_spent(window, spent)
        if not budget.disabled:
            await _tell(tx, budget, window, 0, spent)
        return spent - before

    async def _counting(self, tx: Transaction, tenants: set[str]) -> list[Budget]:
        self._budgets = await tx.budgets.any()
        stored = await tx.budgets.of_tenants({*tenants, ""}) if self._budgets else ()
        found = [one for one in stored if not one.disabled and sound(one)]
        if self._daily_cost is not None:
            found += [_daily(tenant, self._daily_cost) for tenant in tenants]
        return sorted(found, key=lambda budget: budget.uid)


UNALERTED = Accounting()
"""Nobody is told of what a day costs."""


def _charges(budget: Budget, records: Sequence[UsageRecord]) -> dict[Window, int]:
    charges: dict[Window, int] = {}
    window: Window | None = None
    for record in records:
        amount = charge(budget.unit, record.attempt)
        if not amount or not counts(budget, Use.of(record)):
            continue
        if window is None or not is_in(record.charge_time, window):
            window = window_at(budget, record.charge_time)
        if window is not None:
            charges[window] = charges.get(window, 0) + amount
    return charges


def _start(item: tuple[Window, int]) -> datetime:
    return item[0].start_time


async def refused(tx: Transaction, budget: Budget, window: Window, spent: int) -> None:
    """Tell that a call was refused; once in a window."""
    for rule in budget.rules:
        if rule.action is AlertAction.BLOCK:
            await _alert(tx, budget, rule, window, spent)


async def _tell(tx: Transaction, budget: Budget, window: Window, before: int, after: int) -> None:
    """Of every threshold that is passed between the two."""
    known = set(budget.reached(before))
    for rule in budget.reached(after):
        if rule not in known:
            await _alert(tx, budget, rule, window, after)


async def _alert(
    tx: Transaction, budget: Budget, rule: BudgetRule, window: Window, spent: int
) -> None:
    implied = budget.version == _IMPLIED
    await tx.alerts.add_once(
        Alert(
            alert_id=new_id(),
            tenant=budget.tenant,
            kind=AlertKind.COST_THRESHOLD if implied else AlertKind.BUDGET_THRESHOLD,
            subject=f"tenants/{budget.tenant}" if implied else budget.name,
            window_start_time=window.start_time,
            threshold_percent=rule.threshold_percent,
            observed=spent,
            limit=budget.limit,
            unit=AlertUnit(budget.unit.value),
            create_time=await tx.budget_accounts.now(),
            action=rule.action,
        )
    )


def _daily(tenant: str, limit: int) -> Budget:
    epoch = datetime.fromisoformat("1970-01-01T00:00:00Z")
    return Budget(
        tenant,
        "daily-cost",
        str(uuid5(NAMESPACE_URL, f"tenants/{tenant}/daily-cost")),
        epoch,
        epoch,
        version=_IMPLIED,
        unit=BudgetUnit.NANO_USD,
        limit=limit,
        period=BudgetPeriod.DAY,
        rules=(BudgetRule(100, AlertAction.ALERT),),
    )
