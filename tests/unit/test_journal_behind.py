"""A journal that syncs behind gives the disk a moment's frames at once, and nobody waits."""

import asyncio
import os
import threading

import pytest

from llm_service.storage import journal as module
from llm_service.storage.journal import Journal
from tests.unit.test_journal import MUCH, found, opened, put


class Disk:
    """Notes each call to the disk; the first `failing` fail, and all wait until it is `free`."""

    def __init__(self, monkeypatch, *, failing=0):
        self.calls = []
        self._failing = failing
        self._real = os.fdatasync
        self._loop = asyncio.get_running_loop()
        self.asked = asyncio.Event()
        self.free = threading.Event()
        self.free.set()
        monkeypatch.setattr(module.os, "fdatasync", self._fdatasync)

    def _fdatasync(self, descriptor):
        self.calls.append(descriptor)
        self._loop.call_soon_threadsafe(self.asked.set)
        self.free.wait(20)
        if len(self.calls) <= self._failing:
            raise OSError(5, "Input/output error")
        self._real(descriptor)

    async def answered(self, journal):
        """Return when a call that is to come is over, and nothing else is due."""
        async with asyncio.timeout(20):
            await self.asked.wait()
            while not _taken(journal):  # noqa: ASYNC110 - a thread says so
                await asyncio.sleep(0)
        self.asked.clear()


def _taken(journal) -> bool:
    """Whether its thread has taken note of what the disk said."""
    syncs = journal._syncs
    return not syncs._behind and (syncs.durable == journal._appended or syncs.failing)


async def test_a_journal_that_syncs_behind_asks_the_disk_once_for_all_of_a_moment(
    tmp_path, monkeypatch
):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=0.001)
    for number in range(10):
        put(journal, opened(number))
    assert disk.calls == []
    await disk.answered(journal)

    assert len(disk.calls) == 1
    assert journal._syncs.durable == journal._appended
    async with asyncio.timeout(20):
        while not journal._syncs._asleep:  # noqa: ASYNC110 - the thread says so
            await asyncio.sleep(0)
    assert len(disk.calls) == 1  # and leaves it alone until there is something new
    await journal.aclose()


async def test_what_comes_while_the_disk_is_busy_is_taken_next(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=0.001)
    disk.free.clear()
    put(journal, opened(1))
    await disk.asked.wait()
    for number in range(2, 50):
        put(journal, opened(number))
    disk.free.set()
    await disk.answered(journal)

    assert len(disk.calls) == 2
    assert journal._syncs.durable == journal._appended
    await journal.aclose()


async def test_what_follows_within_the_moment_wakes_nobody_up(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=3600.0)
    put(journal, opened(1))
    await journal.synced()
    await disk.answered(journal)
    async with asyncio.timeout(20):  # who waited has rung, too, and the thread may not have heard
        while not journal._syncs._bell.empty():  # noqa: ASYNC110 - a thread says so
            await asyncio.sleep(0)

    put(journal, opened(2))

    assert journal._syncs._bell.empty()
    await journal.aclose()


async def test_a_disk_that_many_waited_for_is_asked_no_more_often_for_it(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=3600.0)
    disk.free.clear()
    waiting = []
    for fifty in range(2):  # rings, the second time while the disk is busy with those before
        for number in range(50):
            put(journal, opened(50 * fifty + number))
            waiting.append(asyncio.create_task(journal.synced()))
        await disk.asked.wait()
        await asyncio.sleep(0)  # they all wait now
    disk.free.set()
    await asyncio.gather(*waiting)
    disk.asked.clear()
    asked_before = len(disk.calls)
    put(journal, opened(9999))

    with pytest.raises(TimeoutError):  # the last frame has an hour
        async with asyncio.timeout(0.05):
            await disk.asked.wait()
    assert journal._syncs._behind
    assert len(disk.calls) == asked_before
    await journal.aclose()


async def test_nobody_counts_on_a_disk_that_failed_until_it_has_worked_again(
    tmp_path, monkeypatch, caplog
):
    disk = Disk(monkeypatch, failing=2)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=0.001)
    assert journal.syncs_behind
    put(journal, opened(1))
    await disk.answered(journal)
    assert not journal.syncs_behind
    put(journal, opened(2))
    with pytest.raises(OSError, match="output"):
        await journal.synced()
    assert not journal.syncs_behind
    put(journal, opened(3))
    await journal.synced()
    await asyncio.sleep(0)

    assert journal.syncs_behind
    assert caplog.text.count("the disk of the usage journal fails") == 1
    await journal.aclose()


async def test_a_journal_that_is_closed_asks_the_disk_for_nothing_more(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    journal = Journal.open(tmp_path, MUCH, sync_seconds=3600.0)
    put(journal, opened(1))
    await journal.aclose()

    assert disk.calls == []
    assert found(tmp_path) == [[opened(1)]]
