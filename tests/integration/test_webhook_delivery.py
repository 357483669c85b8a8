"""S3.23: alerts get to their receivers, signed, at least once, and to no forbidden address."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service.domain.alert import AlertKind
from llm_service.domain.listing import Listing
from llm_service.domain.webhook import DeliveryAttempt, DeliveryProblem, DeliveryState
from llm_service.errors import StorageUnavailable
from llm_service.gateway.alerts.delivery import LEASE
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.storage.deliveries import TRIED, Deliveries
from tests.contract.vendor_server import vendor_server
from tests.integration.alerting import accepts, an_alert, replica, stored
from tests.unit.key_store import a_vault

LATER = {"minutes": 90}


@pytest.fixture
async def egress():
    one = Egress(["127.0.0.1"])
    yield one
    await one.aclose()


@pytest.fixture
def vault():
    return a_vault()


@pytest.fixture
def here(database, egress, vault):
    return replica(database, vault, egress)


@pytest.fixture
async def receiver():
    async with vendor_server() as one:
        yield one


async def deliveries(here, tenant="acme"):
    return (await here.webhooks.deliveries(tenant, "pager", Listing(100))).items


async def test_an_alert_is_delivered_once_with_a_signature_that_its_receiver_accepts(
    here, database, receiver
):
    secret = await here.pager(receiver.base_uri)
    receiver.say(status=204)
    await stored(database, an_alert())
    here.clock.pass_(seconds=2)

    assert [await here.deliverer.round(), await here.deliverer.round()] == [1, 0]

    [asked] = receiver.asked
    [delivery] = await deliveries(here)
    assert (asked.method, asked.path) == ("POST", "/v1")
    assert accepts(secret, asked, here.clock.now)
    assert not accepts(secret.replace("whsec_", "whsec_AAAA"), asked, here.clock.now)
    assert asked.headers["webhook-id"] == delivery.delivery_id
    assert delivery.state is DeliveryState.DELIVERED
    assert (delivery.http_status, delivery.attempt_count) == (204, 1)


async def test_what_is_delivered_says_what_happened_and_nothing_else(here, database, receiver):
    await here.pager(receiver.base_uri)
    receiver.say()
    alert = an_alert()
    await stored(database, alert)
    here.clock.pass_(seconds=2)
    await here.deliverer.round()

    [asked] = receiver.asked
    assert asked.json == {
        "type": "alert.budget_threshold",
        "timestamp": "2026-11-20T12:30:16.123456Z",
        "data": {
            "name": alert.name,
            "kind": "budget_threshold",
            "subject": "tenants/acme/budgets/1",
            "window_start_time": "2026-11-20T12:30:15.123456Z",
            "threshold_percent": 80,
            "action": "downgrade",
            "observed": 2**40,
            "limit": 2**41,
            "unit": "nano_usd",
            "create_time": "2026-11-20T12:30:16.123456Z",
        },
    }


async def test_a_receiver_that_was_down_gets_each_alert_when_it_is_up_again(
    here, database, receiver
):
    secret = await here.pager(receiver.base_uri)
    await stored(database, *map(an_alert, range(1, 4)))
    receiver.say(status=503)
    receiver.say(status=429)
    receiver.say(status=302, location="http://127.0.0.1/elsewhere")
    here.clock.pass_(seconds=5)
    for _ in range(3):
        await here.deliverer.round()
    waiting = [one.problem for one in await deliveries(here)]

    for _ in range(3):
        receiver.say()
    here.clock.pass_(**LATER)
    while await here.deliverer.round():
        pass

    done = await deliveries(here)
    assert waiting == [DeliveryProblem.NOT_ACCEPTED] * 3
    assert {one.state for one in done} == {DeliveryState.DELIVERED}
    assert all(accepts(secret, asked, here.clock.now) for asked in receiver.asked[-3:])
    delivered = {one.headers["webhook-id"] for one in receiver.asked[-3:]}
    assert delivered == {one.delivery_id for one in done}


async def test_a_failed_delivery_waits_longer_each_time(here, database, receiver):
    await here.pager(receiver.base_uri)
    await stored(database, an_alert())
    waits = []
    for _ in range(12):
        receiver.say(status=500)
        here.clock.now = max(here.clock.now, an_alert().create_time)
        assert await here.deliverer.round() == 1
        assert await here.deliverer.round() == 0
        [delivery] = await deliveries(here)
        waits.append((delivery.next_attempt_time - here.clock.now).total_seconds())
        here.clock.now = delivery.next_attempt_time

    for number, wait in enumerate(waits):
        longest = min(3600, 5 * 2**number)
        assert longest / 2 <= wait <= longest


async def test_after_three_days_a_delivery_is_given_up_and_can_be_made_once_more(
    here, database, receiver
):
    await here.pager(receiver.base_uri)
    await stored(database, an_alert())
    receiver.say(status=500)
    here.clock.pass_(seconds=5)
    await here.deliverer.round()
    here.clock.pass_(seconds=TRIED.total_seconds())
    assert await here.deliverer.round() == 0
    [given_up] = await deliveries(here)

    counts = [await here.webhooks.redeliver("acme", "pager") for _ in range(2)]
    receiver.say()
    await here.deliverer.round()

    [delivered] = await deliveries(here)
    assert given_up.state is DeliveryState.GIVEN_UP
    assert given_up.next_attempt_time is None
    assert (given_up.problem, given_up.http_status) == (DeliveryProblem.NOT_ACCEPTED, 500)
    assert counts == [1, 0]
    assert delivered.state is DeliveryState.DELIVERED
    assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 1


async def test_of_several_replicas_one_makes_each_attempt(
    here, database, database_url, egress, vault, receiver
):
    await here.pager(receiver.base_uri)
    await stored(database, *map(an_alert, range(1, 6)))
    here.clock.pass_(seconds=10)
    for _ in range(5):
        receiver.say()

    async def others():
        async with Database.open(database_url) as one:
            other = replica(one, vault, egress, here.clock)
            while await other.deliverer.round():
                pass

    await asyncio.gather(*(others() for _ in range(3)))

    assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 5
    assert len(receiver.asked) == 5


async def test_a_replica_that_died_with_an_attempt_is_followed_by_another(here, database, receiver):
    await here.pager(receiver.base_uri)
    await stored(database, an_alert())
    here.clock.pass_(seconds=5)
    async with database.begin() as tx:  # it claims, and is no more
        [due] = await tx.deliveries.due(here.clock.now, 5)
        assert await tx.deliveries.claim(due, here.clock.now, LEASE)
    assert await here.deliverer.round() == 0

    receiver.say()
    here.clock.pass_(seconds=LEASE.total_seconds())
    assert await here.deliverer.round() == 1

    async with database.begin() as tx:  # it was only asleep, and comes too late
        attempt, now = DeliveryAttempt(500, DeliveryProblem.NOT_ACCEPTED), here.clock.now
        assert not await tx.deliveries.settle(due, attempt, now, now + LEASE)
    [delivery] = await deliveries(here)
    assert (delivery.state, delivery.attempt_count) == (DeliveryState.DELIVERED, 2)


async def test_each_webhook_hears_of_its_own_tenant_and_of_the_kinds_it_wants(
    here, database, receiver
):
    await here.pager(receiver.base_uri)
    await here.pager(receiver.base_uri, "rival")
    await here.pager(receiver.base_uri, "", alert_kinds=(AlertKind.ERROR_RATE,))
    slow = {"kind": AlertKind.ERROR_RATE, "subject": "providers/p"}
    await stored(database, an_alert(1), an_alert(2, **slow), an_alert(3, "", **slow))
    async with database.begin() as tx:
        found = {
            tenant: {
                one.alert
                for one in (
                    await tx.deliveries.list(
                        (await tx.webhooks.get(tenant, "pager")).uid, Listing(9)
                    )
                ).items
            }
            for tenant in ("acme", "rival", "")
        }

    assert found == {
        "acme": {an_alert(1).name, an_alert(2).name},
        "rival": set(),
        "": {an_alert(2).name, an_alert(3, "").name},
    }


async def test_a_dead_receiver_holds_up_no_other(here, database, receiver, egress):
    await here.pager("http://127.0.0.1:1/closed", "acme")
    await here.pager(receiver.base_uri, "rival")
    receiver.say()
    await stored(database, *map(an_alert, range(1, 9)), an_alert(9, "rival"))
    here.clock.pass_(seconds=30)

    assert await here.deliverer.round() == 2

    [delivered] = await deliveries(here, "rival")
    assert delivered.state is DeliveryState.DELIVERED
    assert [one.problem for one in await deliveries(here)].count(DeliveryProblem.UNREACHABLE) == 1


async def test_a_disabled_webhook_is_sent_nothing_until_it_is_enabled(here, database, receiver):
    await here.pager(receiver.base_uri)
    await stored(database, an_alert(1))
    await here.webhooks.update("acme", "pager", lambda draft: replace(draft, disabled=True))
    await stored(database, an_alert(2))
    here.clock.pass_(seconds=5)
    assert await here.deliverer.round() == 0

    await here.webhooks.update("acme", "pager", lambda draft: replace(draft, disabled=False))
    receiver.say()
    while await here.deliverer.round():
        pass

    assert [one.alert for one in await deliveries(here)] == [an_alert(1).name]


async def test_deleting_a_webhook_ends_what_was_to_be_delivered(here, database, receiver):
    await here.pager(receiver.base_uri)
    await stored(database, an_alert())
    here.clock.pass_(seconds=5)

    await here.webhooks.delete("acme", "pager")

    assert await here.deliverer.round() == 0
    assert await stored(database, an_alert(2)) == [True]


async def test_settled_deliveries_are_kept_for_thirty_days(here, database, receiver):
    await here.pager(receiver.base_uri)
    await stored(database, an_alert())
    receiver.say()
    here.clock.pass_(seconds=5)
    await here.deliverer.round()

    async with database.begin() as tx:
        kept = await tx.deliveries.forget(here.clock.now + timedelta(days=29))
        dropped = await tx.deliveries.forget(here.clock.now + timedelta(days=30))

    assert (kept, dropped) == (0, 1)


@pytest.mark.parametrize("failure", [StorageUnavailable("down"), RuntimeError("a bug")])
async def test_a_delivery_that_breaks_off_takes_no_other_with_it(
    here, database, receiver, monkeypatch, failure
):
    for tenant in ("acme", "umbra"):
        await here.pager(receiver.base_uri, tenant)
        receiver.say()
    await stored(database, an_alert(1), an_alert(2, "umbra"))
    here.clock.pass_(seconds=5)
    claim = Deliveries.claim

    async def claim_or_fail(self, due, now, lease):
        if due.webhook.tenant == "acme":
            raise failure
        return await claim(self, due, now, lease)

    monkeypatch.setattr(Deliveries, "claim", claim_or_fail)

    assert await here.deliverer.round() == 1

    [waiting], [delivered] = await deliveries(here), await deliveries(here, "umbra")
    assert waiting.state is DeliveryState.PENDING
    assert delivered.state is DeliveryState.DELIVERED
