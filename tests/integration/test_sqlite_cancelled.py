"""Whatever a unit of work waits for when it is cancelled, on SQLite: the next one works.

The driver does what it was asked for, in its own thread, whether or not anybody still waits.
"""

import gc
import sqlite3
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import make_url

from llm_service.domain.usage import UsageQuery
from llm_service.gateway.admin.budgets import Budgets
from llm_service.gateway.ledger import Uploads
from llm_service.storage.database import Database
from llm_service.storage.positional import plain
from tests.integration.budgeting import a_draft, a_use
from tests.integration.hops import cancelled_at, held, threads
from tests.integration.samples import NOW, a_provider, a_record

EVER = UsageQuery(None, NOW - timedelta(days=9000), NOW + timedelta(days=9000))


async def write(database, number):
    """With a statement of SQLAlchemy's, and some of the driver's own."""
    async with database.begin() as tx:
        await tx.providers.add(a_provider(f"p{number}"))
        await tx.usage.add_new([a_record(number)])


async def fail(database, number):
    with suppress(KeyError):
        async with database.begin() as tx:
            await tx.usage.add_many([a_record(number)])
            await tx.providers.add(a_provider(f"p{number}"))
            raise KeyError


async def rehearse(database, number):
    async with database.rehearsal() as rehearsed, rehearsed.begin() as tx:
        await tx.providers.add(a_provider(f"p{number}"))


async def read(database, number):
    async with database.read() as tx:
        await tx.usage.since("", None, number)
        await tx.budgets.any()


@contextmanager
def no_collector():
    """Nothing that is left in a circle goes by itself."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def contents(database):
    async with database.read() as tx:
        providers = await tx.providers.of_tenant("acme")
        records = await tx.usage.since("", None, 1000)
    names = {int(one.provider_id[1:]) for one in providers}
    return names, {int(one.record_id[-6:]) for one in records}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("work", [write, fail, rehearse, read])
async def test_wherever_it_is_cancelled_it_is_done_whole_or_not_and_the_next_one_works(
    sqlite_url, work, times
):
    for at in count(1):
        async with Database.open(sqlite_url) as database:
            reached = await cancelled_at(at, times, work(database, at))
            await write(database, 1000 + at)
            providers, records = await contents(database)
        assert providers == records
        assert 1000 + at in providers
        assert at not in providers or work is write
        if not reached:
            break
    assert at > 10


@pytest.mark.parametrize("times", [1, 2])
async def test_wherever_it_is_cancelled_it_leaves_no_lock_behind(sqlite_url, times):
    async with Database.open(sqlite_url) as database:
        await Budgets(database).create("acme", "b", a_draft(1000))  # so rows are read, too
    for at in count(1):
        with no_collector():
            async with Database.open(sqlite_url) as database:
                reached = await cancelled_at(at, times, Uploads(database).write([plain(a_use(1))]))
                await database._writer.dispose()  # whose connection's thread does all it was asked
                other = sqlite3.connect(make_url(sqlite_url).database, timeout=5)
                other.execute("BEGIN IMMEDIATE")
                other.close()
        if not reached:
            break
    assert at > 10


@pytest.mark.parametrize("times", [1, 2])
async def test_a_batch_whose_end_nobody_waited_for_is_kept_and_stored_once(sqlite_url, times):
    for at in count(1):
        async with Database.open(sqlite_url) as database:
            uploads, record = Uploads(database), a_use(7)
            uploads.add(record)
            reached = await cancelled_at(at, times, uploads.flush())
            assert uploads.backlog == (1 if reached else 0)
            await uploads.flush()

            async with database.read() as tx:
                found = await tx.usage.of_completion(record.completion_id)
                _, total = await tx.usage.query(EVER)
        assert [one.attempt_id for one in found] == [record.attempt_id]
        assert total.input_tokens == 7 * at
        if not reached:
            break
    assert at > 10


async def test_a_unit_of_work_without_statements_asks_the_driver_for_its_beginning_and_its_end(
    any_database,
):
    await write(any_database, 1)
    await read(any_database, 1)

    with held(of=await threads(any_database)) as writing:
        async with any_database.begin():
            pass
    with held(of=await threads(any_database)) as reading:
        async with any_database.read():
            pass

    assert (writing.asked, reading.asked) == (2, 2)
