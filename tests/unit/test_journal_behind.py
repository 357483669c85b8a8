"""A journal that syncs behind gives the disk a moment's frames at once, and nobody waits."""

import asyncio
import os
import threading

import pytest

from llm_service.storage import journal as module
from llm_service.storage.journal import Journal
from tests.unit.test_journal import MUCH, found, opened


class Disk:
    """Notes each call to the disk; the first `failing` fail, and all wait until it is `free`."""

    def __init__(self, monkeypatch, *, failing=0):
        self.calls = []
        self._failing = failing
        self._real = os.fdatasync
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self.free = threading.Event()
        self.free.set()
        monkeypatch.setattr(module.os, "fdatasync", self._fdatasync)

    def _fdatasync(self, descriptor):
        self.calls.append(descriptor)
        self._loop.call_soon_threadsafe(self._asked.set)
        self.free.wait(20)
        if len(self.calls) <= self._failing:
            raise OSError(5, "Input/output error")
        self._real(descriptor)

    async def answered(self, journal):
        """Return when a call that is to come is over."""
        async with asyncio.timeout(20):
            await self._asked.wait()
            while not journal._sync.done() or journal._overdue:
                await asyncio.gather(asyncio.wrap_future(journal._sync), return_exceptions=True)
                await asyncio.sleep(0)
        self._asked.clear()


async def test_a_journal_that_syncs_behind_asks_the_disk_once_for_all_of_a_moment(
    tmp_path, monkeypatch
):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=0.001)
    for number in range(10):
        journal.append(opened(number))
    assert disk.calls == []
    await disk.answered(journal)

    assert len(disk.calls) == 1
    assert journal._durable == journal._appended
    assert journal._sync_timer is None  # and leaves it alone until there is something new
    await journal.aclose()


async def test_fifty_frames_do_not_wait_for_their_moment_to_pass(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=3600.0)
    for number in range(49):
        journal.append(opened(number))
    assert journal._sync is None
    journal.append(opened(49))
    await disk.answered(journal)

    assert journal._durable == journal._appended
    await journal.aclose()


async def test_what_comes_due_while_the_disk_is_busy_follows_at_once(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=3600.0)
    disk.free.clear()
    for number in range(50):
        journal.append(opened(number))
    await asyncio.sleep(0)
    for number in range(50):
        journal.append(opened(50 + number))
    disk.free.set()
    await disk.answered(journal)

    assert len(disk.calls) == 2
    assert journal._durable == journal._appended
    await journal.aclose()


async def test_nobody_counts_on_a_disk_that_failed_until_it_has_worked_again(
    tmp_path, monkeypatch, caplog
):
    disk = Disk(monkeypatch, failing=2)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=0.001)
    assert journal.syncs_behind
    journal.append(opened(1))
    await disk.answered(journal)
    assert not journal.syncs_behind
    journal.append(opened(2))
    with pytest.raises(OSError, match="output"):
        await journal.synced()
    assert not journal.syncs_behind
    journal.append(opened(3))
    await journal.synced()
    await asyncio.sleep(0)

    assert journal.syncs_behind
    assert caplog.text.count("the disk of the usage journal fails") == 1
    await journal.aclose()


async def test_a_journal_that_is_closed_asks_the_disk_for_nothing_more(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=3600.0)
    journal.append(opened(1))
    timer = journal._sync_timer
    await journal.aclose()

    assert timer.cancelled()
    assert disk.calls == []
    assert found(tmp_path) == [[opened(1)]]
