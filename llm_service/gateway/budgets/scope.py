"""What a budget counts: which attempts, and in which window of time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from llm_service.domain.budget import Budget, BudgetPeriod
from llm_service.domain.completion import Attribution
from llm_service.domain.listing import And, Comparison, Filter, Operator
from llm_service.domain.usage import Operation, TimeBucket, UsageRecord
from llm_service.errors import InvalidField
from llm_service.gateway.filters import Fields, FieldType, parse_filter
from llm_service.gateway.paging import matches
from llm_service.storage import buckets
from llm_service.storage.budget_accounts import Window

DIMENSIONS: Fields = {
    "tenant": FieldType.TEXT,
    "agent": FieldType.TEXT,
    "user": FieldType.TEXT,
    "interaction": FieldType.TEXT,
    "session": FieldType.TEXT,
    "provider": FieldType.TEXT,
    "model": FieldType.TEXT,
    "credential": FieldType.TEXT,
    "operation": FieldType.TEXT,
    "label": FieldType.MAP,
}
"""Those of usage reports that are known before an attempt is dialled."""


@dataclass(frozen=True, slots=True)
class Use:
    """An attempt, before it is dialled or after it is settled."""

    attribution: Attribution
    provider: str
    model: str
    credential: str
    operation: Operation

    @classmethod
    def of(cls, record: UsageRecord) -> "Use":
        target = record.attempt.target
        return cls(
            record.attribution,
            target.provider,
            target.model,
            target.credential,
            record.operation,
        )


@lru_cache(maxsize=4096)
def condition(text: str) -> Filter | None:
    """The tree of a budget's filter; None: everything counts.

    Raises:
        InvalidField: it is none.
    """
    return parse_filter(text, DIMENSIONS)


def scope(budget: Budget) -> Filter | None:
    """All that a record has to meet; None: nothing."""
    tree = condition(budget.filter)
    if not budget.tenant:
        return tree
    own = Comparison("tenant", Operator.EQ, budget.tenant)
    return own if tree is None else And((own, tree))


def counts(budget: Budget, use: Use) -> bool:
    """Whether the budget is for such attempts."""
    if budget.tenant and budget.tenant != use.attribution.tenant:
        return False
    tree = condition(budget.filter)
    return tree is None or matches(tree, use, _value)


def sound(budget: Budget) -> bool:
    """Whether its row can be read; what is broken counts and refuses nothing."""
    if budget.unreadable:
        return False
    try:
        condition(budget.filter)
        buckets.zone(budget.time_zone)
    except InvalidField:
        return False
    return True


def window_at(budget: Budget, moment: datetime) -> Window | None:
    """The window that `moment` is in; None: the budget had not begun."""
    if budget.period is BudgetPeriod.LIFETIME:
        return (
            Window(budget.uid, budget.create_time, None) if moment >= budget.create_time else None
        )
    where = buckets.zone(budget.time_zone)
    start, end = buckets.around(moment, TimeBucket(budget.period.value), where)
    return Window(budget.uid, start, end)


def is_in(moment: datetime, window: Window) -> bool:
    return window.start_time <= moment and (window.end_time is None or moment < window.end_time)


def _value(use: Use, path: str) -> object:
    who = use.attribution
    if path.startswith("label."):
        return who.labels.get(path.removeprefix("label."))
    values: Mapping[str, object] = {
        "tenant": who.tenant,
        "agent": who.agent,
        "user": who.user,
        "interaction": who.interaction,
        "session": who.session,
        "provider": use.provider,
        "model": use.model,
        "credential": use.credential,
        "operation": use.operation.value,
        "label": who.labels,
    }
    return values[path]
