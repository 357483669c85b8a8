"""Budgets: what a scope of calls may use in a period, and what happens on the way there."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from llm_service.domain.alert import AlertAction
from llm_service.domain.completion import Attempt
from llm_service.domain.value import value


class BudgetUnit(StrEnum):
    """What is counted."""

    NANO_USD = "nano_usd"
    TOKENS = "tokens"
    """Of input and output."""
    REQUESTS = "requests"
    """Attempts that used anything."""


class BudgetPeriod(StrEnum):
    """Calendar lengths; a lifetime begins with its budget and never ends."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"


@value
class BudgetRule:
    """What happens from `threshold_percent` of the limit on. `downgrade_model`: with DOWNGRADE."""

    threshold_percent: int
    action: AlertAction
    downgrade_model: str = ""


@value
class Budget:
    """`tenant` "" is everybody's together. `filter` "" counts all of its tenant.

    `limit` is in the unit. `version` grows with each change. `unreadable` names the fields whose
    stored value cannot be read; they have their defaults.
    """

    tenant: str
    budget_id: str
    uid: str
    create_time: datetime
    update_time: datetime
    version: int = 1
    display_name: str = ""
    filter: str = ""
    unit: BudgetUnit = BudgetUnit.NANO_USD
    limit: int = 0
    period: BudgetPeriod = BudgetPeriod.MONTH
    time_zone: str = "UTC"
    rules: tuple[BudgetRule, ...] = ()
    disabled: bool = False
    unreadable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}budgets/{self.budget_id}"

    @property
    def block_at(self) -> int | None:
        """What may never be exceeded; None: the budget is soft."""
        at = [
            self.limit * rule.threshold_percent // 100
            for rule in self.rules
            if rule.action is AlertAction.BLOCK
        ]
        return min(at, default=None)

    def reached(self, amount: int) -> Iterator[BudgetRule]:
        """The rules whose threshold is not above `amount`."""
        for rule in self.rules:
            if amount * 100 >= self.limit * rule.threshold_percent:
                yield rule


@value
class BudgetStatus:
    """Amounts of the current window, in the budget's unit. `reserved` is held for calls.

    `end_time` None: it never ends. `blocking`: calls were refused in it, or any would be.
    """

    start_time: datetime
    end_time: datetime | None
    spent: int = 0
    reserved: int = 0
    blocking: bool = False


def charge(unit: BudgetUnit, attempt: Attempt) -> int:
    """What an attempt counts. One that used nothing counts nothing; an unknown cost is no cost."""
    if attempt.usage is None:
        return 0
    match unit:
        case BudgetUnit.REQUESTS:
            return 1
        case BudgetUnit.TOKENS:
            return attempt.usage.input_tokens + attempt.usage.output_tokens
        case BudgetUnit.NANO_USD:
            return attempt.cost.total_nano_usd if attempt.cost else 0
