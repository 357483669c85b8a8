"""Records are kept until they are stored, and a full ledger refuses calls instead of losing one."""

import asyncio

import pytest

from llm_service.bootstrap.ledger import _flush
from llm_service.domain.completion import Attempt, Attribution, ServedBy
from llm_service.domain.usage import UsageRecord
from llm_service.errors import Overloaded, StorageUnavailable
from llm_service.gateway import ledger as ledgers
from llm_service.gateway.ids import new_id
from llm_service.gateway.ledger import Uploads
from tests.fakes import NOW, FakeDatabase


def a_record(number: int) -> UsageRecord:
    attempt = Attempt(ServedBy("providers/p", "providers/p/models/m"), NOW, 0.1)
    return UsageRecord(new_id(), str(number), Attribution("default"), attempt, NOW)


async def test_flush_returns_when_every_record_is_stored_in_order():
    database = FakeDatabase()
    ledger = Uploads(database)
    for number in range(1100):
        ledger.add(a_record(number))

    await ledger.flush()

    assert [record.completion_id for record in database.stored] == [str(n) for n in range(1100)]
    assert database.batches == [500, 500, 100]
    assert ledger.backlog == 0


async def test_what_comes_while_a_batch_is_stored_is_gathered_for_the_next():
    database = FakeDatabase()
    ledger = Uploads(database)
    add_many = database.add_many

    async def add_while_another_comes(records):
        await add_many(records)
        ledger.add(a_record(2))

    database.add_many = add_while_another_comes
    ledger.add(a_record(1))
    await ledger.flush()

    assert database.batches == [1]
    assert ledger.backlog == 1


async def test_who_waits_for_what_another_has_stored_stores_nothing():
    database = FakeDatabase()
    ledger = Uploads(database)
    add_many, first, go_on = database.add_many, asyncio.Event(), asyncio.Event()

    async def add_slowly(records):
        first.set()
        await go_on.wait()
        await add_many(records)

    database.add_many = add_slowly
    ledger.add(a_record(1))
    ledger.add(a_record(2))
    waiting = [asyncio.create_task(ledger.flush()) for _ in range(3)]
    await first.wait()
    ledger.add(a_record(3))
    go_on.set()
    await asyncio.gather(*waiting)

    assert database.batches == [2]
    assert ledger.backlog == 1


async def test_the_end_stores_what_comes_until_then():
    database = FakeDatabase()
    ledger = Uploads(database)
    add_many = database.add_many

    async def add_while_others_come(records):
        await add_many(records)
        if len(database.batches) < 3:
            ledger.add(a_record(len(database.batches)))

    database.add_many = add_while_others_come
    ledger.add(a_record(0))
    await _flush(ledger)

    assert [record.completion_id for record in database.stored] == ["0", "1", "2"]
    assert ledger.backlog == 0


async def test_a_record_survives_a_database_outage():
    database = FakeDatabase()
    ledger = Uploads(database)
    ledger.add(a_record(1))
    database.down = True

    with pytest.raises(StorageUnavailable):
        await ledger.flush()
    database.down = False
    await ledger.flush()

    assert [record.completion_id for record in database.stored] == ["1"]


async def test_a_database_that_refuses_is_asked_to_take_a_few_until_it_does():
    database = FakeDatabase()
    ledger = Uploads(database)
    for number in range(1100):
        ledger.add(a_record(number))
    asked = []
    add_many = database.add_many

    async def add_after_three(records):
        asked.append(len(records))
        if len(asked) <= 3:
            raise StorageUnavailable("full")
        await add_many(records)

    database.add_many = add_after_three
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            await ledger.flush()
    await ledger.flush()

    assert asked == [500, 10, 10, 10, 500, 500, 90]
    assert [record.completion_id for record in database.stored] == [str(n) for n in range(1100)]


async def test_the_pauses_between_tries_grow_to_seconds_and_no_further(monkeypatch):
    database = FakeDatabase()
    ledger = Uploads(database)
    ledger.add(a_record(1))
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    database.down = True
    for _ in range(5):
        await ledger._store_or_wait()
    database.down = False
    await ledger._store_or_wait()
    database.down = True
    ledger.add(a_record(2))
    await ledger._store_or_wait()

    assert pauses == [1, 2, 4, 4, 4, 1]


async def test_the_writer_outlives_what_nobody_foresaw():
    database = FakeDatabase()
    ledger = Uploads(database)
    ledger.add(a_record(1))
    database.add_many = None

    await asyncio.wait_for(ledger._store_or_wait(), 5)
    del database.add_many
    await ledger._store_or_wait()

    assert [record.completion_id for record in database.stored] == ["1"]


async def test_the_writer_stores_what_arrives_without_being_asked():
    database = FakeDatabase()
    ledger = Uploads(database)
    stored = asyncio.Event()
    add_many = database.add_many

    async def add_and_tell(records):
        await add_many(records)
        stored.set()

    database.add_many = add_and_tell
    writer = asyncio.create_task(ledger.run())

    ledger.add(a_record(1))
    async with asyncio.timeout(5):
        await stored.wait()

    assert len(database.stored) == 1
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer


async def test_the_writer_stores_what_came_while_it_stored(monkeypatch):
    monkeypatch.setattr(ledgers, "_GATHER_SECONDS", 0.001)
    database = FakeDatabase()
    ledger = Uploads(database)
    everything, add_many = asyncio.Event(), database.add_many

    async def add_while_another_comes(records):
        await add_many(records)
        if len(database.stored) < 3:
            ledger.add(a_record(len(database.stored)))
        else:
            everything.set()

    database.add_many = add_while_another_comes
    writer = asyncio.create_task(ledger.run())
    ledger.add(a_record(0))
    async with asyncio.timeout(5):
        await everything.wait()
    writer.cancel()
    await asyncio.wait([writer])

    assert database.batches == [1, 1, 1]


@pytest.mark.parametrize("before", [0, 1])
async def test_a_whole_batch_does_not_wait_to_be_collected(monkeypatch, before):
    monkeypatch.setattr(ledgers, "_GATHER_SECONDS", 3600)
    database = FakeDatabase()
    ledger = Uploads(database)
    stored, add_many = asyncio.Event(), database.add_many

    async def add_and_tell(records):
        await add_many(records)
        stored.set()

    database.add_many = add_and_tell
    writer = asyncio.create_task(ledger.run())
    for number in range(before):
        ledger.add(a_record(number))
    for _ in range(3):
        await asyncio.sleep(0)  # the writer collects what is there
    for number in range(before, ledgers._BATCH):
        ledger.add(a_record(number))
    async with asyncio.timeout(5):
        await stored.wait()
    writer.cancel()
    await asyncio.wait([writer])

    assert database.batches == [ledgers._BATCH]


async def test_a_full_ledger_refuses_new_calls_and_still_takes_what_was_begun():
    ledger = Uploads(FakeDatabase(), capacity=1)
    ledger.admit()
    ledger.add(a_record(1))

    with pytest.raises(Overloaded):
        ledger.admit()
    ledger.add(a_record(2))

    assert ledger.backlog == 2


async def test_a_record_that_cannot_be_read_holds_up_no_other(caplog):
    database = FakeDatabase()
    ledger = Uploads(database)
    ledger.add(a_record(1))
    ledger._queue.append(b"\xc1")
    ledger.add(a_record(2))

    await ledger.flush()

    assert [record.completion_id for record in database.stored] == ["1", "2"]
    assert ledger.backlog == 0
    assert "1 bytes cannot be read" in caplog.text
