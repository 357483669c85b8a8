"""S3.23: alerts get to their receivers, signed, at least once, and to no forbidden address."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service.domain.alert import AlertKind
from llm_service.domain.listing import Listing
from llm_service.domain.webhook import DeliveryAttempt, DeliveryProblem, DeliveryState
from llm_service.errors import EgressDenied, InvalidField
from llm_service.gateway.admin.rewrap import Rewrap
from llm_service.gateway.alerts.delivery import LEASE
from llm_service.gateway.alerts.webhooks import WebhookDraft
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.storage.deliveries import TRIED
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.contract.vendor_server import vendor_server
from tests.integration.alerting import Clock, accepts, an_alert, replica, stored
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


@pytest.mark.parametrize(
    "target",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.7/hook",
        "https://[::1]/hook",
        "https://[::ffff:127.0.0.1]/hook",
        "https://hooks.example.com:8443/hook",
    ],
)
async def test_e5_a_webhook_of_an_address_that_may_not_be_dialled_is_refused(any_database, target):
    here = replica(any_database, a_vault(), Egress())

    with pytest.raises(EgressDenied):
        await here.pager(target)


@pytest.mark.parametrize(
    "target", ["", "http://hooks.example.com", "ftp://a/b", "https://u:p@a/b", "https://a/?k=v"]
)
async def test_a_target_that_is_no_plain_address_is_refused(any_database, target):
    here = replica(any_database, a_vault(), Egress())

    with pytest.raises(InvalidField) as refused:
        await here.pager(target)

    assert [one.field for one in refused.value.violations] == ["webhook.target_uri"]


async def test_e5_a_name_that_turns_private_after_it_was_stored_is_not_dialled(any_database):
    async def resolve(_host, _port):
        return ["10.0.0.7"]

    egress = Egress(resolve=resolve)
    here = replica(any_database, a_vault(), egress)
    await here.pager("https://hooks.example.com/hook")
    await stored(any_database, an_alert())
    here.clock.pass_(seconds=5)

    await here.deliverer.round()

    [delivery] = await deliveries(here)
    assert delivery.problem is DeliveryProblem.EGRESS_DENIED
    assert delivery.state is DeliveryState.PENDING


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


async def test_a_rotated_secret_signs_from_the_next_attempt_on(here, database, receiver):
    old = await here.pager(receiver.base_uri)
    await stored(database, an_alert())
    here.clock.pass_(seconds=5)
    _, new = await here.webhooks.rotate("acme", "pager")
    receiver.say()

    await here.deliverer.round()

    [asked] = receiver.asked
    assert accepts(new, asked, here.clock.now)
    assert not accepts(old, asked, here.clock.now)


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


async def test_a_rotation_of_ring_keys_takes_webhook_secrets_along(database, egress, receiver):
    first = f"k1 fernet-v1 {generate_key(Scheme.FERNET_V1)}"
    second = f"k2 fernet-v1 {generate_key(Scheme.FERNET_V1)} primary"
    deployment = await database.deployment_id()
    ring = Keyring.from_text(f"{first}\n{second}\n")
    clock = Clock()
    before = replica(database, Vault(Keyring.from_text(first), deployment), egress, clock)
    secret = await before.pager(receiver.base_uri)
    async with database.begin() as tx:
        await tx.keys.register(ring.checks(deployment), clock.now)
        assert await tx.sealed.references() == {"k1": 1}

    done, left = await Rewrap(database, Vault(ring, deployment)).upto(10)

    async with database.read() as tx:
        assert await tx.sealed.references() == {"k2": 1}
    only = Vault(Keyring.from_text(second), deployment)
    after = replica(database, only, egress, clock)
    await stored(database, an_alert())
    clock.pass_(seconds=5)
    receiver.say()
    await after.deliverer.round()
    assert (done.rewrapped, left) == (1, 0)
    assert accepts(secret, receiver.asked[0], clock.now)


async def test_a_secret_whose_key_is_gone_is_waited_for(here, database, receiver, egress):
    secret = await here.pager(receiver.base_uri)
    await stored(database, an_alert())
    here.clock.pass_(seconds=5)
    await replica(database, a_vault(), egress, here.clock).deliverer.round()
    [waiting] = await deliveries(here)

    here.clock.pass_(**LATER)
    receiver.say()
    await here.deliverer.round()

    assert waiting.problem is DeliveryProblem.SECRET_UNREADABLE
    assert accepts(secret, receiver.asked[0], here.clock.now)


async def test_a_secret_is_shown_nowhere(any_database):
    here = replica(any_database, a_vault(), Egress())
    webhook, secret = await here.webhooks.create("acme", "pager", WebhookDraft("https://a.example"))

    assert secret not in repr(webhook)
    assert webhook.sealed
    assert webhook.sealed not in repr(webhook)
