"""Budgets and their alerts: protobuf <-> domain."""

from llm_service.domain.alert import Alert, AlertAction
from llm_service.domain.budget import Budget, BudgetPeriod, BudgetRule, BudgetStatus, BudgetUnit
from llm_service.gateway.admin.budgets import BudgetDraft, Counted
from llm_service.rpc.convert.checks import Checks
from llm_service.rpc.convert.provider import set_times, to_etag
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.stubs import budget_service_pb2 as pb

_UNITS = {f"limit_{unit.value}": unit for unit in BudgetUnit}
_PERIODS = {pb.Budget.Period.Value(f"PERIOD_{one.name}"): one for one in BudgetPeriod}
_ACTIONS = {pb.BudgetRule.Action.Value(f"ACTION_{one.name}"): one for one in AlertAction}


def to_budget_draft(message: pb.Budget) -> BudgetDraft:
    """What an operator writes of a budget.

    Raises:
        InvalidField: naming every bad field.
    """
    checks = Checks("budget.")
    field = message.WhichOneof("limit")
    if field is None:
        checks.refuse("limit", "must be set, and above 0")
    if message.period not in _PERIODS:
        checks.refuse("period", "must be set to a known period")
    for number, rule in enumerate(message.rules):
        if rule.action not in _ACTIONS:
            checks.refuse(f"rules[{number}].action", "must be set to a known action")
    checks.done()
    return BudgetDraft(
        display_name=message.display_name,
        filter=message.filter,
        unit=_UNITS[field or "limit_requests"],
        limit=getattr(message, field or "limit_requests"),
        period=_PERIODS[message.period],
        time_zone=message.time_zone or "UTC",
        rules=tuple(
            BudgetRule(rule.threshold_percent, _ACTIONS[rule.action], rule.downgrade_model)
            for rule in message.rules
        ),
        disabled=message.disabled,
    )


def from_budget_draft(draft: BudgetDraft) -> pb.Budget:
    message = pb.Budget(
        display_name=draft.display_name,
        filter=draft.filter,
        period=_period(draft.period),
        time_zone=draft.time_zone,
        rules=map(_from_rule, draft.rules),
        disabled=draft.disabled,
    )
    setattr(message, f"limit_{draft.unit.value}", draft.limit)
    return message


def from_budget(budget: Budget) -> pb.Budget:
    """Without its status."""
    message = from_budget_draft(BudgetDraft.of(budget))
    message.name = budget.name
    message.etag = to_etag(budget.version)
    set_times(message, budget, "create_time", "update_time")
    return message


def from_counted(counted: Counted) -> pb.Budget:
    budget, status = counted
    message = from_budget(budget)
    message.status.CopyFrom(_from_status(status))
    return message


def from_alert(alert: Alert) -> pb.BudgetAlert:
    return pb.BudgetAlert(
        name=f"{alert.subject}/alerts/{alert.alert_id}",
        threshold_percent=alert.threshold_percent,
        action=_action(alert.action),
        spent=alert.observed,
        create_time=to_timestamp(alert.create_time),
        period_start_time=to_timestamp(alert.window_start_time),
    )


def _from_status(status: BudgetStatus) -> pb.BudgetStatus:
    message = pb.BudgetStatus(
        period_start_time=to_timestamp(status.start_time),
        spent=status.spent,
        reserved=status.reserved,
        blocking=status.blocking,
    )
    if status.end_time is not None:
        message.period_end_time.CopyFrom(to_timestamp(status.end_time))
    return message


def _from_rule(rule: BudgetRule) -> pb.BudgetRule:
    return pb.BudgetRule(
        threshold_percent=rule.threshold_percent,
        action=_action(rule.action),
        downgrade_model=rule.downgrade_model,
    )


def _period(period: BudgetPeriod) -> pb.Budget.Period.ValueType:
    return pb.Budget.Period.Value(f"PERIOD_{period.name}")


def _action(action: AlertAction) -> pb.BudgetRule.Action.ValueType:
    return pb.BudgetRule.Action.Value(f"ACTION_{action.name}")
