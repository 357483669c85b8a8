"""What webhooks may reach, and who may know of them and of their secrets."""

import pytest

from llm_service.domain.access import CALLER, Caller, Principal, Role, as_service
from llm_service.domain.listing import Listing
from llm_service.domain.webhook import DeliveryProblem, DeliveryState
from llm_service.errors import EgressDenied, InvalidField, ResourceNotFound
from llm_service.gateway.admin.rewrap import Rewrap
from llm_service.gateway.alerts.webhooks import WebhookDraft
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
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


async def test_row_level_security_keeps_webhooks_apart(confined_url, egress, vault, receiver):
    async with Database.open(confined_url) as database:
        here = replica(database, vault, egress)
        await here.pager(receiver.base_uri, "")
        token = CALLER.set(Caller(Principal("clientKeys/a", "acme", frozenset(Role))))
        try:
            await here.pager(receiver.base_uri)
            seen = (await here.webhooks.list(None, Listing(5))).items
            with as_service():
                await stored(database, an_alert())
            heard = await deliveries(here)
            with pytest.raises(ResourceNotFound):
                await here.webhooks.get("", "pager")
        finally:
            CALLER.reset(token)
        receiver.say()
        receiver.say()
        here.clock.pass_(seconds=5)
        assert await here.deliverer.round() == 2

    assert [one.name for one in seen] == ["tenants/acme/webhooks/pager"]
    assert [one.alert for one in heard] == [an_alert().name]


async def test_a_secret_is_shown_nowhere(any_database):
    here = replica(any_database, a_vault(), Egress())
    webhook, secret = await here.webhooks.create("acme", "pager", WebhookDraft("https://a.example"))

    assert secret not in repr(webhook)
    assert webhook.sealed
    assert webhook.sealed not in repr(webhook)
