"""Trips to SQLite's driver, which does in its own thread what it is asked for, one by one."""

import asyncio
import logging
import threading
from contextlib import contextmanager


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
def held(at=0):
    """0: none is; they are counted."""
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
