"""Usage, through the wire from a real database."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    CallError,
    Cost,
    FinishReason,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.usage import UsageRecord
from llm_service.rpc.convert.times import from_timestamp, to_timestamp
from llm_service.rpc.stubs import completion_pb2
from llm_service.rpc.stubs import usage_service_pb2 as pb
from tests.rpc.administered import refusal

CODE = grpc.StatusCode
START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=3)


def a_record(number, tenant="acme", when=None, **changes):
    """Served on the hour of that number."""
    when = when or START + timedelta(hours=number)
    milliseconds = int(when.timestamp() * 1000)
    target = ServedBy(provider="providers/one", model="providers/one/models/m")
    return UsageRecord(
        record_id=str(uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | number)),
        completion_id=f"completion-{number}",
        attribution=Attribution(tenant, agent=f"agent-{number % 2}", labels={"team": "x"}),
        attempt=Attempt(
            target,
            when,
            0.5,
            usage=TokenUsage(input_tokens=10, output_tokens=5),
            cost=Cost(total_nano_usd=1000 + number),
        ),
        create_time=when,
        finish_reason=FinishReason.STOP,
        trace_id="0" * 31 + "1",
        **changes,
    )


async def listed(service, **request):
    answer = await service.usage.ListUsageRecords(
        pb.ListUsageRecordsRequest(**{"parent": "tenants/acme", **request})
    )
    return [record.completion_id for record in answer.usage_records]


async def queried(service, **request):
    return await service.usage.QueryUsage(
        pb.QueryUsageRequest(
            **{
                "parent": "tenants/acme",
                "start_time": to_timestamp(START),
                "end_time": to_timestamp(END),
                **request,
            }
        )
    )


def streamed(service, **request):
    return service.usage.StreamUsageRecords(
        pb.StreamUsageRecordsRequest(**{"parent": "tenants/acme", **request})
    )


async def test_a_record_of_a_finished_call_is_read_back_whole(service):
    error = CallError("PROVIDER_UNAVAILABLE", "down", http_status=503)
    record = a_record(0, error_reason="PROVIDER_UNAVAILABLE")
    record = replace(record, attempt=replace(record.attempt, error=error), finish_reason=None)
    service.pending.records = [record]

    answer = await service.usage.ListUsageRecords(pb.ListUsageRecordsRequest(parent="tenants/acme"))

    (shown,) = answer.usage_records
    assert shown.name == f"tenants/acme/usageRecords/{record.record_id}"
    assert shown.attribution.tenant == "tenants/acme"
    assert shown.attribution.labels == {"team": "x"}
    assert shown.attempt.target.model == "providers/one/models/m"
    assert shown.attempt.error.http_status == 503
    assert shown.attempt.cost.total_nano_usd == 1000
    assert shown.error_reason == "PROVIDER_UNAVAILABLE"
    assert shown.finish_reason == completion_pb2.FINISH_REASON_UNSPECIFIED
    assert from_timestamp(shown.create_time) == START


async def test_records_are_listed_oldest_first_filtered_and_paged(service):
    service.pending.records = [a_record(number) for number in range(5)]
    request = {
        "page_size": 2,
        "filter": 'create_time >= "2026-11-01T01:00:00Z" AND attribution.labels.team = x',
    }

    first = await service.usage.ListUsageRecords(
        pb.ListUsageRecordsRequest(parent="tenants/acme", **request)
    )
    second = await listed(service, page_token=first.next_page_token, **request)

    assert [record.completion_id for record in first.usage_records] == [
        "completion-1",
        "completion-2",
    ]
    assert second == ["completion-3", "completion-4"]


async def test_a_tenant_sees_its_own_an_operator_everybodys_and_nobody_the_defaults(service):
    service.pending.records = [
        a_record(0),
        a_record(1, tenant="other"),
        a_record(2, tenant="default"),
    ]

    assert await listed(service) == ["completion-0"]
    assert len(await listed(service, parent="tenants/-")) == 3
    assert await listed(service, parent="") == ["completion-2"]


async def test_a_report_adds_up_by_day_and_agent(service):
    service.pending.records = [a_record(number) for number in (0, 1, 2, 25)]

    report = await queried(service, time_bucket=pb.TIME_BUCKET_DAY, group_by=["agent"])

    rows = [
        (row.dimensions["agent"], row.metrics.request_count, row.metrics.cost_nano_usd)
        for row in report.rows
    ]
    assert rows == [("agent-0", 2, 2002), ("agent-1", 1, 1001), ("agent-1", 1, 1025)]
    assert report.total.request_count == 4
    assert report.total.input_tokens == 40
    assert report.total.duration_p50.nanos == 500_000_000
    assert from_timestamp(report.complete_time) < datetime.now(UTC)


async def test_a_report_is_filtered_ordered_and_paged(service):
    service.pending.records = [a_record(number) for number in range(6)]
    request = {
        "time_bucket": pb.TIME_BUCKET_HOUR,
        "filter": "agent = agent-0 AND label.team = x",
        "order_by": "cost_nano_usd desc",
        "page_size": 2,
    }

    first = await queried(service, **request)
    second = await queried(service, page_token=first.next_page_token, **request)

    costs = [row.metrics.cost_nano_usd for row in (*first.rows, *second.rows)]
    assert costs == [1004, 1002, 1000]
    assert first.total.cost_nano_usd == second.total.cost_nano_usd == 3006
    assert second.next_page_token == ""


async def test_a_report_goes_on_over_pages_in_its_own_order(service):
    service.pending.records = [a_record(number) for number in range(3)]
    request = {"group_by": ["label.team", "agent"], "page_size": 1}

    first = await queried(service, **request)
    second = await queried(service, page_token=first.next_page_token, **request)

    agents = [row.dimensions["agent"] for row in (*first.rows, *second.rows)]
    assert agents == ["agent-0", "agent-1"]


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"start_time": None}, "start_time"),
        ({"end_time": to_timestamp(START)}, "end_time"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_bucket": 99}, "time_bucket"),
        ({"group_by": ["color"]}, "group_by[0]"),
        ({"group_by": ["label"]}, "group_by[0]"),
        ({"group_by": ["agent", "agent"]}, "group_by[1]"),
        ({"group_by": [f"label.{n}" for n in range(9)]}, "group_by"),
        ({"filter": "agent != a"}, "filter"),
        ({"filter": "agent = a OR agent = b"}, "filter"),
        ({"filter": "agent = a AND agent = b"}, "filter"),
        ({"filter": "color = red"}, "filter"),
        ({"order_by": "color"}, "order_by"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"parent": "acme"}, "parent"),
    ],
)
async def test_a_bad_report_is_refused_by_name(service, request_, named):
    refused = await refusal(queried(service, **request_))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.fields == (named,)


async def test_an_export_ends_at_its_end(service):
    service.pending.records = [a_record(number) for number in range(6)]
    call = streamed(
        service,
        start_time=to_timestamp(START + timedelta(hours=1)),
        end_time=to_timestamp(START + timedelta(hours=4)),
        filter="attribution.agent = agent-1",
    )

    batches = [batch async for batch in call]

    found = [record.completion_id for batch in batches for record in batch.usage_records]
    assert found == ["completion-1", "completion-3"]


async def test_a_feed_goes_on_where_it_broke_and_gives_what_comes(service):
    service.pending.records = [a_record(0)]
    first = streamed(service, start_time=to_timestamp(START))
    batch = await first.read()
    first.cancel()
    second = streamed(service, start_time=to_timestamp(START), resume_token=batch.resume_token)
    waiting = asyncio.ensure_future(second.read())

    service.pending.records = [a_record(1), a_record(2, tenant="other")]
    async with asyncio.timeout(30):
        following = await waiting
    second.cancel()

    assert [record.completion_id for record in batch.usage_records] == ["completion-0"]
    assert [record.completion_id for record in following.usage_records] == ["completion-1"]


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"resume_token": "x"}, "resume_token"),
        ({"filter": "color = red"}, "filter"),
        ({"start_time": to_timestamp(END), "end_time": to_timestamp(START)}, "end_time"),
        ({"parent": "acme"}, "parent"),
    ],
)
async def test_a_bad_feed_is_refused_by_name(service, request_, named):
    assert (await refusal(streamed(service, **request_).read())).fields == (named,)


async def test_a_resume_token_is_refused_for_another_feed(service):
    service.pending.records = [a_record(0)]
    feed = streamed(service, start_time=to_timestamp(START))
    token = (await feed.read()).resume_token
    feed.cancel()

    refused = await refusal(streamed(service, parent="tenants/other", resume_token=token).read())

    assert refused.fields == ("resume_token",)
