"""S3.23: monitors read each usage record once, and count as if they had read all at each look."""

import asyncio
import random
import re
from datetime import timedelta

import pytest
from sqlalchemy import delete, event, text, update

from llm_service.domain.completion import Cost
from llm_service.errors import StorageUnavailable
from llm_service.storage.monitor import Monitor
from llm_service.storage.tables import usage_records
from tests.integration.monitoring import (
    OWN,
    SETTLED,
    SHARED,
    START,
    monitors,
)

UNAVAILABLE = "PROVIDER_UNAVAILABLE"


async def execute(database, statement):
    async with database.begin() as tx:
        await tx.usage._connection.execute(statement)


async def counted_anew(database, clock):
    """What a process counts that has just begun."""
    other = monitors(database, clock)
    await other.look()
    return other._tally


async def test_a_second_look_reads_no_record_again(here, records, database, clock):
    await records.add(3)
    await here.look()

    await execute(database, update(usage_records).values(error_reason=UNAVAILABLE))
    again = await here.look()
    await records.add(2, UNAVAILABLE)
    later = await here.look()
    [alert] = await monitors(database, clock).look()

    assert (again, later) == ((), ())
    assert alert.observed == 5


async def test_what_has_not_settled_is_counted_by_a_later_look(here, records, clock):
    await records.add_fresh(3, UNAVAILABLE)
    clock.now += SETTLED / 2
    early = await here.look()
    clock.now -= SETTLED / 4
    await records.add_fresh(2, UNAVAILABLE)  # by another replica, whose batch took longer
    clock.now += SETTLED

    [alert] = await here.look()

    assert early == ()
    assert alert.observed == 5


async def test_what_is_stored_late_counts_in_the_window_of_its_attempt(here, records, clock):
    clock.pass_(minutes=4)
    await records.add(1, at=clock.now)
    await here.look()
    await records.add(3, UNAVAILABLE)
    await records.add(9, UNAVAILABLE, provider=OWN, at=START - timedelta(seconds=1))

    [alert] = await here.look()

    assert (alert.subject, alert.window_start_time, alert.observed) == (SHARED, START, 3)


@pytest.mark.parametrize("of", ["attempts", "slow"])
@pytest.mark.parametrize("end", [StorageUnavailable("it is away"), asyncio.CancelledError()])
async def test_a_look_that_fails_loses_nothing(here, records, monkeypatch, of, end):
    await records.add(7)
    await here.look()
    await records.add(3, UNAVAILABLE)
    asked = getattr(Monitor, of)

    async def ended(*arguments):
        await asked(*arguments)
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, of, ended)
        with pytest.raises(type(end)):
            await here.look()
    [alert] = await here.look()

    assert (alert.observed, alert.limit) == (30, 10)


async def test_an_alert_that_could_not_be_stored_is_raised_by_the_next_look(
    here, records, monkeypatch
):
    await records.add(3, UNAVAILABLE)

    async def away(alerts):
        raise StorageUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(here._alarm, "sound", away)
        with pytest.raises(StorageUnavailable):
            await here.look()
    [alert] = await here.look()

    assert alert.observed == 3


@pytest.mark.parametrize("minutes", [1, 4, 9, 14, 60])
async def test_a_replica_that_did_not_look_for_a_while_counts_all(
    here, records, database, clock, minutes
):
    other = monitors(database, clock)
    await records.add(2, UNAVAILABLE)
    await here.look()
    clock.pass_(minutes=minutes)
    window = clock.now.replace(second=0) - timedelta(minutes=clock.now.minute % 5)
    await records.add(2, UNAVAILABLE, at=window)
    seen = await other.look()
    await records.add(2, UNAVAILABLE, at=window, provider=OWN)
    await records.add(1, UNAVAILABLE, at=window, provider=OWN)
    await records.add(1, UNAVAILABLE, at=window)

    by_subject = {one.subject: one for one in await here.look()}

    assert [one.window_start_time for one in seen] == [START] * (minutes == 1)
    assert by_subject[OWN].observed == 3
    assert here._tally == await counted_anew(database, clock)


async def test_a_clock_that_is_put_back_has_all_counted_anew(here, records, database, clock):
    await records.add(1)
    await here.look()
    clock.pass_(minutes=11)
    await here.look()
    clock.pass_(minutes=-11)
    await records.add(3, UNAVAILABLE)

    alerts = await here.look()

    assert alerts == ()  # it served once
    assert sum(one.failed for one in here._tally.windows.values()) == 3
    assert here._tally == await counted_anew(database, clock)


@pytest.mark.parametrize("seed", range(10))
async def test_however_records_are_spread_over_looks_they_count_as_in_one(
    here, records, database, clock, seed
):
    chance = random.Random(seed)  # noqa: S311 - the same each time
    raised = []
    for _ in range(20):
        await records.add_fresh(
            chance.randint(1, 4),
            chance.choice(["", "", UNAVAILABLE, "CANCELLED"]),
            provider=chance.choice([SHARED, OWN]),
            seconds=chance.choice([0.5, 2.0, None]),
            at=clock.now - timedelta(seconds=chance.choice([0, 0, 1, 200, 400])),
            cost=chance.choice([None, Cost(5), Cost(5, incomplete=True)]),
        )
        clock.pass_(seconds=chance.choice([0, 0.5, 1.999, 2.001, 7, 40]))
        if chance.random() < 0.5:
            raised += await here.look()
    raised += await here.look()

    assert here._tally == await counted_anew(database, clock)
    told = [(one.kind, one.subject, one.window_start_time) for one in raised]
    assert len(told) == len(set(told))


async def test_slow_responses_are_told_of_where_some_were_deleted_since(here, records, database):
    await records.add(9, seconds=2.5)
    await here.look()
    ids = (await stored_ids(database))[:5]
    await execute(database, delete(usage_records).where(usage_records.c.record_id.in_(ids)))
    await records.add(1, seconds=2.5)

    [alert] = await here.look()

    assert alert.observed == 2500


async def test_what_was_slow_and_is_there_no_more_is_no_alert(here, records, database):
    await records.add(9, seconds=2.5)
    await here.look()
    await execute(database, delete(usage_records))
    await records.add(1)

    assert await here.look() == ()


async def stored_ids(database):
    async with database.read() as tx:
        return [one.record_id for one in await tx.usage.since("", None, 100)]


async def plan(database, look):
    """How the database finds the usage records of a look, where it holds so many that it counts."""
    said = []
    engine = database._reader.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *call: said.append(call[2:4]))
    await look()
    [(statement, values)] = [one for one in said if "FROM usage_records" in one[0]]
    async with database._reader.connect() as connection:
        if database.dialect == "postgresql":
            await connection.execute(text("SET enable_seqscan = off"))
        explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[database.dialect]
        rows = await connection.exec_driver_sql(f"{explain} {statement}", values)
        return "\n".join(row[-1] for row in rows)


async def test_an_index_leads_to_what_a_look_has_not_read_and_to_no_other_months(
    here, records, database
):
    first = await plan(database, here.look)
    await records.add(1)

    later = await plan(database, here.look)

    if database.dialect == "sqlite":
        assert "(create_time>? AND create_time<?)" in first
        assert "(record_id>? AND record_id<?)" in later
    else:
        for one, column in ((first, "create_time"), (later, "record_id")):
            assert re.search(rf"Index Cond: \(+{column}", one)
            assert "Seq Scan" not in one
            assert len(set(re.findall(r" on (usage_records_\w+) ", one))) == 1
