"""Sums by day that hold, months of records, and an end to old ones."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import create_engine, delete, insert, make_url, select, update

from llm_service.domain.completion import Cost, TokenUsage
from llm_service.domain.listing import Listing
from llm_service.domain.usage import TimeBucket, UsageQuery
from llm_service.errors import InvalidField, StorageUnavailable
from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
from llm_service.storage import migrations, tables
from llm_service.storage.database import Database
from tests.integration.samples import NOW, a_record, an_attempt

BEFORE = migrations.REVISIONS[migrations.REVISIONS.index("0019") - 1]
OLD = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)
YEAR = {
    "start_time": datetime(2026, 1, 1, tzinfo=UTC),
    "end_time": datetime(2027, 1, 1, tzinfo=UTC),
}


def a_priced_record(number, when, **changes):
    attempt = an_attempt(start_time=when, usage=TokenUsage(10, 5), cost=Cost(7))
    return a_record(number, create_time=when, attempt=attempt, **changes)


async def store(database, *records):
    async with database.begin() as tx:
        await tx.usage.add_many(records)


async def total(database, **query):
    async with database.read() as tx:
        return (await tx.usage.query(UsageQuery("acme", **YEAR, **query)))[1]


def upkeep(database, months=0, now=NOW):
    return UsageUpkeep(database, months, lambda: now)


async def wrong_days(database):
    return [day async for day, wrong in upkeep(database).check() if wrong]


@pytest.fixture
def direct(postgresql_url):
    """The server itself, as a superuser."""
    url = postgresql_url.replace("+psycopg", "", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


async def test_a_sum_that_was_tampered_with_is_found_and_made_anew(database):
    await store(database, a_priced_record(1, NOW), a_priced_record(2, NOW + timedelta(days=1)))
    async with database.begin() as tx:
        days = tables.usage_days
        await tx.usage_days._connection.execute(
            update(days).where(days.c.day == NOW.date()).values(cost_nano_usd=8)
        )

    found = await wrong_days(database)
    rebuilt = [day async for day in upkeep(database).rebuild()]

    assert found == [NOW.date()]
    assert rebuilt == [NOW.date(), NOW.date() + timedelta(days=1)]
    assert await wrong_days(database) == []
    assert (await total(database)).cost_nano_usd == 14


async def test_sums_take_in_a_batch_of_numbers_too_large_to_add_up(database):
    most = 2**63 - 1
    usage, cost = TokenUsage(most, reported_nano_usd=most), Cost(most, reported_nano_usd=most)
    attempt = an_attempt(start_time=NOW, usage=usage, cost=cost)
    records = [a_record(number, create_time=NOW, attempt=attempt) for number in range(3)]

    await store(database, *records[:2])
    await store(database, records[2])

    async with database.read() as tx:
        days = tables.usage_days.c
        kept = select(days.attempt_count, days.input_tokens, days.reported_nano_usd)
        assert [*(await tx.usage_days._connection.execute(kept)).one()] == [3, most, most]


@pytest.mark.parametrize("then", ["stored", "checked"])
async def test_sums_of_sqlite_take_in_what_a_writer_stored_that_knows_nothing_of_them(
    sqlite_url, then
):
    async with Database.open(sqlite_url) as database:
        await store(database, a_priced_record(1, NOW))
        with closing(sqlite3.connect(sqlite_url.partition("///")[2])) as connection, connection:
            names = [row[1] for row in connection.execute("PRAGMA table_info(usage_records)")]
            changed = {"record_id": "'other'", "attempt_id": "'other'", "completion_id": "'other'"}
            columns = ", ".join(changed.get(name, name) for name in names)
            connection.execute(
                f"INSERT INTO usage_records SELECT {columns} FROM usage_records"  # noqa: S608
            )

        if then == "stored":
            await store(database, a_priced_record(2, NOW))
            expected = 3
        else:
            assert await wrong_days(database) == []
            expected = 2

        assert (await total(database, time_bucket=TimeBucket.DAY)).request_count == expected
        assert await wrong_days(database) == []


def test_sums_are_kept_on_the_way_back_to_the_release_before(sqlite_url):
    values = {
        column.name: NOW if isinstance(column.type, tables.Time) else 0
        for column in tables.usage_records.c
        if not column.nullable
    }
    adds = insert(tables.usage_records)
    engine = create_engine(make_url(sqlite_url).set(drivername="sqlite"))
    found = []
    for revision in ("head", "0022", "0019", "head"):
        if revision == "head":
            migrations.upgrade(sqlite_url)
        else:
            migrations.downgrade(sqlite_url, revision)
        with engine.begin() as connection:
            ids = {"record_id": f"{len(found)}", "completion_id": f"{len(found)}"}
            connection.execute(adds.values({**values, **ids}))
            if revision != "0019":
                connection.exec_driver_sql("DELETE FROM usage_records_unsummed")
            found.append(connection.execute(select(tables.usage_days.c.call_count)).scalar_one())
    engine.dispose()

    assert found == [1, 2, 3, 4]


async def test_days_without_sums_are_read_from_records_until_they_are_summed_up(database):
    await store(database, *(a_priced_record(n, NOW + timedelta(days=n)) for n in range(3)))
    async with database.begin() as tx:  # as in a database that is older than its sums
        await tx.usage_days._connection.execute(delete(tables.usage_day_durations))
        await tx.usage_days._connection.execute(delete(tables.usage_days))
        await tx.usage_days.set_summed_from(NOW.date() + timedelta(days=3))
    before = await total(database, time_bucket=TimeBucket.DAY)

    summed = await upkeep(database).sum_up()

    assert before.request_count == 3
    assert summed == 3
    assert await upkeep(database).sum_up() == 0
    assert await wrong_days(database) == []
    assert await total(database, time_bucket=TimeBucket.DAY) == before


async def test_old_records_are_forgotten_and_their_sums_are_not(database):
    await upkeep(database, now=OLD).prepare_months()
    await store(database, *(a_priced_record(n, OLD - timedelta(seconds=n)) for n in range(3)))
    await store(database, a_priced_record(9, NOW))

    await upkeep(database, months=6).forget()

    async with database.read() as tx:
        assert len((await tx.usage.list("acme", Listing(9))).items) == 1
    by_day = await total(database, time_bucket=TimeBucket.DAY, group_by=("model",))
    assert (by_day.request_count, by_day.cost_nano_usd) == (4, 28)
    assert [day async for day in upkeep(database).rebuild()] == [NOW.date()]
    assert (await total(database)).request_count == 4
    with pytest.raises(InvalidField, match="2026-05-02") as refused:
        await total(database, group_by=("session",))
    assert refused.value.violations[0].field == "start_time"


async def test_records_are_kept_for_good_unless_somebody_says_for_how_long(database):
    await store(database, a_priced_record(1, OLD))

    await upkeep(database, now=OLD + timedelta(days=9999)).forget()

    async with database.read() as tx:
        assert len((await tx.usage.list("acme", Listing(9))).items) == 1


async def test_nothing_is_forgotten_before_it_is_summed_up(database):
    await store(database, a_priced_record(1, OLD))
    async with database.begin() as tx:
        await tx.usage_days.set_summed_from(NOW.date())

    await upkeep(database, months=1).forget()

    async with database.read() as tx:
        assert len((await tx.usage.list("acme", Listing(9))).items) == 1


async def test_months_are_made_ahead_and_take_in_what_had_no_month(postgresql_url, direct):
    async with Database.open(postgresql_url) as database:
        await store(database, a_priced_record(1, datetime(2030, 2, 3, tzinfo=UTC)))
        now = datetime(2030, 1, 31, tzinfo=UTC)
        await asyncio.gather(*(upkeep(database, now=now).prepare_months() for _ in range(3)))
        async with database.begin() as tx:
            again = await tx.usage_months.prepare(now.date())

    places = direct.execute("SELECT tableoid::regclass::text FROM usage_records").fetchall()
    assert places == [("usage_records_2030_02",)]
    assert again == ()


async def test_an_attempt_has_one_record_whatever_month_it_is_settled_in(database):
    started = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    first = replace(a_priced_record(1, started), attempt_id="a-1")
    late = replace(first, record_id="acme-2", create_time=started + timedelta(hours=1))

    await store(database, first)
    await store(database, late)

    async with database.read() as tx:
        assert (await tx.usage.list("acme", Listing(9))).items == (first,)


async def test_every_month_holds_to_the_lock_between_tenants(direct, ordinary_user):
    direct.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ordinary_user}")
    months = direct.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'usage_records'::regclass"
    ).fetchall()
    secured = direct.execute(
        "SELECT relname FROM pg_class JOIN pg_policy ON polrelid = pg_class.oid"
        " WHERE relrowsecurity AND relforcerowsecurity AND relname LIKE 'usage_records_%'"
    ).fetchall()

    assert len(months) >= 5
    assert sorted(secured) == sorted(months)


async def test_the_ordinary_owner_of_the_tables_makes_and_drops_months(confined_url):
    async with Database.open(confined_url) as database:
        await upkeep(database, now=OLD).prepare_months()
        await store(database, a_priced_record(1, OLD))

        await upkeep(database, months=1).forget()

        assert (await total(database)).request_count == 1
        async with database.read() as tx:
            assert (await tx.usage.list("acme", Listing(9))).items == ()


async def test_a_database_that_has_records_gets_months_and_keeps_them(postgresql_url, direct):
    recent = datetime.now(UTC) - timedelta(days=2)
    attempts = [replace(a_priced_record(n, recent), attempt_id=f"a-{n}") for n in range(3)]
    query = UsageQuery("acme", recent - timedelta(days=2), recent + timedelta(days=5))
    migrations.downgrade(postgresql_url, BEFORE)
    async with Database.open(postgresql_url) as database:
        await store(database, *attempts)

        migrations.upgrade(postgresql_url)
        await store(database, attempts[0], replace(a_priced_record(9, recent), attempt_id="a-9"))

        await upkeep(database).sum_up()
        async with database.read() as tx:
            _, counted = await tx.usage.query(query)
        assert counted.request_count == 4
        assert await wrong_days(database) == []
    (place,) = set(direct.execute("SELECT tableoid::regclass::text FROM usage_records").fetchall())
    assert place[0].startswith("usage_records_before_")
    migrations.check(postgresql_url)
    migrations.downgrade(postgresql_url, BEFORE)
    assert direct.execute("SELECT count(*) FROM usage_records").fetchone() == (4,)


async def test_a_part_of_the_upkeep_that_fails_keeps_none_of_the_others_back(any_database, caplog):
    done = asyncio.Event()

    class Failing(UsageUpkeep):
        async def prepare_months(self):
            raise StorageUnavailable("away")

        async def sum_up(self):
            raise RuntimeError("a bug")

        async def forget(self):
            done.set()
            return 0

    task = asyncio.create_task(Failing(any_database).run())
    async with asyncio.timeout(20):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert "does not answer" in caplog.text
