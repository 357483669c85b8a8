"""Trips to SQLite's driver, which does in its own thread what it is asked for, one by one."""

import asyncio
import logging
import threading
from contextlib import contextmanager

import pytest

TURNS = 100
"""Of the event loop: more than it takes to give a connection back."""


class Hop:
    """The `at`-th thing that SQLite's driver is asked for waits until it is let go.

    Asked of `threads`; None: of any that begins from now on. Of others there may be some, which end
    when what is left of another test is collected.
    """

    def __init__(self, at, threads):
        self.at = at
        self._threads = threads
        self._others = set(threading.enumerate())
        self.asked = 0
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._let_go = threading.Event()

    def seen(self, record):
        """In the driver's thread, of what it logs before it does a thing."""
        if record.msg.startswith("executing") and self._is_meant(threading.current_thread()):
            self.asked += 1
            if self.asked == self.at:
                self._loop.call_soon_threadsafe(self.reached.set)
                self._let_go.wait(20)
        return False

    def _is_meant(self, thread):
        return thread not in self._others if self._threads is None else thread in self._threads

    async def is_reached(self, task):
        """False: the task is over, and has asked for less."""
        reached = asyncio.create_task(self.reached.wait())
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        return self.reached.is_set()

    def go_on(self):
        self._let_go.set()


async def threads(database):
    """In which what it is asked for is done, by connections that it keeps."""
    found = set()
    for engine in (database._writer, database._reader):
        async with engine.connect() as connection:
            found.add((await connection.get_raw_connection()).driver_connection._thread)
    return found


@contextmanager
def held(at=0, of=None):
    """0: none is; they are counted. `of`: threads, as of a `Hop`."""
    driver = logging.getLogger("aiosqlite")
    hop, level = Hop(at, of), driver.level
    driver.setLevel(logging.DEBUG)
    driver.addFilter(hop.seen)
    try:
        yield hop
    finally:
        hop.go_on()
        driver.removeFilter(hop.seen)
        driver.setLevel(level)


async def cancelled_at(at, times, work, of=None):
    """Whether `work` asked for that much; it is cancelled `times` times while it waits for that."""
    with held(at, of) as hop:
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
