"""WebhookService and AlertService as callers see them."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from llm_service.domain.access import Principal, Role
from llm_service.gateway.alerts import webhooks
from llm_service.gateway.ids import first_id
from llm_service.rpc.stubs import alert_service_pb2 as alert_pb
from llm_service.rpc.stubs import webhook_service_pb2 as pb
from tests.integration.alerting import an_alert, stored
from tests.rpc.administered import administered, as_text, refusal

ID = "0199d2a8-7d2e-7c0a-8f4e-0000000000ab"
SECRET = "whsec_" + "Y2FuYXJ5" * 4
NAME = "tenants/acme/webhooks/pager"
URI = "https://hooks.example.com/alerts"


def a_webhook(**fields):
    webhook = pb.Webhook(target_uri=URI, alert_kinds=[alert_pb.ALERT_KIND_ERROR_RATE])
    request = pb.CreateWebhookRequest(
        parent="tenants/acme", webhook_id="pager", webhook=webhook, secret=SECRET
    )
    request.MergeFrom(pb.CreateWebhookRequest(**fields))
    return request


async def planted(service, *numbers, tenant="acme", ago=timedelta(hours=1)):
    now = datetime.now(UTC) - ago
    times = [now + timedelta(seconds=number) for number in numbers]
    alerts = [
        an_alert(number, tenant, alert_id=first_id(at), create_time=at)
        for number, at in zip(numbers, times, strict=True)
    ]
    assert all(await stored(service.database, *alerts))
    return alerts


async def test_a_webhook_is_read_back_without_its_secret(service):
    made = await service.webhooks.CreateWebhook(a_webhook())
    got = await service.webhooks.GetWebhook(pb.GetWebhookRequest(name=NAME))
    listed = await service.webhooks.ListWebhooks(
        pb.ListWebhooksRequest(parent="tenants/-", filter=f'target_uri = "{URI}"')
    )

    assert made.secret == SECRET
    assert got.webhook == made.webhook == listed.webhooks[0]
    assert (got.webhook.name, got.webhook.target_uri) == (NAME, URI)
    assert list(got.webhook.alert_kinds) == [alert_pb.ALERT_KIND_ERROR_RATE]
    assert SECRET not in as_text(got) + as_text(listed)


async def test_a_secret_is_made_where_none_is_given_and_at_each_rotation(service):
    request = a_webhook()
    request.ClearField("secret")
    made = await service.webhooks.CreateWebhook(request)

    rotated = await service.webhooks.RotateWebhookSecret(pb.RotateWebhookSecretRequest(name=NAME))

    assert made.secret.startswith("whsec_")
    assert rotated.secret.startswith("whsec_")
    assert rotated.secret != made.secret
    assert rotated.webhook.etag != made.webhook.etag


async def test_a_repeated_creation_has_the_same_answer_less_the_secret(service):
    made = await service.webhooks.CreateWebhook(a_webhook(request_id=ID))
    again = await service.webhooks.CreateWebhook(a_webhook(request_id=ID))
    other = await refusal(service.webhooks.CreateWebhook(a_webhook(request_id=ID, webhook_id="b")))

    assert again.webhook == made.webhook
    assert again.secret == ""
    assert other.reason == "REQUEST_ID_REUSED"


async def test_a_tenant_has_no_more_webhooks_than_it_may(service, monkeypatch):
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 2)
    for name in ("a", "b"):
        await service.webhooks.CreateWebhook(a_webhook(webhook_id=name, request_id=""))

    refused = await refusal(service.webhooks.CreateWebhook(a_webhook(webhook_id="c")))
    others = await service.webhooks.CreateWebhook(a_webhook(parent="tenants/umbra"))
    listed = await service.webhooks.ListWebhooks(pb.ListWebhooksRequest(parent="tenants/acme"))

    assert (refused.code, refused.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
    )
    assert "may have 2 webhooks" in refused.text
    assert others.webhook.name == "tenants/umbra/webhooks/pager"
    assert len(listed.webhooks) == 2


async def test_every_bad_field_is_named(service):
    request = pb.CreateWebhookRequest(
        parent="acme",
        webhook_id="Pager",
        webhook=pb.Webhook(alert_kinds=[99]),
        request_id="once",
    )

    refused = await refusal(service.webhooks.CreateWebhook(request))
    own = await refusal(
        service.webhooks.CreateWebhook(
            a_webhook(secret="canary", webhook=pb.Webhook(target_uri="https://a/?k=v"))
        )
    )

    assert sorted(refused.fields) == [
        "parent",
        "request_id",
        "webhook.alert_kinds[0]",
        "webhook_id",
    ]
    assert sorted(own.fields) == ["secret", "webhook.target_uri"]
    assert "canary" not in own.text


async def test_a_forbidden_address_is_refused(service):
    wanted = a_webhook(webhook=pb.Webhook(target_uri="https://169.254.169.254/latest"))

    refused = await refusal(service.webhooks.CreateWebhook(wanted))

    assert refused.reason == "EGRESS_DENIED"


async def test_an_update_changes_what_the_mask_names(service):
    made = await service.webhooks.CreateWebhook(a_webhook())
    change = pb.Webhook(name=NAME, display_name="Pager", disabled=True, etag=made.webhook.etag)

    changed = await service.webhooks.UpdateWebhook(pb.UpdateWebhookRequest(webhook=change))
    stale = await refusal(service.webhooks.UpdateWebhook(pb.UpdateWebhookRequest(webhook=change)))

    assert (changed.webhook.display_name, changed.webhook.disabled) == ("Pager", True)
    assert changed.webhook.target_uri == URI
    assert stale.reason == "ETAG_MISMATCH"


async def test_a_webhook_that_is_gone_may_be_missing(service):
    await service.webhooks.CreateWebhook(a_webhook())
    await service.webhooks.DeleteWebhook(pb.DeleteWebhookRequest(name=NAME))

    refused = await refusal(service.webhooks.DeleteWebhook(pb.DeleteWebhookRequest(name=NAME)))
    await service.webhooks.DeleteWebhook(pb.DeleteWebhookRequest(name=NAME, allow_missing=True))

    assert refused.reason == "RESOURCE_NOT_FOUND"


async def test_deliveries_are_listed_and_made_once_more_by_name(service):
    request = a_webhook()
    request.webhook.ClearField("alert_kinds")
    await service.webhooks.CreateWebhook(request)
    [alert] = await planted(service, 1)
    asked = pb.ListWebhookDeliveriesRequest(parent=NAME, filter='state = "STATE_PENDING"')
    [delivery] = (await service.webhooks.ListWebhookDeliveries(asked)).webhook_deliveries

    again = pb.RedeliverWebhookDeliveriesRequest(parent=NAME, names=[delivery.name])
    count = (await service.webhooks.RedeliverWebhookDeliveries(again)).delivery_count
    other = f"{NAME}/deliveries/{ID}"
    missing = await refusal(
        service.webhooks.RedeliverWebhookDeliveries(
            pb.RedeliverWebhookDeliveriesRequest(parent=NAME, names=[delivery.name, other])
        )
    )
    foreign = await refusal(
        service.webhooks.RedeliverWebhookDeliveries(
            pb.RedeliverWebhookDeliveriesRequest(
                parent=NAME, names=[f"tenants/rival/webhooks/pager/deliveries/{ID}"]
            )
        )
    )

    assert delivery.alert == alert.name
    assert delivery.state == pb.WebhookDelivery.STATE_PENDING
    assert (count, missing.reason, foreign.fields) == (1, "RESOURCE_NOT_FOUND", ("names[0]",))


async def test_alerts_are_listed_by_tenant_and_filter(service):
    mine = await planted(service, 1, 2)
    await planted(service, 3, tenant="rival")

    async def listed(**asked):
        answer = await service.alerts.ListAlerts(alert_pb.ListAlertsRequest(**asked))
        return [one.name for one in answer.alerts]

    names = [one.name for one in mine]
    assert await listed(parent="tenants/acme") == names
    assert await listed(parent="tenants/acme", order_by="create_time desc") == names[::-1]
    assert await listed(parent="tenants/-", filter=f'subject = "{mine[1].subject}"') == names[1:]
    assert await listed(parent="tenants/-", filter='kind = "ALERT_KIND_ERROR_RATE"') == []
    assert len(await listed(parent="tenants/-")) == 3
    assert await listed() == []


async def test_an_alert_says_all_there_is(service):
    [alert] = await planted(service, 1)

    [shown] = (
        await service.alerts.ListAlerts(alert_pb.ListAlertsRequest(parent="tenants/acme"))
    ).alerts

    assert shown.kind == alert_pb.ALERT_KIND_BUDGET_THRESHOLD
    assert shown.action == alert_pb.Alert.ACTION_DOWNGRADE
    assert shown.unit == alert_pb.Alert.UNIT_NANO_USD
    assert (shown.observed, shown.limit, shown.threshold_percent) == (2**40, 2**41, 80)
    assert shown.subject == alert.subject


async def test_a_watch_goes_on_where_it_was_with_its_token(service):
    await planted(service, 1, 2)
    asked = alert_pb.WatchAlertsRequest(parent="tenants/acme")
    first = await service.alerts.WatchAlerts(asked).read()
    [new] = await planted(service, 3)
    asked.resume_token = first.resume_token

    second = await service.alerts.WatchAlerts(asked).read()
    asked.subject = "providers/p"
    with pytest.raises(grpc.aio.AioRpcError) as borrowed:
        await service.alerts.WatchAlerts(asked).read()

    assert len(first.alerts) == 2
    assert [one.name for one in second.alerts] == [new.name]
    assert borrowed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_without_an_end_gives_what_comes_while_it_lasts(service):
    async with asyncio.timeout(20):
        watch = service.alerts.WatchAlerts(alert_pb.WatchAlertsRequest(parent="tenants/acme"))
        waiting = asyncio.ensure_future(watch.read())
        await service.alerts.ListAlerts(alert_pb.ListAlertsRequest())
        [alert] = await planted(service, 1)
        found = await waiting
        watch.cancel()

    assert [one.name for one in found.alerts] == [alert.name]


async def test_a_watch_holds_back_what_is_younger_than_a_transaction_may_last(service):
    await planted(service, 1)
    await planted(service, 2, ago=timedelta(seconds=0))
    end = alert_pb.WatchAlertsRequest(parent="tenants/acme")
    end.end_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=30))

    batches = [batch async for batch in service.alerts.WatchAlerts(end)]

    assert [len(batch.alerts) for batch in batches] == [1]


async def test_a_watch_is_of_the_kinds_and_the_subject_it_names(service):
    first, second = await planted(service, 1, 2)

    async def watched(**asked):
        request = alert_pb.WatchAlertsRequest(parent="tenants/-", **asked)
        request.end_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=30))
        found = service.alerts.WatchAlerts(request)
        return [one.name async for batch in found for one in batch.alerts]

    assert await watched(subject=second.subject) == [second.name]
    assert await watched(kinds=[alert_pb.ALERT_KIND_UNPRICED]) == []
    assert await watched(kinds=[alert_pb.ALERT_KIND_BUDGET_THRESHOLD]) == [first.name, second.name]


async def test_a_tenants_caller_hears_of_no_other(database_url):
    async def of_acme(called, context, metadata):
        return Principal("clientKeys/a", "acme", frozenset(Role))

    async with administered(database_url, authenticate=of_acme) as service:
        [mine] = await planted(service, 1)
        await planted(service, 2, tenant="rival")
        await planted(service, 3, tenant="")
        request = alert_pb.WatchAlertsRequest(parent="tenants/-")
        request.end_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=30))
        seen = [
            one.name async for batch in service.alerts.WatchAlerts(request) for one in batch.alerts
        ]
        listed = await service.alerts.ListAlerts(alert_pb.ListAlertsRequest(parent="tenants/-"))
        refused = await refusal(
            service.alerts.ListAlerts(alert_pb.ListAlertsRequest(parent="tenants/rival"))
        )
        shared = await refusal(
            service.webhooks.GetWebhook(pb.GetWebhookRequest(name="webhooks/pager"))
        )

    assert seen == [one.name for one in listed.alerts] == [mine.name]
    assert refused.reason == "PERMISSION_DENIED"
    assert shared.reason == "RESOURCE_NOT_FOUND"
