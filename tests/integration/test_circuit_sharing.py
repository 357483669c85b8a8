"""Circuits across replicas: what opens on one is passed over on the others; so with resets."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import update

from llm_service.domain.access import CALLER, Caller, Principal, Role
from llm_service.domain.health import ANY, CircuitNews, CircuitState, Condition, TargetKey
from llm_service.errors import ResourceNotFound, StorageUnavailable
from llm_service.gateway.health import sharing as module
from llm_service.gateway.health.administration import HealthAdministration
from llm_service.gateway.health.breaker import RULES, Change, Outcome
from llm_service.gateway.health.circuits import Circuits
from llm_service.gateway.health.sharing import CircuitSharing
from llm_service.storage.circuits import KEPT, RECENT, is_storable
from llm_service.storage.database import Database
from llm_service.storage.tables import circuits as table
from tests.integration.samples import a_provider

KEY = TargetKey("uid", "main", "gpt-5")
DEAD = "PROVIDER_UNAVAILABLE"


class Replica:
    """One of several on the same database; its clock stands still."""

    def __init__(self, database):
        self.time = 1000.0
        self.circuits = Circuits(now=lambda: self.time, draw=lambda: 0.0)
        self.sharing = CircuitSharing(self.circuits, database)
        self.health = HealthAdministration(self.circuits, self.sharing, database)

    def known(self, key=KEY):
        return self.circuits.known(key, "acme", "p")

    def end(self, outcome, times=1, key=KEY, probe=None):
        known = self.known(key)
        for _ in range(times):
            breaker = known.breaker
            change = breaker.settled(self.time, outcome, breaker.epoch, probe, DEAD)
            if change is not None:
                self.circuits._changed(known, change, self.time)

    def open(self, key=KEY):
        self.end(Outcome.FAILED, RULES.volume, key)
        assert self.known(key).breaker.opened

    def close(self):
        self.time += RULES.longest
        self.end(Outcome.SERVED, probe=self.known().breaker.probe(self.time, lambda: False))
        assert not self.known().breaker.opened

    def ejected(self, key=KEY):
        return self.known(key).breaker.ejected(self.time)


def some_news(**changes):
    values = {"key": KEY, "tenant": "acme", "provider_id": "p", "state": CircuitState.OPEN}
    return CircuitNews(**{**values, "change_id": "c1", "replica": "r1", "seconds": 4.0, **changes})


async def test_the_latest_news_of_each_target_is_kept(database):
    first = some_news(reason=DEAD, ejection_count=2)
    second = some_news(change_id="c2", state=CircuitState.CLOSED, seconds=0.0)
    other = some_news(key=TargetKey("uid", "", ANY), reset=True)

    async with database.begin() as tx:
        await tx.circuits.tell([first, other])
    async with database.read() as tx:
        told = await tx.circuits.recent()
    async with database.begin() as tx:
        await tx.circuits.tell([second])
    async with database.read() as tx:
        later = await tx.circuits.recent()

    assert {news.key: news for news, _ in told} == {KEY: first, other.key: other}
    assert [news for news, _ in later] == [other, second]
    assert all(0 <= ago < 60 for _, ago in later)


async def test_old_news_are_not_read_and_then_not_kept(database):
    async with database.begin() as tx:
        await tx.circuits.tell([some_news()])
    kept = []
    for age in (RECENT, KEPT):
        async with database.begin() as tx:
            moved = table.c.change_time, await tx.circuits._now() - age - timedelta(seconds=1)
            await tx.circuits._connection.execute(update(table).values(dict([moved])))
            kept.append((await tx.circuits.recent(), await tx.circuits.forget()))

    assert kept == [((), 0), ((), 1)]


@pytest.mark.parametrize("model_id", ["x" * 129, "a\0b", "\ud800"])
def test_a_target_that_no_row_can_hold_is_not_told_of(model_id):
    assert is_storable(KEY)
    assert not is_storable(TargetKey("uid", "", model_id))


async def test_a_circuit_that_opens_and_closes_on_one_replica_does_on_another(database):
    here, there = Replica(database), Replica(database)
    here.open()

    await here.sharing.tell()
    await there.sharing.refresh()
    await here.sharing.refresh()
    assert there.ejected()
    assert there.known().breaker.reason == DEAD
    here.close()
    await here.sharing.tell()
    await there.sharing.refresh()

    assert not there.known().breaker.opened


async def test_what_a_replica_sees_itself_counts_first(database):
    here, there = Replica(database), Replica(database)
    there.end(Outcome.SERVED, RULES.volume)
    here.open()

    await here.sharing.tell()
    await there.sharing.refresh()

    assert not there.ejected()


async def test_the_same_news_is_heard_once(database):
    here, there = Replica(database), Replica(database)
    here.open()
    await here.sharing.tell()
    await there.sharing.refresh()
    there.known().breaker.reset(there.time)

    await there.sharing.refresh()

    assert not there.ejected()


async def test_what_is_told_is_told_by_itself_and_together(database):
    here, there = Replica(database), Replica(database)
    keys = [TargetKey("uid", "", f"m{number}") for number in range(module.BATCH + 5)]
    task = asyncio.create_task(here.sharing.run())
    for key in keys:
        here.open(key)

    async with asyncio.timeout(20):
        # Others may hear of what is committed before whoever told it knows that it is.
        while here.sharing._waiting or not all(there.ejected(key) for key in keys):
            await there.sharing.refresh()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Away:
    """A database that does not answer until it is back."""

    def __init__(self, database, asked):
        self.database, self.asked, self.back = database, asked, False

    @asynccontextmanager
    async def begin(self):
        self.asked.set()
        if not self.back:
            raise StorageUnavailable("away")
        async with self.database.begin() as tx:
            yield tx


async def test_without_a_database_each_goes_on_by_itself_and_tells_later(any_database, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    asked = asyncio.Event()
    away = Away(any_database, asked)
    here, there = Replica(away), Replica(any_database)
    task = asyncio.create_task(here.sharing.run())
    here.open()
    await asked.wait()
    assert here.ejected()

    away.back = True
    async with asyncio.timeout(20):
        while not there.ejected():
            await there.sharing.refresh()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_operator_resets_the_circuits_of_a_provider_on_every_replica(database):
    provider = a_provider("p", "acme")
    async with database.begin() as tx:
        await tx.providers.add(provider)
    key, other = TargetKey(provider.uid, "", "bad"), TargetKey(provider.uid, "", "worse")
    here, there = Replica(database), Replica(database)
    for replica in (here, there):
        replica.open(key)
        replica.open(other)

    narrowed = await here.health.reset("acme", "p", model_id="bad")
    assert (here.ejected(key), here.ejected(other)) == (False, True)
    await there.sharing.refresh()
    assert (there.ejected(key), there.ejected(other)) == (False, True)
    everything = await here.health.reset("acme", "p")
    await there.sharing.refresh()

    assert (narrowed, everything) == (1, 1)
    assert not there.ejected(other)
    with pytest.raises(ResourceNotFound):
        await here.health.reset("acme", "q")


async def test_the_health_of_a_provider_is_told_in_sum(database):
    provider = a_provider("p", "acme")
    async with database.begin() as tx:
        await tx.providers.add(provider)
    here = Replica(database)
    key, other = TargetKey(provider.uid, "main", "bad"), TargetKey(provider.uid, "main", "good")
    unknown = here.health.of_provider(provider.uid)
    here.open(key)
    alone = here.health.of_provider(provider.uid)
    here.end(Outcome.SERVED, key=other)
    here.known(other).seen = here.time
    both = here.health.of_provider(provider.uid)
    listed = await here.health.list("acme", "p")
    here.circuits.reset(provider.uid)
    well = here.health.of_provider(provider.uid)

    assert [one.condition for one in (unknown, alone, both, well)] == [
        None,
        Condition.UNAVAILABLE,
        Condition.DEGRADED,
        Condition.HEALTHY,
    ]
    assert alone.retry_time is not None
    assert [(one.model.rpartition("/")[2], one.state) for one in listed] == [
        ("bad", CircuitState.OPEN),
        ("good", CircuitState.CLOSED),
    ]
    assert listed[0].credential == f"{provider.name}/credentials/main"
    assert listed[0].reason == DEAD


async def test_a_tenant_tells_of_its_own_circuits_only(confined_url):
    async with Database.open(confined_url) as database:
        async with database.begin() as tx:
            await tx.circuits.tell(
                [some_news(), some_news(key=TargetKey("o", "", "m"), tenant="b")]
            )
        token = CALLER.set(Caller(Principal("clientKeys/a", "acme", frozenset(Role))))
        try:
            async with database.read() as tx:
                own = await tx.circuits.recent()
        finally:
            CALLER.reset(token)
        async with database.read() as tx:
            everything = await tx.circuits.recent()

    assert [news.tenant for news, _ in own] == ["acme"]
    assert len(everything) == 2


async def test_a_bug_in_telling_ends_nothing(any_database, monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    here, failed = Replica(any_database), asyncio.Event()

    def broken(_known):
        failed.set()
        raise ValueError

    here.sharing._of = broken
    task = asyncio.create_task(here.sharing.run())
    here.open()
    await failed.wait()
    failed.clear()
    here.circuits.told(here.known(), Change.OPENED, here.time)
    await failed.wait()

    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
