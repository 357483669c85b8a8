"""Usage records and reports: domain -> protobuf."""

from dataclasses import fields

from llm_service.domain.completion import Attribution
from llm_service.domain.usage import TimeBucket, UsageMetrics, UsageRecord, UsageRow, UsageSource
from llm_service.rpc.convert.completion import from_attempt, from_finish_reason
from llm_service.rpc.convert.times import to_duration, to_timestamp
from llm_service.rpc.stubs import common_pb2
from llm_service.rpc.stubs import usage_service_pb2 as pb

TIME_BUCKETS: dict[int, TimeBucket | None] = {
    pb.TIME_BUCKET_UNSPECIFIED: None,
    pb.TIME_BUCKET_HOUR: TimeBucket.HOUR,
    pb.TIME_BUCKET_DAY: TimeBucket.DAY,
    pb.TIME_BUCKET_WEEK: TimeBucket.WEEK,
    pb.TIME_BUCKET_MONTH: TimeBucket.MONTH,
}
_SOURCES = {
    UsageSource.PROVIDER: pb.UsageRecord.USAGE_SOURCE_PROVIDER,
    UsageSource.PROGRESS: pb.UsageRecord.USAGE_SOURCE_PROGRESS,
    UsageSource.ESTIMATE: pb.UsageRecord.USAGE_SOURCE_ESTIMATE,
    None: pb.UsageRecord.USAGE_SOURCE_UNSPECIFIED,
}
_DURATIONS = ("duration_p50", "duration_p95", "first_token_p50", "first_token_p95")
_COUNTS = tuple(one.name for one in fields(UsageMetrics) if one.name not in _DURATIONS)


def from_record(record: UsageRecord) -> pb.UsageRecord:
    return pb.UsageRecord(
        name=f"tenants/{record.attribution.tenant}/usageRecords/{record.record_id}",
        completion_id=record.completion_id,
        attribution=from_attribution(record.attribution),
        attempt=from_attempt(record.attempt),
        finish_reason=from_finish_reason(record.finish_reason),
        error_reason=record.error_reason,
        create_time=to_timestamp(record.create_time),
        trace_id=record.trace_id,
        operation=record.operation.value,
        usage_source=_SOURCES[record.usage_source],
    )


def from_attribution(attribution: Attribution) -> common_pb2.Attribution:
    return common_pb2.Attribution(
        tenant=f"tenants/{attribution.tenant}",
        agent=attribution.agent,
        user=attribution.user,
        interaction=attribution.interaction,
        session=attribution.session,
        labels=attribution.labels,
    )


def from_row(row: UsageRow) -> pb.UsageRow:
    return pb.UsageRow(
        bucket_start_time=to_timestamp(row.bucket_start_time),
        bucket_end_time=to_timestamp(row.bucket_end_time),
        dimensions=row.dimensions,
        metrics=from_metrics(row.metrics),
    )


def from_metrics(metrics: UsageMetrics) -> pb.UsageMetrics:
    message = pb.UsageMetrics(**{name: getattr(metrics, name) for name in _COUNTS})
    for name in _DURATIONS:
        if (seconds := getattr(metrics, name)) is not None:
            getattr(message, name).CopyFrom(to_duration(seconds))
    return message
