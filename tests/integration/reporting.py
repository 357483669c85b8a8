"""Usage to report on, and the reports of it made in memory."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from llm_service.domain.completion import Attribution, Cost, ServedBy, TokenUsage
from llm_service.domain.usage import TimeBucket, UsageMetrics, UsageQuery, UsageRow
from llm_service.storage import attempt_sums, buckets
from llm_service.storage import durations as durations_
from tests.integration.samples import NUMBERS, a_record, an_attempt

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana"]
# Clocks change in each zone on one of these days, and months and years end.
DAYS = [
    datetime(2026, 2, 28, tzinfo=UTC),
    datetime(2026, 3, 7, tzinfo=UTC),
    datetime(2026, 3, 28, tzinfo=UTC),
    datetime(2026, 4, 4, tzinfo=UTC),
    datetime(2026, 10, 24, tzinfo=UTC),
    datetime(2026, 10, 31, tzinfo=UTC),
    datetime(2026, 12, 31, tzinfo=UTC),
]
COSTS = st.sampled_from(
    [
        None,
        Cost(0),
        Cost(7),
        Cost(7, reported_nano_usd=9),
        Cost(7, reported_nano_usd=4),
        Cost(0, incomplete=True, reported_nano_usd=5),
        Cost(3, incomplete=True),
    ]
)
TOKENS = st.integers(0, 2**31 - 1)
USAGES = st.none() | st.builds(TokenUsage, *[TOKENS] * 5, cache_write_1h_input_tokens=TOKENS)
NOON = timedelta(hours=12)
MOST_RECORDS = 8
FILTERS = [
    {},
    {"agent": "a"},
    {"model": "p/m"},
    {"label.team": ""},
    {"outcome": attempt_sums.SERVED},
]
TARGETS = [("p", "p/m"), ("p", "p/n"), ("q", "q/m")]
SECONDS = st.integers(0, 40).map(lambda tenths: tenths / 10)
# By a clock that may be put back while an attempt goes on; starts of a call are within two days.
TAKEN = st.sampled_from([timedelta(), timedelta(minutes=9), -timedelta(hours=20)])


@st.composite
def records_and_queries(draw):
    tenant, day = f"tenant-{next(NUMBERS)}", draw(st.sampled_from(DAYS))
    times = st.integers(0, 3 * 24 * 60).map(lambda minutes: day + timedelta(minutes=minutes))
    records = [
        a_record(
            number,
            tenant,
            create_time=(create_time := draw(times)),
            # A call takes less than a day, from noon to noon.
            completion_id=f"{tenant}-{(call := draw(st.integers(0, 4)))}-{create_time - NOON:%j}",
            attribution=Attribution(
                tenant,
                agent=["", "a", "b"][call % 3],  # who calls is the same in all its attempts
                labels=draw(st.sampled_from([{}, {"team": "x"}, {"team": ""}])),
            ),
            attempt=an_attempt(
                target=ServedBy(*draw(st.sampled_from(TARGETS))),
                start_time=create_time - draw(TAKEN),
                duration=draw(SECONDS),
                usage=draw(USAGES),
                cost=draw(COSTS),
            ),
            error_reason=draw(st.sampled_from(["", "", "PROVIDER_TIMEOUT"])),
            first_token=draw(st.none() | SECONDS),
        )
        for number in range(draw(st.integers(0, MOST_RECORDS)))
    ]
    query = UsageQuery(
        tenant=tenant,
        start_time=day + timedelta(hours=draw(st.sampled_from([0, 0, 1, 6]))),
        end_time=day + timedelta(hours=draw(st.sampled_from([7, 24, 48, 50, 72]))),
        time_bucket=draw(st.none() | st.sampled_from(TimeBucket)),
        time_zone=draw(st.sampled_from(ZONES)),
        group_by=draw(
            st.lists(
                st.sampled_from(["agent", "provider", "model", "outcome", "label.team"]),
                max_size=2,
                unique=True,
            ).map(tuple)
        ),
        filters=draw(st.sampled_from(FILTERS)),
    )
    return records, query


def dimension(record, name):
    match name:
        case "agent":
            return record.attribution.agent
        case "provider":
            return record.attempt.target.provider
        case "model":
            return record.attempt.target.model
        case "outcome":
            return record.error_reason or attempt_sums.SERVED
        case "label.team":
            return record.attribution.labels.get("team", "")


def percentile(values, percent):
    found = sorted(values)
    return found[math.ceil(len(found) * percent / 100) - 1] if found else None


def rounded(seconds):
    """The nearest step, halves up."""
    microseconds = round(seconds * 1_000_000)
    step = next(step for limit, step in durations_.steps() if microseconds < limit)
    return (microseconds + step // 2) // step * step / 1_000_000


def call(record):
    """A call counts on each day, in UTC, that it had an attempt on."""
    return record.completion_id, record.create_time.date()


def metrics(records, everything) -> UsageMetrics:
    if not records:
        return UsageMetrics()

    def tokens(name):
        return sum(getattr(r.attempt.usage, name) for r in records if r.attempt.usage)

    def cost(some):
        return sum(r.attempt.cost.total_nano_usd for r in some if r.attempt.cost)

    costs = [r.attempt.cost for r in records if r.attempt.cost]
    said = [cost for cost in costs if cost.reported_nano_usd is not None]
    failed = [r for r in records if r.error_reason]
    served = [r for r in records if not r.error_reason]
    durations = [rounded(r.attempt.duration) for r in served]
    firsts = [rounded(r.first_token) for r in served if r.first_token is not None]
    return UsageMetrics(
        request_count=len({call(r) for r in records}),
        error_count=len(failed),
        fallback_count=sum(
            any(
                other.completion_id == r.completion_id and other.record_id < r.record_id
                for other in everything
            )
            for r in records
        ),
        input_tokens=tokens("input_tokens"),
        output_tokens=tokens("output_tokens"),
        cache_read_input_tokens=tokens("cache_read_input_tokens"),
        cache_write_input_tokens=tokens("cache_write_input_tokens"),
        cache_write_1h_input_tokens=tokens("cache_write_1h_input_tokens"),
        reasoning_output_tokens=tokens("reasoning_output_tokens"),
        cost_nano_usd=cost(records),
        failed_attempt_nano_usd=cost(failed),
        unpriced_request_count=len(
            {call(r) for r in records if r.attempt.cost and r.attempt.cost.incomplete}
        ),
        reported_nano_usd=sum(cost.reported_nano_usd for cost in said),
        reported_difference_nano_usd=sum(
            cost.reported_nano_usd - cost.total_nano_usd for cost in said if not cost.incomplete
        ),
        duration_p50=percentile(durations, 50),
        duration_p95=percentile(durations, 95),
        first_token_p50=percentile(firsts, 50),
        first_token_p95=percentile(firsts, 95),
    )


def expected(records, query):
    """What `UsageRecords.query` promises."""
    matching = [
        record
        for record in records
        if query.start_time <= record.create_time < query.end_time
        and all(dimension(record, name) == value for name, value in query.filters.items())
    ]
    groups = defaultdict(list)
    for record in matching:
        names = tuple(dimension(record, name) for name in query.group_by)
        (bucket,) = [
            cut
            for cut in buckets.cut(
                query.start_time, query.end_time, query.time_bucket, ZoneInfo(query.time_zone)
            )
            if cut[0] <= record.create_time < cut[1]
        ]
        groups[bucket, names].append(record)
    rows = tuple(
        UsageRow(*bucket, dict(zip(query.group_by, names, strict=True)), metrics(group, records))
        for (bucket, names), group in sorted(groups.items(), key=lambda item: item[0])
    )
    return rows, metrics(matching, records)
