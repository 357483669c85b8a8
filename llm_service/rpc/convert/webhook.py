"""Webhooks: protobuf <-> domain. A secret is put into two answers only, by their servicer."""

from llm_service.domain.webhook import Webhook, WebhookDelivery
from llm_service.gateway.alerts.webhooks import WebhookDraft
from llm_service.rpc.convert.alert import from_kinds, to_kinds
from llm_service.rpc.convert.provider import set_times, to_etag
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.stubs import webhook_service_pb2 as pb


def to_draft(message: pb.Webhook) -> WebhookDraft:
    """What a caller chose.

    Raises:
        InvalidField: names each kind that is unknown or there twice.
    """
    return WebhookDraft(
        target_uri=message.target_uri,
        display_name=message.display_name,
        alert_kinds=to_kinds(message.alert_kinds, "webhook.alert_kinds"),
        disabled=message.disabled,
    )


def from_draft(draft: WebhookDraft) -> pb.Webhook:
    return pb.Webhook(
        target_uri=draft.target_uri,
        display_name=draft.display_name,
        alert_kinds=from_kinds(draft.alert_kinds),
        disabled=draft.disabled,
    )


def from_webhook(webhook: Webhook) -> pb.Webhook:
    message = from_draft(WebhookDraft.of(webhook))
    message.name = webhook.name
    message.create_time.CopyFrom(to_timestamp(webhook.create_time))
    message.update_time.CopyFrom(to_timestamp(webhook.update_time))
    message.etag = to_etag(webhook.version)
    return message


def from_delivery(delivery: WebhookDelivery, webhook: str) -> pb.WebhookDelivery:
    """`webhook` is the name of the delivery's webhook."""
    message = pb.WebhookDelivery(
        name=f"{webhook}/deliveries/{delivery.delivery_id}",
        alert=delivery.alert,
        state=pb.WebhookDelivery.State.Value(f"STATE_{delivery.state.name}"),
        attempt_count=delivery.attempt_count,
        http_status=delivery.http_status,
    )
    if delivery.problem is not None:
        message.problem = pb.WebhookDelivery.Problem.Value(f"PROBLEM_{delivery.problem.name}")
    times = ("create_time", "next_attempt_time", "last_attempt_time", "settle_time")
    set_times(message, delivery, *times)
    return message
