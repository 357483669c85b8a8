"""S3.23: a provider that fails is told of over the whole service, though its process is killed."""

import asyncio

import grpc
import pytest

from llm_service.rpc.stubs import alert_service_pb2 as alert_pb
from llm_service.rpc.stubs import alert_service_pb2_grpc as alert_stubs
from llm_service.rpc.stubs import webhook_service_pb2 as webhook_pb
from llm_service.rpc.stubs import webhook_service_pb2_grpc as webhook_stubs
from tests.contract.vendor_server import vendor_server
from tests.e2e.process import serving
from tests.e2e.service import asking
from tests.integration.alerting import accepts, wall_clock

DEAD = "providers/dead"


async def alerted(service) -> set[str]:
    """Names of alerts that a dead provider is unavailable, called until there are some."""
    stub = alert_stubs.AlertServiceStub(service.channel)
    asked = alert_pb.ListAlertsRequest(filter=f'subject = "{DEAD}"')
    async with asyncio.timeout(60):
        while True:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await service.completions.Complete(asking(f"{DEAD}/models/m"))
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
            if found := (await stub.ListAlerts(asked)).alerts:
                return {one.name for one in found}
            await asyncio.sleep(0.1)


async def at_once(webhooks) -> None:
    """Have what waits delivered now: after a failed attempt it would be some seconds later."""
    pager = webhook_pb.ListWebhookDeliveriesRequest(parent="webhooks/pager")
    waiting = (await webhooks.ListWebhookDeliveries(pager)).webhook_deliveries
    again = webhook_pb.RedeliverWebhookDeliveriesRequest(
        parent="webhooks/pager", names=[one.name for one in waiting]
    )
    await webhooks.RedeliverWebhookDeliveries(again)


def _named(asked) -> str:
    return asked.json["data"]["name"]


async def test_an_alert_survives_a_kill_before_its_delivery(tmp_path):
    settings = {
        "LLM_ALERT_UNAVAILABLE_ATTEMPTS": "3",
        "LLM_ALERT_WINDOW_SECONDS": "20",  # looked at each second
    }
    async with vendor_server() as receiver:
        async with serving(tmp_path, **settings) as before:
            webhooks = webhook_stubs.WebhookServiceStub(before.service.channel)
            made = await webhooks.CreateWebhook(
                webhook_pb.CreateWebhookRequest(
                    webhook_id="pager",
                    webhook=webhook_pb.Webhook(
                        target_uri="http://127.0.0.1:1/closed",
                        alert_kinds=[alert_pb.ALERT_KIND_PROVIDER_UNAVAILABLE],
                    ),
                )
            )
            await before.service.add_provider("dead", "http://127.0.0.1:1/v1")
            names = await alerted(before.service)
            before.process.kill()
            await before.process.wait()
        async with serving(tmp_path, **settings) as after:
            for _ in range(9):
                receiver.say()
            webhooks = webhook_stubs.WebhookServiceStub(after.service.channel)
            change = webhook_pb.Webhook(name="webhooks/pager", target_uri=receiver.base_uri)
            await webhooks.UpdateWebhook(webhook_pb.UpdateWebhookRequest(webhook=change))
            await at_once(webhooks)
            # Another one may come first: of the next window, if the attempts fell into both.
            async with asyncio.timeout(60):
                while not (heard := [one for one in receiver.asked if _named(one) in names]):
                    receiver.heard.clear()
                    await receiver.heard.wait()

    asked = heard[0]
    assert asked.json["type"] == "alert.provider_unavailable"
    assert accepts(made.secret, asked, wall_clock())
