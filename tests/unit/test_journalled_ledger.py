"""An attempt is on the disk before it is dialled, and leaves its record whatever dies."""

import asyncio
import os
import threading
from datetime import timedelta

import pytest

from llm_service.domain.completion import Attempt, Attribution, CallError, ServedBy, TokenUsage
from llm_service.domain.provider import Price, PriceItem
from llm_service.domain.usage import (
    AttemptProgress,
    OpenedAttempt,
    Operation,
    UsageRecord,
    UsageSource,
)
from llm_service.errors import Overloaded, StorageUnavailable
from llm_service.gateway.ids import new_id
from llm_service.gateway.ledger import JournalledLedger
from llm_service.gateway.recovery import Recovery
from llm_service.storage import frames, framing
from llm_service.storage import journal as journals
from llm_service.storage.journal import Journal
from llm_service.storage.usage import BATCH
from tests.fakes import NOW, FakeDatabase

TARGET = ServedBy("providers/p", "providers/p/models/m")
WHO = Attribution("default", labels={"team": "a"})
PRICE = Price("own", (PriceItem("input-tokens", 2_000_000), PriceItem("output-tokens", 4_000_000)))
LATER = NOW + timedelta(minutes=5)


def opened(attempt_id="a"):
    return OpenedAttempt(
        attempt_id, "c", WHO, TARGET, NOW, Operation.CHAT, "trace", input_tokens=7, price=PRICE
    )


def settled(attempt_id="a"):
    attempt = Attempt(TARGET, NOW, 0.5, None, TokenUsage(3, 4))
    return UsageRecord(
        new_id(), "c", WHO, attempt, NOW, usage_source=UsageSource.PROVIDER, attempt_id=attempt_id
    )


def moment(record_id):
    """The milliseconds of an id, which are all that orders it."""
    return record_id[:13]


class World:
    def __init__(self, folder, sync_seconds=3600.0):
        self.folder = folder
        self.database = FakeDatabase()
        self.journal = Journal.open(folder, 1 << 20, sync_seconds)
        self.ledger = JournalledLedger(self.database, self.journal)
        self.recovery = Recovery(self.database, folder, now=lambda: LATER)

    def dies(self):
        os.close(self.journal._lock)
        self.journal._syncs.close()

    async def found(self):
        await self.recovery.recover()
        return self.database.stored


@pytest.fixture(params=[3600.0, 0.0], ids=["behind", "before"])
async def world(tmp_path, request):
    """With a journal that syncs behind (here: in an hour), or before a call is dialled."""
    return World(tmp_path, request.param)


@pytest.fixture
async def waiting(tmp_path):
    """Every attempt waits for the disk."""
    return World(tmp_path, 0.0)


@pytest.fixture
async def behind(tmp_path):
    """No attempt waits for the disk, as long as it works."""
    return World(tmp_path)


def failing(descriptor):
    raise OSError(5, "Input/output error")


async def test_what_is_stored_leaves_the_journal(world):
    await world.ledger.open(opened())
    record = settled()
    world.ledger.record(record)
    assert world.journal.attempts == 1

    await world.ledger.flush()

    assert world.database.stored == [record]
    assert (world.journal.attempts, world.journal.fill) == (0, 0)


async def test_a_record_that_was_not_stored_is_found_when_the_process_has_died(world):
    await world.ledger.open(opened())
    record = settled()
    world.ledger.record(record)
    world.dies()

    [found] = await world.found()

    assert found.record_id != record.record_id  # a feed has gone on meanwhile
    assert (found.attempt_id, found.attempt, found.usage_source) == (
        "a",
        record.attempt,
        UsageSource.PROVIDER,
    )
    assert list(world.folder.iterdir()) == []


async def test_an_attempt_that_still_waited_for_the_disk_used_nothing(waiting, monkeypatch):
    asked, over = threading.Event(), threading.Event()

    def stalled(descriptor):
        asked.set()
        over.wait(20)

    monkeypatch.setattr(journals.os, "fdatasync", stalled)
    opening = asyncio.create_task(waiting.ledger.open(opened()))
    assert await asyncio.to_thread(asked.wait, 20)
    assert not opening.done()
    # As a killed process does: the lock goes, the rest stays as it is.
    os.close(waiting.journal._lock)

    [found] = await waiting.found()

    assert (found.error_reason, found.attempt.usage, found.attempt.cost) == (
        "ABANDONED",
        None,
        None,
    )
    assert found.usage_source is None
    opening.cancel()
    over.set()
    await asyncio.wait([opening])


async def test_an_attempt_is_dialled_without_waiting_for_a_disk_that_works(behind, monkeypatch):
    monkeypatch.setattr(journals.os, "fdatasync", failing)

    await behind.ledger.open(opened())  # the disk is asked in an hour

    behind.dies()
    [found] = await behind.found()
    assert found.usage_source is UsageSource.ESTIMATE


async def test_calls_are_refused_from_a_failed_sync_until_one_works(behind, monkeypatch):
    await behind.ledger.open(opened("before"))
    monkeypatch.setattr(journals.os, "fdatasync", failing)
    with pytest.raises(OSError, match="output"):
        await behind.journal.synced()

    with pytest.raises(Overloaded):
        await behind.ledger.open(opened("refused"))
    with pytest.raises(Overloaded):
        await behind.ledger.open(opened("refused too"))
    monkeypatch.undo()
    await behind.ledger.open(opened("after"))

    assert behind.journal.syncs_behind
    assert behind.journal.attempts == 2


