"""Sums by day take in any number, in any order, and no record is lost for a sum."""

from datetime import UTC, datetime, time, timedelta
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from llm_service.domain.completion import Cost, ServedBy, TokenUsage
from llm_service.domain.usage import TimeBucket, UsageQuery
from llm_service.storage import migrations, tables
from llm_service.storage.database import Database
from tests.integration.samples import NOW, NUMBERS, a_record, an_attempt

MOST, LEAST = 2**63 - 1, -(2**63)
DAY = NOW.date()
LARGE = [LEAST, LEAST + 1, -(2**62) - 1, -(2**62) + 2**32 - 1, -1, 0, 7, 2**62, MOST]
AMOUNTS = st.sampled_from(LARGE) | st.integers(LEAST, MOST)
COSTS = st.builds(Cost, AMOUNTS, incomplete=st.booleans(), reported_nano_usd=st.none() | AMOUNTS)
BATCHES = st.lists(
    st.lists(st.tuples(COSTS, st.sampled_from(["", "PROVIDER_TIMEOUT"])), min_size=1, max_size=3),
    min_size=1,
    max_size=3,
)
KEPT = tables.usage_days.c
SUMS = (
    KEPT.attempt_count,
    KEPT.input_tokens,
    KEPT.cost_nano_usd,
    KEPT.failed_attempt_nano_usd,
    KEPT.reported_nano_usd,
    KEPT.reported_difference_nano_usd,
)


def clamped(number):
    return max(LEAST, min(number, MOST))


def amounts(cost, error):
    """What one attempt adds to each sum."""
    reported, complete = cost.reported_nano_usd, not cost.incomplete
    difference = clamped(reported - cost.total_nano_usd) if complete and reported is not None else 0
    failed = cost.total_nano_usd if error else 0
    return 1, cost.total_nano_usd, cost.total_nano_usd, failed, reported or 0, difference


def added(numbers):
    """Sums of each kind."""
    return tuple(clamped(sum(column)) for column in zip(*numbers, strict=True))


def a_costly_record(tenant, number, cost, error):
    usage = TokenUsage(cost.total_nano_usd)
    attempt = an_attempt(start_time=NOW, usage=usage, cost=cost)
    return a_record(number, tenant, create_time=NOW, attempt=attempt, error_reason=error)


async def store(database, records):
    async with database.begin() as tx:
        await tx.usage.add_many(records)


async def sums(database, tenant):
    async with database.read() as tx:
        statement = select(*SUMS).where(KEPT.tenant == tenant)
        return [tuple(row) for row in await tx.usage_days._connection.execute(statement)]


async def make_anew(database):
    """And say what was wrong after that."""
    async with database.begin() as tx:
        await tx.usage_days.rebuild(DAY)
        return await tx.usage_days.differences(DAY)


async def by_day(database, tenant, **query):
    query = {"start_time": NOW - timedelta(days=2), "end_time": NOW + timedelta(days=3), **query}
    async with database.read() as tx:
        return (await tx.usage.query(UsageQuery(tenant, time_bucket=TimeBucket.DAY, **query)))[0]


@given(batches=BATCHES)
@example(batches=[[(Cost(2**62, reported_nano_usd=0), "")] * 3])
@example(batches=[[(Cost(-(2**62), reported_nano_usd=0), "")] for _ in range(3)])
@example(batches=[[(Cost(MOST, reported_nano_usd=-2), ""), (Cost(1), "PROVIDER_TIMEOUT")]])
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_attempts_cost_they_are_stored_and_summed_up(database, batches):
    tenant, number = f"tenant-{next(NUMBERS)}", iter(range(99))
    every = [amounts(*one) for batch in batches for one in batch]

    for batch in batches:
        await store(database, [a_costly_record(tenant, next(number), *one) for one in batch])

    folded = accumulate(
        (added([amounts(*one) for one in batch]) for batch in batches),
        lambda so_far, more: added([so_far, more]),
    )
    assert await sums(database, tenant) == [tuple(folded)[-1]]
    assert await make_anew(database) == 0
    assert await sums(database, tenant) == [added(every)]
    whole = await by_day(database, tenant)
    pieces = await by_day(database, tenant, end_time=NOW + timedelta(minutes=1))
    assert [row.metrics for row in whole] == [row.metrics for row in pieces]
    assert whole[0].metrics.reported_difference_nano_usd == added(every)[-1]


def attempts_of_a_call(tenant="acme"):
    """On three days in a row, each at another provider."""
    return [
        a_record(
            number,
            tenant,
            create_time=NOW + timedelta(days=number),
            completion_id=f"{tenant}-call",
            attempt=an_attempt(
                target=ServedBy(f"p{number}", "m"), start_time=NOW + timedelta(days=number)
            ),
        )
        for number in range(3)
    ]


@given(order=st.permutations(range(3)), cuts=st.sets(st.integers(1, 2)))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_an_attempt_counts_as_a_fallback_on_its_own_day_in_whatever_order_they_come(
    database, order, cuts
):
    tenant = f"tenant-{next(NUMBERS)}"
    records = [attempts_of_a_call(tenant)[place] for place in order]
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 3], strict=True):
        await store(database, records[start:end])

    rows = await by_day(database, tenant, group_by=("provider",))

    found = [(row.dimensions["provider"], row.metrics.fallback_count) for row in rows]
    assert found == [("p0", 0), ("p1", 1), ("p2", 1)]


async def test_sums_of_the_release_before_go_on_over_the_migration(database_url):
    following, before = attempts_of_a_call()[1:], attempts_of_a_call()[:1]
    migrations.downgrade(database_url, "0021")
    async with Database.open(database_url) as database:
        await store(database, following)
        migrations.upgrade(database_url)
        await store(database, before)

        rows = await by_day(database, "acme")
        async with database.begin() as tx:
            wrong = [await tx.usage_days.differences(DAY + timedelta(days=n)) for n in range(3)]

    assert [row.metrics.fallback_count for row in rows] == [0, 1, 1]
    assert wrong == [0, 0, 0]
    migrations.check(database_url)


@pytest.mark.parametrize("record", [0, 1, 2])
async def test_a_record_that_is_stored_twice_moves_no_sum(database, record):
    records = attempts_of_a_call()
    await store(database, records)
    before = await by_day(database, "acme")

    await store(database, [records[record]])

    assert await by_day(database, "acme") == before


@pytest.mark.parametrize("group_by", [("agent",), ("session",)])
async def test_an_attempt_that_ends_before_it_starts_is_in_every_report_of_its_day(
    database, group_by
):
    late = datetime.combine(DAY, time(23, 59), UTC)
    ahead = an_attempt(start_time=late + timedelta(hours=30), cost=Cost(7))
    await store(database, [a_record(1, create_time=late, attempt=ahead)])

    rows = await by_day(database, "acme", end_time=late + timedelta(minutes=1), group_by=group_by)

    assert [row.metrics.cost_nano_usd for row in rows] == [7]
