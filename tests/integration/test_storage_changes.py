import asyncio
from contextlib import aclosing

import pytest
from sqlalchemy import make_url

from llm_service.errors import StorageUnavailable
from llm_service.storage.config import CHANNEL
from llm_service.storage.database import Database

LONG = 3600.0
"""Seconds: longer than any test, so that only a notification can end the wait."""


async def test_each_tenants_last_change_is_remembered_in_order(database):
    async with database.begin() as tx:
        first = await tx.config.bump("acme")
        second = await tx.config.bump("rival")
    async with database.begin() as tx:
        third = await tx.config.bump("acme")

    assert first < second < third
    async with database.read() as tx:
        assert await tx.config.since(0) == (("rival", second), ("acme", third))
        assert await tx.config.since(second) == (("acme", third),)
        assert await tx.config.since(third) == ()


async def test_a_change_that_is_rolled_back_never_was(database):
    async def fail() -> None:
        async with database.begin() as tx:
            await tx.config.bump("acme")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()

    async with database.read() as tx:
        assert await tx.config.since(0) == ()


async def test_generations_become_visible_in_order_however_many_change_at_once(database):
    changes, seen = 20, [0]

    async def change(number: int) -> int:
        async with database.begin() as tx:
            return await tx.config.bump(f"tenant-{number}")

    async def watch(done: asyncio.Event) -> None:
        last = False
        while not last:
            last = done.is_set()
            async with database.read() as tx:
                seen.extend(generation for _, generation in await tx.config.since(seen[-1]))

    done = asyncio.Event()
    watching = asyncio.create_task(watch(done))
    limit = asyncio.Semaphore(4)

    async def limited(number: int) -> int:
        async with limit:
            return await change(number)

    generations = await asyncio.gather(*map(limited, range(changes)))
    done.set()
    await watching

    assert sorted(generations) == list(range(1, changes + 1))
    assert seen == list(range(changes + 1))


async def test_a_listener_wakes_at_once_and_when_a_change_commits(database):
    async with aclosing(database.changes(LONG)) as changes:
        await anext(changes)
        waking = asyncio.ensure_future(anext(changes))

        async with database.begin() as tx:
            await tx.config.bump("acme")

        await waking


async def test_a_listener_wakes_for_another_processs_change(postgresql_url):
    async with (
        Database.open(postgresql_url) as here,
        Database.open(postgresql_url) as elsewhere,
        aclosing(here.changes(LONG)) as changes,
    ):
        await anext(changes)
        waking = asyncio.ensure_future(anext(changes))

        async with elsewhere.begin() as tx:
            await tx.config.bump("acme")

        await waking


async def test_whoever_changed_something_goes_on_after_those_who_follow(database):
    seen = []

    async def follow() -> None:
        async with database.read() as tx:
            seen.append(await tx.config.since(0))

    async def fail() -> None:
        raise StorageUnavailable("not now")

    database.after_change(fail)
    database.after_change(follow)

    async with database.begin() as tx:
        await tx.config.bump("acme")

    assert seen == [(("acme", 1),)]


async def test_a_change_made_while_a_listener_is_busy_is_not_missed(database):
    async with aclosing(database.changes(LONG)) as changes:
        await anext(changes)

        async with database.begin() as tx:
            await tx.config.bump("acme")
        # A listener that has not waited yet still hears of it.
        await anext(changes)


async def test_a_listener_wakes_without_a_change_after_a_while(database):
    async with aclosing(database.changes(0.01)) as changes:
        for _ in range(3):
            await anext(changes)


async def test_a_listener_that_loses_its_connection_makes_another(postgresql_url, postgres):
    async with (
        Database.open(postgresql_url) as database,
        aclosing(database.changes(0.05)) as changes,
    ):
        await anext(changes)
        first = listeners(postgres, postgresql_url)

        cut(postgres, first)
        for _ in range(4):
            await anext(changes)

        second = listeners(postgres, postgresql_url)
        assert len(first) == len(second) == 1
        assert first != second


async def test_a_listener_outlives_a_database_that_is_not_there(tmp_path):
    async with (
        Database.open(f"postgresql+psycopg://u@/d?host={tmp_path}") as database,
        aclosing(database.changes(0.01)) as changes,
    ):
        for _ in range(3):
            await anext(changes)


def listeners(postgres, url: str) -> set[int]:
    name = make_url(url).database
    return {
        process
        for process, query in postgres.execute(
            "SELECT pid, query FROM pg_stat_activity WHERE datname = %s", name
        )
        if query == f"LISTEN {CHANNEL}"
    }


def cut(postgres, processes: set[int]) -> None:
    for process in processes:
        postgres.execute("SELECT pg_terminate_backend(%s)", process)
