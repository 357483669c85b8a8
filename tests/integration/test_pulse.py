"""One look says whether there is anything to read, and serves all who wait for something."""

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest

from llm_service.domain.access import CALLER, Caller, Principal, Role
from llm_service.gateway.alerts import delivery
from llm_service.gateway.configuration import SHARED, Configuration
from llm_service.gateway.health.circuits import Circuits
from llm_service.gateway.health.sharing import CircuitSharing
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.storage.pulse import Pulse
from tests.contract.vendor_server import vendor_server
from tests.integration.alerting import an_alert, replica, stored
from tests.integration.hops import held, threads
from tests.integration.test_circuit_sharing import some_news
from tests.unit.key_store import a_vault

STILL = Pulse(0, circuits=False, deliveries=False)


@pytest.fixture
async def egress():
    one = Egress(["127.0.0.1"])
    yield one
    await one.aclose()


@pytest.fixture(params=["listening", "by itself"])
async def looking(request, database):
    """The database, looked at between notifications or not."""
    async with AsyncExitStack() as stack:
        if request.param == "listening":
            changes = await stack.enter_async_context(aclosing(database.changes(60)))
            await anext(changes)
        yield database


async def test_a_pulse_tells_of_changes_circuits_and_deliveries(looking, egress):
    seen = [await looking.pulse()]
    async with looking.begin() as tx:
        await tx.config.bump("acme")
    seen.append(await looking.pulse())
    async with looking.begin() as tx:
        await tx.circuits.tell([some_news()])
    seen.append(await looking.pulse())
    await replica(looking, a_vault(), egress).pager("http://127.0.0.1:1")
    generation = (await looking.pulse()).generation
    await stored(looking, an_alert())
    seen.append(await looking.pulse())

    assert seen == [
        STILL,
        Pulse(1, circuits=False, deliveries=False),
        Pulse(1, circuits=True, deliveries=False),
        Pulse(generation, circuits=True, deliveries=True),
    ]


async def test_many_looks_in_a_row_go_on_telling_of_changes(looking):
    seen = []
    for _ in range(12):  # more than a driver takes to prepare what it is asked often
        async with looking.begin() as tx:
            await tx.config.bump("acme")
        seen.append((await looking.pulse()).generation)

    assert seen == list(range(1, 13))


async def test_a_look_of_a_moment_ago_will_do_for_who_says_so(database):
    before = await database.pulse()
    async with database.begin() as tx:
        await tx.config.bump("acme")

    assert await database.pulse(max_age=60) is before
    assert await database.pulse(max_age=0) != before


@pytest.mark.parametrize("listening", [True, False])
async def test_a_pulse_is_of_all_tenants_whoever_looks(confined_url, listening):
    async with Database.open(confined_url) as database, aclosing(database.changes(60)) as changes:
        async with database.begin() as tx:
            await tx.circuits.tell([some_news()])
        if listening:
            await anext(changes)
        token = CALLER.set(Caller(Principal("clientKeys/a", "rival", frozenset(Role))))
        try:
            seen = await database.pulse()
        finally:
            CALLER.reset(token)

    assert seen.circuits


async def test_a_look_within_a_rehearsal_sees_what_is_rehearsed_and_no_other_does(database):
    async with database.rehearsal() as rehearsed:
        async with rehearsed.begin() as tx:
            await tx.config.bump("acme")

        assert (await rehearsed.pulse()).generation == 1
        assert await database.pulse() == STILL

    assert await database.pulse() == STILL


async def test_a_look_meanwhile_does_not_wait_for_a_notification(postgresql_url):
    async with Database.open(postgresql_url) as database, aclosing(database.changes(60)) as changes:
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)

        async with asyncio.timeout(20):
            assert await database.pulse() == STILL
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_who_follows_an_idle_database_asks_it_one_thing_a_period(any_database):
    configuration = Configuration(any_database)
    await configuration.view(SHARED)
    sharing = CircuitSharing(Circuits(), any_database)
    looks: asyncio.Queue[Pulse] = asyncio.Queue()
    following = asyncio.create_task(configuration.follow(0.01, sharing.follow, looks.put))
    await looks.get()

    with held(of=await threads(any_database)) as hops:
        for _ in range(5):
            await looks.get()
        following.cancel()
        await asyncio.wait({following})

    assert 4 <= hops.asked <= 6


async def test_a_deliverer_makes_no_round_until_an_alert_waits(
    database, database_url, egress, monkeypatch
):
    monkeypatch.setattr(delivery, "LOOK_SECONDS", 0.0)
    here = replica(database, a_vault(), egress)
    done: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(here.deliverer, "round", _noting("round", here.deliverer.round, done))
    monkeypatch.setattr(database, "pulse", _noting("look", database.pulse, done))
    async with vendor_server() as receiver, Database.open(database_url) as elsewhere:
        await here.pager(receiver.base_uri)
        receiver.say(status=204)
        working = asyncio.create_task(here.deliverer.run(0.01))
        idle = [await done.get() for _ in range(5)]
        await stored(elsewhere, an_alert())
        here.clock.pass_(seconds=2)
        async with asyncio.timeout(20):
            await receiver.heard.wait()
        working.cancel()
        await asyncio.wait({working})

    assert idle == ["round", *["look"] * 4]


def _noting(what, act, done):
    async def noted(*arguments):
        done.put_nowait(what)
        return await act(*arguments)

    return noted
