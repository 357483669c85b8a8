"""WebhookService: where alerts are delivered."""

import re
from typing import Any

import grpc

from llm_service.errors import InvalidField, Violation
from llm_service.gateway.alerts.webhooks import WebhookDraft, Webhooks
from llm_service.rpc import field_mask, names, repeats
from llm_service.rpc.convert.provider import from_etag
from llm_service.rpc.convert.webhook import from_delivery, from_draft, from_webhook, to_draft
from llm_service.rpc.listing import Fields, FieldType, attempt, listing, next_token
from llm_service.rpc.stubs import webhook_service_pb2 as pb
from llm_service.rpc.stubs import webhook_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

MAX_NAMED = 100
_DELIVERY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

WEBHOOK_FIELDS: Fields = {
    "display_name": FieldType.TEXT,
    "target_uri": FieldType.TEXT,
    "disabled": FieldType.BOOLEAN,
    "create_time": FieldType.TIME,
    "update_time": FieldType.TIME,
}
DELIVERY_FIELDS: Fields = {
    "state": FieldType.TEXT,
    "problem": FieldType.TEXT,
    "attempt_count": FieldType.INTEGER,
    "http_status": FieldType.INTEGER,
    "create_time": FieldType.TIME,
}


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Serves `llmservice.v1.WebhookService`."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, context: Context
    ) -> pb.CreateWebhookResponse:
        wrong: list[Violation] = []
        attempt(wrong, lambda: repeats.check(request.request_id))
        tenant = attempt(wrong, lambda: names.parent_tenant(request.parent))
        webhook_id = attempt(wrong, lambda: names.new_id(request.webhook_id, "webhook_id"))
        draft = attempt(wrong, lambda: to_draft(request.webhook))
        if tenant is None or webhook_id is None or draft is None or wrong:
            raise InvalidField(*wrong)
        return await repeats.answer_once(
            request,
            tenant,
            pb.CreateWebhookResponse,
            create=lambda once: self._webhooks.create(
                tenant, webhook_id, draft, request.secret, once=once
            ),
            answer=lambda made: pb.CreateWebhookResponse(
                webhook=from_webhook(made[0]), secret=made[1]
            ),
            keep=lambda made: pb.CreateWebhookResponse(webhook=from_webhook(made[0])),
        )

    async def GetWebhook(
        self, request: pb.GetWebhookRequest, context: Context
    ) -> pb.GetWebhookResponse:
        webhook = await self._webhooks.get(*names.webhook(request.name))
        return pb.GetWebhookResponse(webhook=from_webhook(webhook))

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, context: Context
    ) -> pb.ListWebhooksResponse:
        scope = (request.parent,)
        found = await self._webhooks.list(
            names.parent_tenants(request.parent),
            listing(request, "ListWebhooks", WEBHOOK_FIELDS, scope),
        )
        return pb.ListWebhooksResponse(
            webhooks=map(from_webhook, found.items),
            next_page_token=next_token(request, "ListWebhooks", found, scope),
        )

    async def UpdateWebhook(
        self, request: pb.UpdateWebhookRequest, context: Context
    ) -> pb.UpdateWebhookResponse:
        name = names.webhook(request.webhook.name, "webhook.name")
        paths = field_mask.paths(request.update_mask, request.webhook)

        def change(draft: WebhookDraft) -> WebhookDraft:
            return to_draft(field_mask.merged(from_draft(draft), request.webhook, paths))

        webhook = await self._webhooks.update(
            *name, change, expected_version=from_etag(request.webhook.etag)
        )
        return pb.UpdateWebhookResponse(webhook=from_webhook(webhook))

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, context: Context
    ) -> pb.DeleteWebhookResponse:
        await self._webhooks.delete(
            *names.webhook(request.name),
            expected_version=from_etag(request.etag),
            allow_missing=request.allow_missing,
        )
        return pb.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        webhook, secret = await self._webhooks.rotate(
            *names.webhook(request.name), request.secret, expected_version=from_etag(request.etag)
        )
        return pb.RotateWebhookSecretResponse(webhook=from_webhook(webhook), secret=secret)

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        scope = (request.parent,)
        name = names.webhook(request.parent, "parent")
        found = await self._webhooks.deliveries(
            *name, listing(request, "ListWebhookDeliveries", DELIVERY_FIELDS, scope)
        )
        return pb.ListWebhookDeliveriesResponse(
            webhook_deliveries=[from_delivery(one, request.parent) for one in found.items],
            next_page_token=next_token(request, "ListWebhookDeliveries", found, scope),
        )

    async def RedeliverWebhookDeliveries(
        self, request: pb.RedeliverWebhookDeliveriesRequest, context: Context
    ) -> pb.RedeliverWebhookDeliveriesResponse:
        name = names.webhook(request.parent, "parent")
        count = await self._webhooks.redeliver(*name, _delivery_ids(request))
        return pb.RedeliverWebhookDeliveriesResponse(delivery_count=count)


def _delivery_ids(request: pb.RedeliverWebhookDeliveriesRequest) -> list[str]:
    """The ids of the deliveries that are named.

    Raises:
        InvalidField: names each that is none of this webhook's, or that there are too many.
    """
    if len(request.names) > MAX_NAMED:
        raise InvalidField(Violation("names", f"has more than {MAX_NAMED} entries"))
    prefix = f"{request.parent}/deliveries/"
    ids = [name.removeprefix(prefix) for name in request.names]
    wrong = [
        Violation(f"names[{index}]", 'must be "{parent}/deliveries/{delivery}"')
        for index, (name, found) in enumerate(zip(request.names, ids, strict=True))
        if name != prefix + found or not _DELIVERY_ID.fullmatch(found)
    ]
    if wrong:
        raise InvalidField(*wrong)
    return ids
