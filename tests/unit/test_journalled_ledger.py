"""An attempt is on the disk before it is dialled, and leaves its record whatever dies."""

import os
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
    def __init__(self, folder):
        self.folder = folder
        self.database = FakeDatabase()
        self.journal = Journal.open(folder, 1 << 20)
        self.ledger = JournalledLedger(self.database, self.journal)
        self.recovery = Recovery(self.database, folder, now=lambda: LATER)

    def dies(self):
        os.close(self.journal._lock)
        self.journal._thread.shutdown()

    async def found(self):
        await self.recovery.recover()
        return self.database.stored


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def test_what_is_stored_leaves_the_journal(world):
    await world.ledger.open(opened())
    world.ledger.dialled("a")
    record = settled()
    world.ledger.record(record)
    assert world.journal.attempts == 1

    await world.ledger.flush()

    assert world.database.stored == [record]
    assert (world.journal.attempts, world.journal.fill) == (0, 0)


async def test_a_record_that_was_not_stored_is_found_when_the_process_has_died(world):
    await world.ledger.open(opened())
    world.ledger.dialled("a")
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


async def test_an_attempt_that_was_never_dialled_used_nothing(world):
    await world.ledger.open(opened())
    world.dies()

    [found] = await world.found()

    assert (found.error_reason, found.attempt.usage, found.attempt.cost) == (
        "ABANDONED",
        None,
        None,
    )
    assert found.usage_source is None


async def test_an_attempt_that_was_dialled_is_charged_by_estimate(world):
    await world.ledger.open(opened())
    world.ledger.dialled("a")
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
    world.ledger.dialled("a")
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


async def test_an_attempt_the_disk_does_not_take_is_not_dialled(world, monkeypatch):
    def broken(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journals.os, "fdatasync", broken)

    with pytest.raises(Overloaded):
        await world.ledger.open(opened())

    assert world.journal.attempts == 0


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


async def test_an_attempt_whose_dialling_the_disk_does_not_take_is_not_dialled(world, monkeypatch):
    await world.ledger.open(opened())

    def broken(to, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journals.os, "write", broken)

    with pytest.raises(Overloaded):
        world.ledger.dialled("a")


async def test_what_a_dead_machine_may_have_dialled_is_charged_by_estimate(world, monkeypatch):
    await world.ledger.open(opened())
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
    frame = journals.Frame(journals.FrameKind.SETTLED, "b", b"\xc1")
    world.journal.append(frame)
    world.dies()

    [found] = await world.found()

    assert found.attempt_id == "a"
    assert "damaged" in caplog.text
