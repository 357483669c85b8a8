"""A batch of usage records that nothing counts is one trip to SQLite's driver, and else as any."""

import asyncio
import sqlite3
import threading

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import IntegrityError

from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.budgets import Budgets
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.gateway.leased_ledger import LeasedLedger
from llm_service.gateway.ledger import Uploads
from llm_service.storage import sqlite_driver
from llm_service.storage.database import Database
from llm_service.storage.positional import plain
from llm_service.storage.sqlite_driver import Driver
from tests.integration.budgeting import a_budget, a_draft, a_use, account, alerts
from tests.integration.hops import held, threads
from tests.integration.samples import a_record


async def trips(ledger, *records):
    """What storing them asks the driver for; connections are there already."""
    for record in records:
        ledger.add(record)
    with held(of=await threads(ledger._database)) as hops:
        await ledger.flush()
    return hops.asked


async def store_uncounted(database, records):
    return await database.store_uncounted([*map(plain, records)])


async def stored(database):
    async with database.read() as tx:
        return {record.attempt_id for record in await tx.usage.since("", None, 5000)}


def ids(*records):
    return {record.attempt_id for record in records}


def sqlite(url):
    return sqlite3.connect(make_url(url).database, isolation_level=None)


async def test_a_batch_is_one_trip_however_many_records_it_has(any_database):
    ledger = Uploads(any_database)
    few, many = [a_use(1)], [a_use(1) for _ in range(300)]

    assert await trips(ledger, *few) == 1
    assert await trips(ledger, *many) == 1
    assert await stored(any_database) == ids(*few, *many)


async def test_a_record_delivered_twice_is_stored_once_and_stays_as_it_was(any_database):
    first = a_record(1)

    assert await store_uncounted(any_database, [first])
    assert await store_uncounted(any_database, [a_record(1, trace_id="changed"), a_record(2)])

    async with any_database.read() as tx:
        assert await tx.usage.since("", None, 5) == (first, a_record(2))


async def test_a_budget_counts_from_when_it_is_there_to_when_it_is_gone(any_database):
    ledger = Uploads(any_database)
    assert await trips(ledger, a_use(1)) == 1
    budget = await a_budget(any_database, 1000)

    found_it, knew_it = await trips(ledger, a_use(10)), await trips(ledger, a_use(100))
    assert found_it == knew_it + 1 > 2
    assert await account(any_database, budget) == (110, 0)

    await Budgets(any_database).delete(budget.tenant, budget.budget_id)
    assert await trips(ledger, a_use(1)) > 1
    assert await trips(ledger, a_use(1)) == 1


async def test_a_budget_of_another_process_counts_what_waited_for_it(sqlite_url):
    async with Database.open(sqlite_url) as database, Database.open(sqlite_url) as other:
        ledger = Uploads(database)
        await trips(ledger, a_use(1))
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(tx):
            begun.set()
            await go_on.wait()

        other.before_commit(slowly)
        creating = asyncio.create_task(Budgets(other).create("acme", "b", a_draft(1000)))
        await begun.wait()
        ledger.add(a_use(10))
        with held(1, await threads(database)) as hop:
            storing = asyncio.create_task(ledger.flush())
            assert await hop.is_reached(storing)
        go_on.set()
        await storing
        budget, _ = await creating

        assert await account(database, budget) == (10, 0)


async def test_a_days_cost_is_told_of_without_budgets(any_database):
    ledger = Uploads(any_database)
    ledger.accounting = Accounting(daily_cost_nano_usd=100)

    assert await trips(ledger, a_use(60), a_use(60)) > 1

    assert await alerts(any_database) == [(100, "alert")]


async def test_a_ledger_that_opens_attempts_in_the_database_closes_them_too(any_database):
    assert await trips(LeasedLedger(any_database), a_use(1)) > 1


async def test_a_rehearsal_stores_no_records_outside_itself(any_database):
    async with any_database.rehearsal() as rehearsed:
        await Uploads(rehearsed).flush()
        assert not await store_uncounted(rehearsed, [a_use(1)])

    assert await stored(any_database) == set()


async def test_records_of_a_writer_that_does_not_sum_up_are_summed_up_with_the_next(
    sqlite_url, any_database
):
    earlier = [a_record(number) for number in range(3)]
    assert await store_uncounted(any_database, earlier)
    with sqlite(sqlite_url) as other:
        columns = [row[1] for row in other.execute("PRAGMA table_info(usage_records)")]
        anew = {"record_id": "'acme-000009'", "attempt_id": "NULL"}
        chosen = ", ".join(anew.get(name, name) for name in columns)
        other.execute(
            f"INSERT INTO usage_records SELECT {chosen} FROM usage_records LIMIT 1"  # noqa: S608
        )

    assert await store_uncounted(any_database, [a_record(4)])

    with sqlite(sqlite_url) as other:
        assert other.execute("SELECT sum(attempt_count) FROM usage_days").fetchone() == (5,)


