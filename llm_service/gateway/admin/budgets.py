"""Budgets: created, changed and deleted; and how much of them is left."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from llm_service.domain.access import as_service
from llm_service.domain.alert import AlertAction
from llm_service.domain.budget import Budget, BudgetPeriod, BudgetRule, BudgetStatus, BudgetUnit
from llm_service.domain.listing import Listing, Page
from llm_service.errors import EtagMismatch, InvalidField, ResourceNotFound, Violation
from llm_service.gateway.admin import rules
from llm_service.gateway.admin.once import NOT_REPEATED, Once
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.gateway.budgets.scope import condition, window_at
from llm_service.gateway.ids import new_id
from llm_service.storage import buckets
from llm_service.storage.budget_accounts import Account, Window
from llm_service.storage.database import Database, Transaction

MAX_BUDGETS = 100
"""Of one tenant: every attempt of its calls looks at each."""
MAX_RULES = 16
MAX_PERCENT = 1000
MAX_MODEL = 512
MAX_LIMIT = 10**17
"""A hundred million USD in nano-USD; ten times as much still fits 64 bits."""
_FIXED = ("unit", "period", "time_zone")
"""What other budgets would be: windows and amounts are kept by them."""


@dataclass(frozen=True, slots=True)
class BudgetDraft:
    """The writable fields of `Budget`."""

    display_name: str = ""
    filter: str = ""
    unit: BudgetUnit = BudgetUnit.NANO_USD
    limit: int = 0
    period: BudgetPeriod = BudgetPeriod.MONTH
    time_zone: str = "UTC"
    rules: tuple[BudgetRule, ...] = ()
    disabled: bool = False

    @classmethod
    def of(cls, budget: Budget) -> "BudgetDraft":
        return cls(**{one.name: getattr(budget, one.name) for one in fields(cls)})

    @property
    def values(self) -> dict[str, Any]:
        """For `dataclasses.replace`."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


ChangeBudget = Callable[[BudgetDraft], BudgetDraft]
Counted = tuple[Budget, BudgetStatus]


