"""Whatever a unit of work waits for when it is cancelled, on SQLite: the next one works.

The driver does what it was asked for, in its own thread, whether or not anybody still waits.
"""

import asyncio
import logging
import threading
from contextlib import contextmanager, suppress
from itertools import count

import pytest

from llm_service.storage.database import Database
from tests.integration.samples import a_provider, a_record

TURNS = 100
"""Of the event loop: more than it takes to give a connection back."""


class Hop:
    """The `at`-th thing that SQLite's driver is asked for waits until it is let go."""

    def __init__(self, at):
        self.at = at
        self.asked = 0
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._let_go = threading.Event()

    def seen(self, record):
        """In the driver's thread, of what it logs before it does a thing."""
        if record.msg.startswith("executing"):
            self.asked += 1
            if self.asked == self.at:
                self._loop.call_soon_threadsafe(self.reached.set)
                self._let_go.wait(20)
        return False

    async def is_reached(self, task):
        """False: the task is over, and has asked for less."""
        reached = asyncio.create_task(self.reached.wait())
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        return self.reached.is_set()

    def go_on(self):
        self._let_go.set()


@contextmanager
def held(at):
    driver = logging.getLogger("aiosqlite")
    hop, level = Hop(at), driver.level
    driver.setLevel(logging.DEBUG)
    driver.addFilter(hop.seen)
    try:
        yield hop
    finally:
        hop.go_on()
        driver.removeFilter(hop.seen)
        driver.setLevel(level)


async def cancelled_at(at, times, work):
    """Whether `work` asked for that much; it is cancelled `times` times while it waits for that."""
    with held(at) as hop:
        task = asyncio.create_task(work)
        if not await hop.is_reached(task):
            await task
            return False
        for _ in range(times):
            task.cancel()
            for _ in range(TURNS):
                await asyncio.sleep(0)
        hop.go_on()
        with pytest.raises(asyncio.CancelledError):
            await task
    return True


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


async def test_a_unit_of_work_without_statements_asks_the_driver_for_its_beginning_and_its_end(
    any_database,
):
    await write(any_database, 1)
    await read(any_database, 1)

    with held(at=0) as writing:
        async with any_database.begin():
            pass
    with held(at=0) as reading:
        async with any_database.read():
            pass

    assert (writing.asked, reading.asked) == (2, 2)