async def test_an_attempt_that_was_dialled_is_charged_by_estimate(world):
    await world.ledger.open(opened())
    world.dies()

    [found] = await world.found()

    assert found.attempt.usage == TokenUsage(7, estimated=True)
    assert found.attempt.cost.total_nano_usd == 14
    assert found.usage_source is UsageSource.ESTIMATE
    assert (found.completion_id, found.attribution, found.trace_id) == ("c", WHO, "trace")
    assert isinstance(found.attempt.error, CallError)


@pytest.mark.parametrize(
    ("usage", "source"),
    [
        (TokenUsage(5, 6), UsageSource.PROGRESS),
        (TokenUsage(5, 6, estimated=True), UsageSource.ESTIMATE),
    ],
)
async def test_the_latest_progress_replaces_what_was_known_before(world, usage, source):
    await world.ledger.open(opened())
    world.ledger.progress("a", AttemptProgress(TokenUsage(1, 1), 1.0))
    world.ledger.progress("a", AttemptProgress(usage, 2.0))
    world.dies()

    [found] = await world.found()

    assert (found.attempt.usage, found.usage_source) == (usage, source)
    assert found.attempt.duration == 2
    assert found.create_time == NOW + timedelta(seconds=2)


async def test_records_of_a_dead_process_wait_for_the_database(world):
    await world.ledger.open(opened())
    world.dies()
    world.database.down = True

    with pytest.raises(StorageUnavailable):
        await world.recovery.recover()
    world.database.down = False

    assert len(await world.found()) == 1


async def test_nobody_settles_for_a_process_that_lives(world):
    await world.ledger.open(opened())

    assert await world.found() == []


async def test_a_nearly_full_journal_refuses_new_calls_and_serves_those_begun(world):
    number = 0
    while world.journal.fill < 0.9:
        await world.ledger.open(opened(str(number)))
        number += 1

    with pytest.raises(Overloaded):
        world.ledger.admit()
    await world.ledger.open(opened("begun"))


async def test_an_attempt_the_disk_does_not_take_is_not_dialled(waiting, monkeypatch):
    monkeypatch.setattr(journals.os, "fdatasync", failing)

    with pytest.raises(Overloaded):
        await waiting.ledger.open(opened())

    assert waiting.journal.attempts == 0


async def test_a_record_the_disk_does_not_take_is_still_stored(world, monkeypatch):
    await world.ledger.open(opened())

    def broken(to, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journals.os, "write", broken)
    world.ledger.progress("a", AttemptProgress(TokenUsage(1, 1), 1.0))
    world.ledger.record(settled())
    monkeypatch.undo()
    await world.ledger.flush()

    assert [record.attempt_id for record in world.database.stored] == ["a"]


async def test_a_record_no_segment_can_be_made_for_is_still_stored(world, monkeypatch):
    await world.ledger.open(opened())

    def broken(*_):
        raise OSError(24, "Too many open files")

    world.journal._spoiled = True
    monkeypatch.setattr(journals.os, "open", broken)
    world.ledger.record(settled())
    monkeypatch.undo()
    await world.ledger.flush()

    assert [record.attempt_id for record in world.database.stored] == ["a"]


@pytest.mark.parametrize("writes", [0, 1])
async def test_an_attempt_the_system_does_not_take_is_not_dialled(world, monkeypatch, writes):
    done = 0 if world.journal.syncs_behind else writes
    real = os.write

    def broken(to, data):
        nonlocal done
        done -= 1
        if done < 0:
            raise OSError(28, "No space left on device")
        return real(to, data)

    monkeypatch.setattr(journals.os, "write", broken)

    with pytest.raises(Overloaded):
        await world.ledger.open(opened())

    assert world.journal.attempts == 0


async def test_what_a_dead_machine_may_have_dialled_is_charged_by_estimate(world, monkeypatch):
    payload = frames.opened(opened())  # the mark had no time to get there
    world.journal.append("a", framing.encoded(framing.FrameKind.OPENED, payload))
    world.dies()
    monkeypatch.setattr(journals, "_boot", lambda: b"another")

    [found] = await world.found()

    assert (found.attempt.usage.input_tokens, found.usage_source) == (7, UsageSource.ESTIMATE)


async def test_many_records_of_a_dead_process_have_ids_as_new_as_their_transactions(world):
    for number in range(BATCH + 1):
        world.ledger.record(settled(f"{number:04d}"))
    world.dies()
    began = []
    real = world.database.begin

    def begin():
        began.append(new_id())
        return real()

    world.database.begin = begin

    stored = await world.found()

    assert len(stored) == BATCH + 1
    assert len(began) == 2
    assert all(moment(one.record_id) >= moment(began[0]) for one in stored)
    assert moment(stored[-1].record_id) >= moment(began[1])


async def test_one_journal_that_must_wait_keeps_no_other_from_being_found(world, tmp_path):
    await world.ledger.open(opened("a"))
    other = World(tmp_path)
    await other.ledger.open(opened("b"))
    world.dies()
    other.dies()
    world.database.down = True
    with pytest.raises(StorageUnavailable):
        await world.recovery.recover()
    world.database.down = False

    assert {record.attempt_id for record in await world.found()} == {"a", "b"}


async def test_frames_of_another_release_lose_nothing_of_the_others(world, caplog):
    await world.ledger.open(opened())
    world.journal.append("b", framing.encoded(framing.FrameKind.SETTLED, b"\xc1"))
    world.dies()

    [found] = await world.found()

    assert found.attempt_id == "a"
    assert "damaged" in caplog.text
