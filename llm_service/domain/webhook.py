"""Receivers of alerts, and how each alert gets there."""

from dataclasses import field
from datetime import datetime
from enum import StrEnum

from llm_service.domain.alert import Alert, AlertKind
from llm_service.domain.value import value


@value
class Webhook:
    """Where alerts are sent. `tenant` "" hears of everybody's, any other of that tenant's.

    `target_uri` is absolute, without a query. `alert_kinds` holds those it wants; empty: all.
    `sealed` is the signing secret as `Vault.seal` gave it. `unreadable` names the fields whose
    stored value cannot be read; they have their defaults.
    """

    tenant: str
    webhook_id: str
    uid: str
    target_uri: str
    create_time: datetime
    update_time: datetime
    display_name: str = ""
    alert_kinds: tuple[AlertKind, ...] = ()
    disabled: bool = False
    secret_version: int = 1
    sealed: str = field(default="", repr=False)
    version: int = 1
    unreadable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Like "webhooks/{webhook}", or "tenants/{tenant}/webhooks/{webhook}"."""
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}webhooks/{self.webhook_id}"


class DeliveryState(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class DeliveryProblem(StrEnum):
    """Why an attempt to deliver failed."""

    NOT_ACCEPTED = "not_accepted"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    EGRESS_DENIED = "egress_denied"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - a word


@value
class WebhookDelivery:
    """One alert on its way to one webhook.

    `delivery_id` is the "webhook-id" header, a UUIDv7 text. `next_attempt_time` None: it is
    settled. `http_status` and `problem` are the last attempt's; 0 and None: no answer, none.
    """

    delivery_id: str
    webhook_uid: str
    alert: str
    """Name of the alert."""
    state: DeliveryState
    attempt_count: int
    create_time: datetime
    next_attempt_time: datetime | None = None
    last_attempt_time: datetime | None = None
    http_status: int = 0
    problem: DeliveryProblem | None = None
    settle_time: datetime | None = None


@value
class DueDelivery:
    """What is to be sent now, by whoever claims it: `attempt_count` is what others have tried."""

    delivery_id: str
    attempt_count: int
    webhook: Webhook
    alert: Alert


@value
class DeliveryAttempt:
    """How an attempt ended. `problem` None: it was delivered."""

    http_status: int = 0
    problem: DeliveryProblem | None = None
