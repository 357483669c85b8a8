"""Reports of the days of other time zones, from sums of parts of days, held against records."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo, available_timezones

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from llm_service.domain.completion import Cost
from llm_service.domain.usage import TimeBucket, UsageQuery
from llm_service.errors import InvalidField
from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
from llm_service.storage import buckets, part_sums
from llm_service.storage.database import Database
from llm_service.storage.tables import usage_day_parts
from tests.integration.reporting import DAYS, expected, records_and_queries
from tests.integration.samples import a_record, an_attempt

ZONES = [
    *("Europe/Berlin", "Europe/London", "Asia/Kolkata", "Asia/Kathmandu", "America/Los_Angeles"),
    *("America/Havana", "Australia/Lord_Howe", "Pacific/Chatham", "Atlantic/Azores"),
]
LATER = datetime(2027, 6, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 10, 23, 30, tzinfo=UTC)
IN_BERLIN = UsageQuery(
    "acme",
    datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(2026, 4, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    TimeBucket.DAY,
    "Europe/Berlin",
    group_by=("model",),
)


@pytest.fixture(autouse=True)
def everybody_is_dense(monkeypatch):
    monkeypatch.setattr(part_sums, "DENSE", 1)


def upkeep(database, months=0, now=LATER):
    return UsageUpkeep(database, months, lambda: now)


async def store(database, *records):
    async with database.begin() as tx:
        await tx.usage.add_many(records)


async def report(database, query=IN_BERLIN):
    async with database.read() as tx:
        return await tx.usage.query(query)


async def change(database, statement):
    async with database.begin() as tx:
        await tx.usage._connection.execute(statement)


async def wrong_days(database):
    return [day async for day, wrong in upkeep(database).check() if wrong]


@st.composite
def by_zone(draw):
    records, query = draw(records_and_queries())
    shift = timedelta(minutes=draw(st.sampled_from([0, 0, 0, 30, 7])))
    changed = replace(
        query,
        start_time=query.start_time + shift,
        end_time=query.end_time + shift,
        time_zone=draw(st.sampled_from(ZONES)),
        time_bucket=draw(st.sampled_from([TimeBucket.DAY, TimeBucket.DAY, TimeBucket.WEEK, None])),
        group_by=draw(st.sampled_from([(), ("provider",), ("model",), ("model", "provider")])),
        filters=draw(st.sampled_from([{}, {}, {"provider": "p"}, {"model": "p/m"}])),
    )
    if draw(st.booleans()):  # earlier attempts may come late; ids still are in order of time
        records.sort(key=lambda record: record.create_time)
        ids = [f"{query.tenant}-{n:06}" for n in range(len(records))]
        records = [replace(one, record_id=id_) for one, id_ in zip(records, ids, strict=True)]
        records = draw(st.permutations(records))
    return records, changed, draw(st.integers(0, len(records)))


@pytest.fixture
def some_parts_used(monkeypatch):
    """A test by examples that never came upon parts would show nothing."""
    used, find = [], part_sums.find

    async def spy(*arguments):
        found = await find(*arguments)
        used.extend(found[0])
        return found

    monkeypatch.setattr(part_sums, "find", spy)
    yield
    assert used


@given(asked=by_zone())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_report_by_zone_is_the_sum_of_its_records(
    postgresql_database, some_parts_used, asked
):
    database = postgresql_database
    records, query, early = asked
    everybodys = replace(query, tenant=None)
    for some in (records[:early], records[early:]):  # the latter are late
        await store(database, *some)
        found = await report(database, query)
        of_all = await report(database, everybodys)
        await upkeep(database).divide()

        assert await report(database, everybodys) == of_all
        assert await report(database, query) == found

    assert found == expected(records, query)
    async with database.read() as tx:
        for day in {record.create_time.date() for record in records}:
            assert not await tx.usage_day_parts.differences(day)
    await change(database, delete(usage_day_parts))
    assert await report(database, everybodys) == of_all


async def found_in_parts(database, zone, day):
    """What is made of parts of the week around a day, in a zone, and what is not."""
    start, end = day - timedelta(days=3), day + timedelta(days=4)
    cuts = [
        (n, *cut) for n, cut in enumerate(buckets.cut(start, end, TimeBucket.DAY, ZoneInfo(zone)))
    ]
    query = replace(IN_BERLIN, time_zone=zone)
    async with database.read() as tx:
        found, rest = await part_sums.find(tx.usage._connection, query, cuts, date.min)
    return found, rest, cuts


async def test_the_days_of_every_zone_are_made_of_parts(postgresql_database):
    for zone, day in product(ZONES, DAYS):
        found, rest, _ = await found_in_parts(postgresql_database, zone, day)

        assert rest == [], (zone, day)
        assert sum(until - first for *_, first, until in found) == 7 * part_sums.END, (zone, day)


async def test_sqlite_has_no_parts_of_days(any_database):
    found, rest, cuts = await found_in_parts(any_database, ZONES[0], DAYS[0])

    assert (found, rest) == ([], cuts)


def test_parts_begin_wherever_a_zone_has_its_midnight_now():
    midnights = {
        datetime(2026, month, 1, tzinfo=ZoneInfo(name)).astimezone(UTC)
        for name in available_timezones()
        for month in (1, 4, 7, 10)
    }

    assert {one.hour * 60 + one.minute for one in midnights} <= {*part_sums.STARTS}


async def test_sums_of_parts_are_what_is_read(postgresql_database):
    database = postgresql_database
    await store(
        database, a_record(1, create_time=MARCH, attempt=an_attempt(start_time=MARCH, cost=Cost(7)))
    )
    await upkeep(database).divide()
    await change(database, update(usage_day_parts).values(cost_nano_usd=8))

    (row,), total = await report(database)
    wrong = await wrong_days(database)
    rebuilt = [day async for day in upkeep(database).rebuild()]

    assert row.metrics.cost_nano_usd == 8
    assert row.bucket_start_time == datetime(2026, 3, 10, 23, tzinfo=UTC)
    assert total.cost_nano_usd == 7
    assert wrong == rebuilt == [MARCH.date()]
    assert (await report(database))[0][0].metrics.cost_nano_usd == 7


async def test_an_attempt_stored_late_makes_another_one_that_follows_it(database):
    following = a_record(2, create_time=MARCH + timedelta(hours=1), completion_id="call")
    before = a_record(1, create_time=MARCH - timedelta(hours=1), completion_id="call")
    found = []
    for record in (following, before):
        await store(database, record)
        await upkeep(database).divide()
        found.append((await report(database))[0])
    await change(database, delete(usage_day_parts))

    assert [[row.metrics.fallback_count for row in rows] for rows in found] == [[0], [0, 1]]
    assert found[1] == (await report(database))[0]


async def test_a_tenant_of_few_attempts_is_read_from_its_records(postgresql_database, monkeypatch):
    database = postgresql_database
    monkeypatch.setattr(part_sums, "DENSE", 2)
    await store(database, *(a_record(n, create_time=MARCH) for n in range(2)))
    await store(database, a_record(3, "rival", create_time=MARCH))
    await upkeep(database).divide()
    await change(database, update(usage_day_parts).values(error_count=9))

    for tenant, errors in (("acme", 9), ("rival", 0), (None, 9)):
        (row,), _ = await report(database, replace(IN_BERLIN, tenant=tenant))
        assert row.metrics.error_count == errors


async def test_days_after_a_tenants_day_of_few_attempts_are_made_of_parts(
    postgresql_database, monkeypatch
):
    database = postgresql_database
    monkeypatch.setattr(part_sums, "DENSE", 2)
    await store(database, a_record(1, create_time=MARCH))
    await store(
        database, *(a_record(n, create_time=MARCH + timedelta(days=1)) for n in range(2, 4))
    )
    await upkeep(database).divide()
    await change(database, update(usage_day_parts).values(error_count=9))

    rows, _ = await report(database)

    assert [row.metrics.error_count for row in rows] == [0, 9]


async def test_days_that_were_divided_outlive_their_records(postgresql_database):
    database = postgresql_database
    await upkeep(database, now=MARCH).prepare_months()
    await store(database, a_record(1, create_time=MARCH))
    before, _ = await report(database)
    await upkeep(database).divide()
    inner = replace(IN_BERLIN, start_time=datetime(2026, 3, 5, tzinfo=UTC), end_time=LATER)
    await upkeep(database, months=2).forget()

    assert (await report(database, inner))[0] == before
    await change(database, delete(usage_day_parts))
    with pytest.raises(InvalidField, match="2027"):
        await report(database, inner)


async def test_days_older_than_their_sums_are_read_from_records(postgresql_database):
    database = postgresql_database
    await store(database, a_record(1, create_time=MARCH))
    await upkeep(database).divide()
    await change(database, update(usage_day_parts).values(error_count=9))
    for later, errors in ((-2, 9), (-1, 0)):
        async with database.begin() as tx:
            await tx.usage_days.set_summed_from(MARCH.date() + timedelta(days=later))

        (row,), _ = await report(database)

        assert row.metrics.error_count == errors


async def test_parts_hold_to_the_lock_between_tenants(postgresql_url, confined_url):
    async with Database.open(confined_url) as database:
        await store(database, a_record(1, create_time=MARCH), a_record(2, "rival"))
        await upkeep(database).divide()
    url = confined_url.replace("+psycopg", "", 1)
    with psycopg.connect(url) as connection:
        seen = {}
        for who in ("acme", "*", ""):
            connection.execute("SELECT set_config('llm.tenant', %s, true)", [who])
            rows = connection.execute("SELECT DISTINCT tenant FROM usage_day_parts")
            seen[who] = {tenant for (tenant,) in rows}

    assert seen == {"acme": {"acme"}, "*": {"*", "acme", "rival"}, "": set()}


@pytest.fixture
async def postgresql_database(postgresql_url):
    async with Database.open(postgresql_url) as database:
        yield database