class Budgets:
    """The operator's side. Every method names the tenant; "" is everybody's together.

    A new or changed budget counts what its current window has used already, by the ledger.
    """

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now
        self._accounting = Accounting()

    async def create(
        self,
        tenant: str,
        budget_id: str,
        draft: BudgetDraft,
        *,
        once: Once[Counted] = NOT_REPEATED,
    ) -> Counted:
        """Store a new budget.

        Raises:
            InvalidField: names all that is wrong with it.
            AlreadyExists: the id is taken.
            RateLimited: the tenant has `MAX_BUDGETS` already.
        """
        rules.done(violations(draft))
        now = self._now()
        budget = Budget(tenant, budget_id, new_id(), now, now, **draft.values)
        async with self._database.begin() as tx:
            await once.begin(tx, now)
            await tx.budgets.add(budget)
            if await tx.budgets.count_alone(tenant) > MAX_BUDGETS:
                raise rules.too_many(tenant, "budgets", MAX_BUDGETS)
            await tx.config.bump(tenant)
            await once.end(tx, (await _with_status(tx, [budget]))[0])
        return await self._counted(budget)

    async def get(self, tenant: str, budget_id: str) -> Counted:
        async with self._database.read() as tx:
            budget = await tx.budgets.get(tenant, budget_id)
            return (await _with_status(tx, [budget]))[0]

    async def list(self, tenant: str | None, listing: Listing) -> Page[Counted]:
        """One page of a tenant's own budgets; None: of all there are."""
        async with self._database.read() as tx:
            page = await tx.budgets.list(tenant, listing)
            return Page(await _with_status(tx, page.items), page.after)

    async def update(
        self,
        tenant: str,
        budget_id: str,
        change: ChangeBudget,
        *,
        expected_version: int | None = None,
    ) -> Counted:
        """Change a budget.

        Raises:
            InvalidField: as `create`, or what cannot change would.
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: there is none.
        """
        async with self._database.begin() as tx:
            stored = await tx.budgets.get(tenant, budget_id, for_update=True)
            if expected_version not in (None, stored.version):
                raise EtagMismatch(f"{stored.name} has changed since it was read")
            draft = change(BudgetDraft.of(stored))
            rules.done([*violations(draft), *_fixed(stored, draft)])
            changed = replace(stored, update_time=self._now(), **draft.values)
            budget = await tx.budgets.update(changed, stored.version)
            await tx.config.bump(tenant)
        return await self._counted(budget)

    async def delete(
        self,
        tenant: str,
        budget_id: str,
        *,
        expected_version: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        """Destroy a budget and what was counted of it; its alerts stay.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: there is none, and it is not allowed to be missing.
        """
        async with self._database.begin() as tx:
            try:
                budget = await tx.budgets.get(tenant, budget_id, for_update=True)
            except ResourceNotFound:
                if allow_missing:
                    return
                raise
            await tx.budgets.delete(budget, expected_version)
            await tx.budget_accounts.forget(budget.uid)
            await tx.config.bump(tenant)

    async def reconcile(self, budget: Budget) -> int:
        """Count the current window anew from the ledger; by how much it was wrong."""
        with as_service():
            async with self._database.begin() as tx:
                return await self._accounting.recount(tx, budget)

    async def _counted(self, budget: Budget) -> Counted:
        # Those who store records see the budget from here on. Its alerts are not the caller's.
        await self.reconcile(budget)
        async with self._database.read() as tx:
            return (await _with_status(tx, [budget]))[0]


async def _with_status(tx: Transaction, budgets: Sequence[Budget]) -> tuple[Counted, ...]:
    now = await tx.budget_accounts.now()
    windows = {one.uid: window for one in budgets if (window := _window(one, now)) is not None}
    accounts = await tx.budget_accounts.of(windows.values())
    return tuple(
        (one, _status(one, windows.get(one.uid), accounts.get(one.uid))) for one in budgets
    )


def _window(budget: Budget, now: datetime) -> Window | None:
    try:
        return window_at(budget, now)
    except InvalidField:  # its row is broken
        return None


def _status(budget: Budget, window: Window | None, account: Account | None) -> BudgetStatus:
    if window is None:
        return BudgetStatus(budget.create_time, None)
    spent, leased = (account.spent, account.leased) if account else (0, 0)
    most = budget.block_at
    refused = account is not None and account.refuse_time is not None
    blocking = most is not None and not budget.disabled and (refused or spent + leased >= most)
    return BudgetStatus(window.start_time, window.end_time, spent, leased, blocking)


def violations(draft: BudgetDraft) -> Iterator[Violation]:
    yield from rules.text("budget.display_name", draft.display_name, rules.MAX_TEXT)
    if not 0 < draft.limit <= MAX_LIMIT:
        yield Violation("budget.limit", f"must be set, above 0 and at most {MAX_LIMIT}")
    for check, field in (
        (lambda: condition(draft.filter), "budget.filter"),
        (lambda: buckets.zone(draft.time_zone), "budget.time_zone"),
    ):
        try:
            check()
        except InvalidField as error:
            yield Violation(field, error.violations[0].description)
    if len(draft.rules) > MAX_RULES:
        yield Violation("budget.rules", f"has more than {MAX_RULES} entries")
    for number, rule in enumerate(draft.rules):
        yield from _rule(f"budget.rules[{number}]", rule)
    if len({rule.threshold_percent for rule in draft.rules}) < len(draft.rules):
        yield Violation("budget.rules", "has two rules of one threshold_percent")


def _rule(path: str, rule: BudgetRule) -> Iterator[Violation]:
    if not 1 <= rule.threshold_percent <= MAX_PERCENT:
        yield Violation(f"{path}.threshold_percent", f"must be between 1 and {MAX_PERCENT}")
    model, downgrades = rule.downgrade_model, rule.action is AlertAction.DOWNGRADE
    if downgrades and not (1 <= len(model) <= MAX_MODEL and model.isprintable()):
        yield Violation(f"{path}.downgrade_model", f"must be 1 to {MAX_MODEL} printable characters")
    if model and not downgrades:
        yield Violation(f"{path}.downgrade_model", "is only for ACTION_DOWNGRADE")


def _fixed(stored: Budget, draft: BudgetDraft) -> Iterator[Violation]:
    for name in _FIXED:
        if getattr(stored, name) != getattr(draft, name) and name not in stored.unreadable:
            field = "limit" if name == "unit" else name
            yield Violation(f"budget.{field}", "cannot change: make another budget of it")
