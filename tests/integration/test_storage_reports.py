"""Usage reports, held against the same sums made in memory."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.domain.completion import Attribution
from llm_service.domain.usage import TimeBucket, UsageQuery
from llm_service.errors import InvalidField
from llm_service.storage import buckets, day_sums, reports
from tests.integration.reporting import (
    DAYS,
    MOST_RECORDS,
    ZONES,
    expected,
    records_and_queries,
)
from tests.integration.samples import NOW, a_record

on_a_database = settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def label(instant, bucket, zone):
    """What a clock on the wall calls the bucket."""
    local = instant.astimezone(ZoneInfo(zone))
    match bucket:
        case None:
            return ()
        case TimeBucket.HOUR:
            return local.date(), local.hour, local.utcoffset()
        case TimeBucket.DAY:
            return local.date()
        case TimeBucket.WEEK:
            return local.isocalendar()[:2]
        case TimeBucket.MONTH:
            return local.year, local.month


@given(asked=records_and_queries(), places=st.permutations(range(MOST_RECORDS)))
@on_a_database
async def test_a_report_is_the_sum_of_its_records(database, asked, places):
    records, query = asked
    records = [records[place] for place in places if place < len(records)]  # as they come
    half = len(records) // 2
    for some in (records[:half], records[half:], records):  # the last are all there already
        async with database.begin() as tx:
            await tx.usage.add_many(some)

    async with database.read() as tx:
        rows, total = await tx.usage.query(query)
    days = {record.create_time.date() for record in records}
    async with database.begin() as tx:
        wrong = [await tx.usage_days.differences(day) for day in days]
        for day in days:
            await tx.usage_days.rebuild(day)
        made_anew = await tx.usage.query(query)

    assert not any(wrong)
    assert made_anew == (rows, total)
    assert (rows, total) == expected(records, query)


@given(
    start=st.sampled_from(DAYS).flatmap(
        lambda day: st.integers(0, 1440).map(lambda m: day + timedelta(minutes=m))
    ),
    hours=st.integers(1, 24 * 70),
    bucket=st.sampled_from(TimeBucket),
    zone=st.sampled_from([*ZONES, "Asia/Kathmandu"]),
)
def test_buckets_are_what_the_wall_clock_says_without_gap_or_overlap(start, hours, bucket, zone):
    end = start + timedelta(hours=hours)

    cuts = buckets.cut(start, end, bucket, ZoneInfo(zone))

    assert cuts[0][0] == start
    assert cuts[-1][1] == end
    assert all(first[1] == second[0] for first, second in pairwise(cuts))
    last = timedelta(microseconds=1)
    labels = [label(first, bucket, zone) for first, _ in cuts]
    assert labels == [label(second - last, bucket, zone) for _, second in cuts]
    assert all(one != two for one, two in pairwise(labels))


def test_a_day_that_a_zone_skips_has_no_bucket():
    start, end = datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, 12, tzinfo=UTC)

    cuts = buckets.cut(start, end, TimeBucket.DAY, ZoneInfo("Pacific/Apia"))

    days = [first.astimezone(ZoneInfo("Pacific/Apia")).day for first, _ in cuts]
    assert days == [29, 31, 1, 2][: len(days)]
    assert 30 not in days
    assert all(first < second for first, second in cuts)


async def test_a_report_over_more_buckets_than_one_statement_takes_is_whole(database):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [0, 999, 1000, 2500]
    async with database.begin() as tx:
        await tx.usage.add_many(
            [a_record(h, create_time=start + timedelta(hours=h)) for h in hours]
        )

    async with database.read() as tx:
        rows, total = await tx.usage.query(
            UsageQuery("acme", start, start + timedelta(hours=2501), TimeBucket.HOUR)
        )

    assert [row.bucket_start_time for row in rows] == [start + timedelta(hours=h) for h in hours]
    assert total.request_count == 4


async def test_a_report_of_days_is_the_same_however_they_are_found(database, monkeypatch):
    records = [
        a_record(n, create_time=NOW + timedelta(days=n % 40), first_token=n / 10) for n in range(80)
    ]
    async with database.begin() as tx:
        await tx.usage.add_many(records)
    query = UsageQuery(
        "acme",
        datetime(2026, 11, 1, tzinfo=UTC),
        datetime(2027, 2, 1, tzinfo=UTC),
        TimeBucket.MONTH,
        group_by=("model",),
    )
    found = []
    for most_days, dense in ((4_000, 4), (0, 0)):
        monkeypatch.setattr(day_sums, "_MOST_DAYS", most_days)
        monkeypatch.setattr(day_sums, "_DENSE", dense)
        async with database.read() as tx:
            found.append(await tx.usage.query(query))

    assert found[0] == found[1]
    assert found[0][1].request_count == 80
    assert found[0][1].first_token_p95 is not None


async def test_a_report_is_one_tenants_unless_all_are_asked_for(database):
    async with database.begin() as tx:
        await tx.usage.add_many([a_record(1, "acme"), a_record(2, "rival"), a_record(3, "rival")])
    query = {"start_time": DAYS[0], "end_time": DAYS[-1], "group_by": ("tenant",)}

    async with database.read() as tx:
        rows, total = await tx.usage.query(UsageQuery("acme", **query))
        everybodys, _ = await tx.usage.query(UsageQuery(None, **query))

    assert [row.dimensions for row in rows] == [{"tenant": "acme"}]
    assert total.request_count == 1
    assert [(row.dimensions["tenant"], row.metrics.request_count) for row in everybodys] == [
        ("acme", 1),
        ("rival", 2),
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"time_zone": "Mars/Olympus"}, "time_zone", id="no-such-zone"),
        pytest.param({"time_zone": "../etc/passwd"}, "time_zone", id="not-a-zone"),
        pytest.param({"time_zone": "America"}, "time_zone", id="a-folder-of-zones"),
        pytest.param({"time_zone": "\0"}, "time_zone", id="nul"),
        pytest.param({"group_by": ("colour",)}, "group_by", id="unknown-dimension"),
        pytest.param({"group_by": ("label.",)}, "group_by", id="no-label"),
        pytest.param({"filters": {"colour": "red"}}, "filter", id="unknown-filter"),
        pytest.param({"filters": {"agent": "\0"}}, "filter", id="nul-in-filter"),
        pytest.param({"end_time": DAYS[0]}, "end_time", id="empty-range"),
        pytest.param({"end_time": datetime(9999, 1, 1, tzinfo=UTC)}, "end_time", id="too-far"),
        pytest.param(
            {"end_time": datetime(2030, 1, 1, tzinfo=UTC), "time_bucket": TimeBucket.HOUR},
            "time_bucket",
            id="too-many-buckets",
        ),
    ],
)
async def test_a_report_that_makes_no_sense_says_why(any_database, change, field):
    query = UsageQuery(**{"tenant": "acme", "start_time": DAYS[0], "end_time": DAYS[1], **change})

    async with any_database.read() as tx:
        with pytest.raises(InvalidField) as failure:
            await tx.usage.query(query)

    assert [violation.field for violation in failure.value.violations] == [field]


async def test_a_report_of_too_many_rows_is_refused(database, monkeypatch):
    monkeypatch.setattr(reports, "MAX_ROWS", 2)
    async with database.begin() as tx:
        await tx.usage.add_many([a_record(number) for number in range(3)])
        query = UsageQuery("acme", DAYS[0], DAYS[-1], group_by=("session",))
        assert len((await tx.usage.query(query))[0]) == 1

        await tx.usage.add_many(
            [
                a_record(number, attribution=Attribution("acme", session=f"{number}"))
                for number in range(10, 13)
            ]
        )
        with pytest.raises(InvalidField, match="group_by"):
            await tx.usage.query(query)
