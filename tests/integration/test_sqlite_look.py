"""The look at an idle database is one trip to SQLite's driver, and sees what SQLAlchemy would."""

import asyncio
import sqlite3
from contextlib import AsyncExitStack, aclosing, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest
from sqlalchemy import make_url, update
from sqlalchemy.exc import OperationalError

from llm_service.errors import StorageUnavailable
from llm_service.providers.egress import Egress
from llm_service.storage import engines, pulse
from llm_service.storage.database import Database
from llm_service.storage.pulse import Pulse
from llm_service.storage.sqlite_driver import Driver
from llm_service.storage.tables import circuits, webhook_deliveries
from tests.integration.alerting import an_alert, replica, stored
from tests.integration.hops import TURNS, cancelled_at, held, threads
from tests.integration.test_circuit_sharing import some_news
from tests.unit.key_store import a_vault

STILL = Pulse(0, circuits=False, deliveries=False)
TICK = timedelta(microseconds=1)


def file(url):
    return make_url(url).database


async def seen_both_ways(database, since):
    async with database._reader.begin() as connection:
        row = (await connection.execute(pulse._SQLITE, {"since": since})).one()
        by_driver = await (await Driver.of(connection)).run(partial(pulse._seen, since))
    return by_driver, Pulse(row.generation, bool(row.circuits), bool(row.deliveries))


async def is_usable(database, url):
    """Its connection begins and ends what it is asked for, and keeps no one from anything."""
    async with database.begin() as tx:
        await tx.config.bump("acme")
    assert (await database.pulse()).generation > 0
    with closing(sqlite3.connect(file(url), isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        [blocked, *_] = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not blocked  # as it would be by whoever still reads


async def test_a_look_is_one_trip(any_database):
    with held(of=await threads(any_database)) as hops:
        assert await any_database.pulse() == STILL
        assert await any_database.pulse() == STILL

    assert hops.asked == 2


@pytest.mark.parametrize(
    "told",
    [
        datetime(2026, 11, 29, 1, 2, 3, 456_789, UTC),
        datetime(2026, 11, 29, 1, 2, 3, 0, UTC),
        datetime(2026, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(2027, 1, 1, 0, 0, 0, 0, UTC),
    ],
)
async def test_circuits_are_told_of_from_an_instant_on_as_sqlalchemy_compares_it(
    any_database, told
):
    async with any_database.begin() as tx:
        await tx.circuits.tell([some_news()])
        await tx.circuits._connection.execute(update(circuits).values(change_time=told))

    seen = [await seen_both_ways(any_database, told + ticks * TICK) for ticks in (-1, 0, 1)]

    assert [one.circuits for one, _ in seen] == [True, True, False]
    assert all(one == other for one, other in seen)


async def test_whatever_there_is_is_seen_as_sqlalchemy_would(any_database):
    since = datetime.now(UTC) - pulse.RECENT
    seen = [await seen_both_ways(any_database, since)]
    async with any_database.begin() as tx:
        await tx.config.bump("acme")
        await tx.config.bump("rival")
    seen.append(await seen_both_ways(any_database, since))
    async with aclosing(Egress(["127.0.0.1"])) as egress:
        await replica(any_database, a_vault(), egress).pager("http://127.0.0.1:1")
    await stored(any_database, an_alert())
    seen.append(await seen_both_ways(any_database, since))
    async with any_database.begin() as tx:
        await tx.circuits.tell([some_news()])
        over = update(webhook_deliveries).values(next_attempt_time=None)
        await tx.deliveries._connection.execute(over)
    seen.append(await seen_both_ways(any_database, since))

    assert all(one == other for one, other in seen)
    assert [(one.circuits, one.deliveries) for one, _ in seen] == [
        (False, False),
        (False, False),
        (False, True),
        (True, False),
    ]
    assert [one.generation for one, _ in seen[:2]] == [0, 2]


@pytest.mark.parametrize("times", [1, 2])
async def test_wherever_a_look_is_cancelled_its_connection_is_usable_and_locks_nothing(
    sqlite_url, times
):
    for at in count(1):
        async with Database.open(sqlite_url) as database:
            reached = await cancelled_at(at, times, database.pulse())
            await is_usable(database, sqlite_url)
        if not reached:
            break
    assert at > 2  # connecting, too


@pytest.mark.parametrize("times", [1, 2])
async def test_a_kept_connection_whose_look_was_cancelled_is_usable(sqlite_url, times):
    async with Database.open(sqlite_url) as database:
        for _ in range(3):
            assert await cancelled_at(1, times, database.pulse(), await threads(database))
            await is_usable(database, sqlite_url)


async def test_a_look_that_waits_for_a_connection_may_be_cancelled(any_database):
    async with AsyncExitStack() as others:
        for _ in range(engines.SQLITE_READERS):
            await others.enter_async_context(any_database._reader.connect())
        looking = asyncio.create_task(any_database.pulse())
        for _ in range(TURNS):
            await asyncio.sleep(0)
        looking.cancel()
        await asyncio.wait({looking})

    assert looking.cancelled()
    assert await any_database.pulse() == STILL


async def test_a_file_that_another_process_keeps_to_itself_is_unavailable(sqlite_url):
    with closing(sqlite3.connect(file(sqlite_url), isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        async with Database.open(f"{sqlite_url}?timeout=0.05") as database:
            with pytest.raises(StorageUnavailable):
                await database.pulse()
            other.close()

            assert await database.pulse() == STILL


async def test_a_damaged_file_is_unavailable(tmp_path, migrated_sqlite):
    for name, kept in (("none of it", 0), ("its first page", 4096)):
        path = tmp_path / name
        path.write_bytes(migrated_sqlite.read_bytes()[:kept] + b"not a database" * 10_000)

        async with Database.open(f"sqlite+aiosqlite:///{path}") as database:
            for _ in range(6):  # more often than there are connections
                with pytest.raises(StorageUnavailable):
                    await database.pulse()


async def test_a_table_that_is_missing_is_not_called_an_outage(sqlite_url, any_database):
    with closing(sqlite3.connect(file(sqlite_url), isolation_level=None)) as other:
        other.execute("DROP TABLE config_counter")

    with pytest.raises(OperationalError, match="config_counter"):
        await any_database.pulse()
