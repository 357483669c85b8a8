"""When parts of days are summed up, by whom, and what is told of those that cannot be."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from llm_service.domain.completion import Cost
from llm_service.domain.usage import TimeBucket, UsageQuery
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
from llm_service.storage import part_sums
from llm_service.storage.database import Database
from llm_service.storage.tables import usage_day_parts
from llm_service.storage.usage_day_parts import UsageDayParts
from tests.integration.samples import a_record, an_attempt

DAY = timedelta(days=1)
MARCH = datetime(2026, 3, 10, 23, 30, tzinfo=UTC)
LATER = datetime(2027, 6, 1, tzinfo=UTC)
MOST = 2**63 - 1
IN_BERLIN = UsageQuery(
    "acme",
    datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(2026, 4, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    TimeBucket.DAY,
    "Europe/Berlin",
)


@pytest.fixture(autouse=True)
def everybody_is_dense(monkeypatch):
    monkeypatch.setattr(part_sums, "DENSE", 1)


@pytest.fixture
async def database(postgresql_url):
    async with Database.open(postgresql_url) as database:
        yield database


@pytest.fixture
def made(monkeypatch):
    """The days whose parts were made, in order."""
    days, make = [], UsageDayParts.make

    async def spy(self, day):
        days.append(day)
        await make(self, day)

    monkeypatch.setattr(UsageDayParts, "make", spy)
    return days


def upkeep(database, now=LATER):
    return UsageUpkeep(database, now=lambda: now)


def records(days=5):
    return [a_record(n, create_time=MARCH + n * DAY) for n in range(days)]


def dates(*numbers):
    return [MARCH.date() + n * DAY for n in numbers]


async def store(database, *records):
    async with database.begin() as tx:
        await tx.usage.add_many(records)


async def report(database):
    async with database.read() as tx:
        return (await tx.usage.query(IN_BERLIN))[0]


async def differences(database):
    async with database.read() as tx:
        return await tx.usage_day_parts.differences(MARCH.date())


async def wrong_days(database):
    return [day async for day, wrong in upkeep(database).check() if wrong]


async def test_a_day_is_divided_an_hour_after_it_is_over(database, made):
    await store(database, a_record(1, create_time=MARCH))
    midnight = datetime(2026, 3, 11, tzinfo=UTC)

    early = await upkeep(database, midnight + timedelta(minutes=59)).divide()
    divided = await upkeep(database, midnight + timedelta(hours=1)).divide()

    assert (early, divided) == (0, 1)
    assert await upkeep(database).divide() == 0
    assert made == dates(0)


async def test_the_newest_days_are_divided_first(database, made):
    await store(database, *records())

    assert await upkeep(database).divide() == 5
    assert made == dates(4, 3, 2, 1, 0)


async def test_of_several_replicas_one_divides_each_day(database, made):
    await store(database, *records())

    counts = await asyncio.gather(*(upkeep(database).divide() for _ in range(3)))

    assert sorted(made) == dates(0, 1, 2, 3, 4)
    assert sum(counts) == 5


async def test_whoever_finds_another_one_at_it_leaves_it_to_that_one(database, made):
    await store(database, *records(1))
    replica = upkeep(database)
    async with database.begin() as tx:
        assert await tx.usage_day_parts.turn()

        left = await replica.divide()

    assert (left, made) == (0, [])
    assert await replica.divide() == 1


async def test_a_late_record_has_its_day_and_the_two_after_it_divided_anew(database, made):
    await store(database, *records())
    await upkeep(database).divide()
    made.clear()
    await store(database, a_record(9, create_time=MARCH))

    assert await upkeep(database).divide() == 3
    assert made == dates(2, 1, 0)


@pytest.mark.parametrize(("age", "sweep"), [(4 * DAY, 1), (5 * DAY, 2)])
async def test_late_records_of_recent_days_are_summed_up_soon_of_others_the_next_day(
    database, age, sweep
):
    now = MARCH + age
    replica = UsageUpkeep(database, now=lambda: now)
    await store(database, a_record(1, create_time=MARCH))
    await replica.divide()
    await store(database, a_record(2, create_time=MARCH))

    found = [await replica.divide()]
    now += DAY
    found.append(await replica.divide())

    assert found.index(1) == sweep - 1


async def test_a_day_of_numbers_too_large_to_add_up_is_divided(database):
    attempt = an_attempt(start_time=MARCH, cost=Cost(2**62, reported_nano_usd=0))
    large = [a_record(n, "rival", create_time=MARCH, attempt=attempt) for n in range(3)]
    below = replace(attempt, cost=Cost(MOST, reported_nano_usd=-2))
    large += [a_record(n, create_time=MARCH, attempt=below) for n in range(3)]
    await store(database, *large, a_record(4, create_time=MARCH + DAY))
    from_records = await report(database)

    assert await upkeep(database).divide() == 2

    sums = from_records[0].metrics
    assert (sums.cost_nano_usd, sums.reported_difference_nano_usd) == (MOST, -MOST - 1)
    assert await report(database) == from_records
    assert await wrong_days(database) == []
    assert [day async for day in upkeep(database).rebuild()] == dates(0, 1)
    assert await report(database) == from_records


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StorageUnavailable("away")])
async def test_a_day_that_cannot_be_divided_keeps_none_of_the_others_back(
    database, monkeypatch, caplog, error
):
    await store(database, *records(3))
    replica, make = upkeep(database), UsageDayParts.make

    async def failing(self, day):
        await make(self, day)
        if day == MARCH.date() + DAY:
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(UsageDayParts, "make", failing)
        divided = await replica.divide()

    assert divided == 2
    (told,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert told.getMessage().startswith("parts of 2026-03-11 were not summed up")
    assert await replica.divide() == 1


async def test_a_day_left_for_later_is_not_divided_once_its_records_may_be_gone(database, made):
    replica = upkeep(database)
    await store(database, a_record(1, create_time=MARCH))
    async with database.begin() as tx:
        assert await tx.usage_day_parts.turn()
        await replica.divide()
        await tx.usage_days.set_kept_from(MARCH.date() + DAY)

    assert await replica.divide() == 0
    assert made == []


async def test_days_are_left_for_later_when_the_database_does_not_answer(
    database, monkeypatch, made
):
    await store(database, *records(3))

    async def away(*_):
        raise StorageUnavailable("away")

    monkeypatch.setattr(UsageDayParts, "turn", away)
    monkeypatch.setattr(Database, "ping", away)

    with pytest.raises(StorageUnavailable):
        await upkeep(database).divide()
    assert made == []


async def test_an_attempt_that_ends_before_it_starts_is_in_the_parts_of_its_day(database):
    past_midnight = an_attempt(start_time=MARCH + timedelta(hours=1))
    await store(database, a_record(1, create_time=MARCH, attempt=past_midnight))

    await upkeep(database).divide()

    assert await differences(database) == 0
    assert await wrong_days(database) == []


async def test_a_day_that_does_not_hold_is_told_of_and_made_anew_only_with_more_records(
    database, made
):
    ahead = an_attempt(start_time=MARCH + 5 * DAY)
    await store(database, a_record(1, create_time=MARCH, attempt=ahead))
    await store(database, a_record(2, create_time=MARCH))
    before = await report(database)

    divided = [await upkeep(database).divide() for _ in range(2)]
    told = await differences(database)
    await store(database, a_record(3, create_time=MARCH))

    assert before
    assert divided == [1, 0]
    assert told == 1
    assert await differences(database) == 0  # stale: a sweep mends it
    assert await upkeep(database).divide() == 1
    assert made == dates(0, 0)


async def test_rebuilding_makes_the_parts_of_each_day_once(database, made):
    await store(database, *records())
    await upkeep(database).divide()
    made.clear()

    days = [day async for day in upkeep(database).rebuild()]

    assert days == made == dates(0, 1, 2, 3, 4)
    assert await upkeep(database).divide() == 0


async def test_each_wrong_row_is_one_difference(database):
    await store(database, *records(1))
    await upkeep(database).divide()
    async with database.begin() as tx:
        await tx.usage._connection.execute(update(usage_day_parts).values(cost_nano_usd=8))

    assert await differences(database) == 2  # everybody's, and the tenant's own


async def test_usage_is_stored_while_parts_are_checked_and_made(database, monkeypatch):
    await store(database, *records(1))
    await upkeep(database).divide()
    check = UsageDayParts.differences

    async def meanwhile(self, day):
        found = await check(self, day)
        await store(database, a_record(8, create_time=MARCH))
        return found + await check(self, day)

    monkeypatch.setattr(UsageDayParts, "differences", meanwhile)
    async with asyncio.timeout(20), database.begin() as tx:
        assert await tx.usage_day_parts.turn()

        assert await wrong_days(database) == []


async def test_on_sqlite_no_day_is_divided():
    assert await UsageUpkeep(SimpleNamespace(dialect="sqlite")).divide() == 0


async def test_a_piece_of_many_days_is_read_from_records(database):
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    pieces = [(0, start, start + n * DAY) for n in (3, 4)]

    async with database.read() as tx:
        parts, rest = await part_sums.find(tx.usage._connection, IN_BERLIN, pieces, date.min)

    assert len(parts) == 4
    assert rest == pieces[1:]
