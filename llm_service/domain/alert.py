"""What an operator must hear of: once for each window and level, whichever replica saw it."""

from datetime import datetime
from enum import StrEnum

from llm_service.domain.value import value


class AlertKind(StrEnum):
    """What happened."""

    BUDGET_THRESHOLD = "budget_threshold"
    """A budget has reached a threshold."""
    COST_THRESHOLD = "cost_threshold"
    """The cost of a day has reached the deployment's own threshold."""
    ERROR_RATE = "error_rate"
    """Too large a part of a provider's attempts failed."""
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    """A provider served nothing of what it was sent."""
    SLOW_RESPONSES = "slow_responses"
    """A provider's first tokens came too late."""
    UNPRICED = "unpriced"
    """A model without a price, or without a whole one, was used."""


class AlertAction(StrEnum):
    """What is done about it, beside telling."""

    ALERT = "alert"
    DOWNGRADE = "downgrade"
    BLOCK = "block"


class AlertUnit(StrEnum):
    """What `observed` and `limit` count."""

    NANO_USD = "nano_usd"
    TOKENS = "tokens"
    REQUESTS = "requests"
    ATTEMPTS = "attempts"
    PERCENT = "percent"
    MILLISECONDS = "milliseconds"


@value
class Alert:
    """Immutable. There is one of a tenant, kind, subject, window and threshold.

    `alert_id` is a UUIDv7 text, made when the alert is. `tenant` is whose it is, "" the operator's.
    `subject` is the name of the resource it is about: a budget, a provider, a model.
    `window_start_time` is the start of what was measured; a lifetime's is its budget's own start.
    `threshold_percent` is of `limit`: 80 says that `observed` is at least 80 % of it.
    """

    alert_id: str
    tenant: str
    kind: AlertKind
    subject: str
    window_start_time: datetime
    threshold_percent: int
    observed: int
    limit: int
    unit: AlertUnit
    create_time: datetime
    action: AlertAction = AlertAction.ALERT

    @property
    def name(self) -> str:
        """Like "alerts/{alert}", or "tenants/{tenant}/alerts/{alert}"."""
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}alerts/{self.alert_id}"