async def test_records_are_summed_up_whose_row_numbers_were_others_before(sqlite_url, any_database):
    assert await store_uncounted(any_database, [a_record(number) for number in range(3)])
    with sqlite(sqlite_url) as other:
        other.execute("DELETE FROM usage_records")

    assert await store_uncounted(any_database, [a_record(4)])

    with sqlite(sqlite_url) as other:
        assert other.execute("SELECT rowid FROM usage_records").fetchall() == [(1,)]
        assert other.execute("SELECT sum(attempt_count) FROM usage_days").fetchone() == (4,)


async def test_records_are_summed_up_after_a_writer_that_left_no_note(sqlite_url, any_database):
    assert await store_uncounted(any_database, [a_record(0)])
    with sqlite(sqlite_url) as other:  # as the release before does
        other.execute("DELETE FROM usage_records_unsummed")

    assert await store_uncounted(any_database, [a_record(1)])
    async with any_database.begin() as tx:
        await tx.usage.add_many([a_record(2)])
        await tx.usage.add_many([a_record(3)])
        assert await tx.usage.add_new([a_record(3), a_record(4)]) == {a_record(4).record_id}

    with sqlite(sqlite_url) as other:
        notes = other.execute("SELECT after FROM usage_records_unsummed").fetchall()
        assert notes == other.execute("SELECT max(rowid) FROM usage_records").fetchall()
        assert other.execute("SELECT sum(attempt_count) FROM usage_days").fetchone() == (5,)


async def test_records_wait_for_a_file_that_another_process_holds(sqlite_url):
    async with Database.open(f"{sqlite_url}?timeout=0.05") as database:
        ledger, record = Uploads(database), a_use(1)
        ledger.add(record)
        await stored(database)
        other = sqlite(sqlite_url)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StorageUnavailable):
            await ledger.flush()

        assert ledger.backlog == 1
        other.close()
        await ledger.flush()
        assert await stored(database) == ids(record)


async def test_records_wait_for_a_disk_that_is_full_and_none_is_stored_before(any_database):
    ledger, records = Uploads(any_database), [a_use(1) for _ in range(400)]
    assert await trips(ledger) == 0
    async with any_database._writer.connect() as connection:
        driver = await Driver.of(connection)
        [pages] = await driver.run(lambda sqlite: sqlite.execute("PRAGMA page_count").fetchone())
        await driver.run(lambda sqlite: sqlite.execute(f"PRAGMA max_page_count = {pages + 5}"))

    with pytest.raises(StorageUnavailable):
        await trips(ledger, *records)
    assert await stored(any_database) == set()

    async with any_database._writer.connect() as connection:
        driver = await Driver.of(connection)
        await driver.run(lambda sqlite: sqlite.execute("PRAGMA max_page_count = 1000000"))
    await ledger.flush()
    assert await stored(any_database) == ids(*records)


async def test_a_damaged_file_is_unavailable(tmp_path):
    path = tmp_path / "not.db"
    path.write_bytes(b"not a database" * 100)

    async with Database.open(f"sqlite+aiosqlite:///{path}") as database:
        with pytest.raises(StorageUnavailable):
            await store_uncounted(database, [a_use(1)])


async def test_of_a_batch_with_a_record_that_is_refused_nothing_is_stored(sqlite_url, any_database):
    with sqlite(sqlite_url) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON usage_records WHEN NEW.trace_id = 'refused'"
            " BEGIN SELECT RAISE(FAIL, 'refused'); END"
        )

    for _ in range(3):
        with pytest.raises(IntegrityError):
            await store_uncounted(any_database, [a_record(1), a_record(2, trace_id="refused")])
    assert await stored(any_database) == set()

    assert await store_uncounted(any_database, [a_record(3)])


async def test_the_driver_does_a_whole_transaction_in_its_own_thread(any_database):
    """For which aiosqlite has nothing public: this fails if what it has has changed."""
    where = []

    def work(connection):
        where.append(threading.get_ident())
        return connection.in_transaction

    assert await sqlite_driver.transact(any_database._writer, work)
    assert not await sqlite_driver.transact(any_database._writer, lambda _: False)

    assert where != [threading.get_ident()]


async def test_what_fails_in_a_transaction_leaves_none_behind(any_database):
    def fail(connection):
        connection.execute("DELETE FROM deployment")
        raise KeyError

    with pytest.raises(KeyError):
        await sqlite_driver.transact(any_database._writer, fail)

    assert await any_database.deployment_id()
