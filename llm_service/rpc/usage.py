"""UsageService: what calls used and cost."""

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import grpc

from llm_service.domain.listing import And, Comparison, Filter, Operator
from llm_service.domain.usage import UsageMetrics, UsageQuery
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.usage_reports import FeedRequest, UsageReports
from llm_service.rpc import names
from llm_service.rpc.convert.provider import to_moment
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.convert.usage import TIME_BUCKETS, from_metrics, from_record, from_row
from llm_service.rpc.listing import (
    Fields,
    FieldType,
    listing,
    next_token,
    parse_filter,
    read_token,
    write_token,
)
from llm_service.rpc.stubs import usage_service_pb2 as pb
from llm_service.rpc.stubs import usage_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

MAX_DIMENSIONS = 8

RECORD_FIELDS: Fields = {
    "completion_id": FieldType.TEXT,
    "create_time": FieldType.TIME,
    "finish_reason": FieldType.TEXT,
    "error_reason": FieldType.TEXT,
    "trace_id": FieldType.TEXT,
    "operation": FieldType.TEXT,
    "attribution.tenant": FieldType.TEXT,
    "attribution.agent": FieldType.TEXT,
    "attribution.user": FieldType.TEXT,
    "attribution.interaction": FieldType.TEXT,
    "attribution.session": FieldType.TEXT,
    "attribution.labels": FieldType.MAP,
    "attempt.target.provider": FieldType.TEXT,
    "attempt.target.model": FieldType.TEXT,
    "attempt.target.credential": FieldType.TEXT,
    "attempt.start_time": FieldType.TIME,
}
DIMENSIONS: Fields = {
    "tenant": FieldType.TEXT,
    "agent": FieldType.TEXT,
    "user": FieldType.TEXT,
    "interaction": FieldType.TEXT,
    "session": FieldType.TEXT,
    "provider": FieldType.TEXT,
    "model": FieldType.TEXT,
    "credential": FieldType.TEXT,
    "operation": FieldType.TEXT,
    "outcome": FieldType.TEXT,
    "label": FieldType.MAP,
}
_RECORD_ID = re.compile(r"[0-9a-f-]{36}")
_LABEL = re.compile(r"label\.\S{1,64}")
_METRICS: Fields = {one.name: FieldType.INTEGER for one in fields(UsageMetrics)}
_ROW_FIELDS: Fields = {
    "bucket_start_time": FieldType.TIME,
    "bucket_end_time": FieldType.TIME,
    **_METRICS,
}


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """Serves `llmservice.v1.UsageService`."""

    def __init__(self, reports: UsageReports) -> None:
        self._reports = reports

    async def QueryUsage(
        self, request: pb.QueryUsageRequest, context: Context
    ) -> pb.QueryUsageResponse:
        query = _to_query(request)
        scope = _query_scope(request, query)
        report = await self._reports.query(
            query, listing(_Page(request), "QueryUsage", _ROW_FIELDS, scope)
        )
        return pb.QueryUsageResponse(
            rows=map(from_row, report.page.items),
            next_page_token=next_token(_Page(request), "QueryUsage", report.page, scope),
            total=from_metrics(report.total),
            complete_time=to_timestamp(report.complete_time),
        )

    async def ListUsageRecords(
        self, request: pb.ListUsageRecordsRequest, context: Context
    ) -> pb.ListUsageRecordsResponse:
        scope = (request.parent,)
        page = await self._reports.records(
            names.parent_tenants(request.parent, empty=names.DEFAULT_TENANT),
            listing(request, "ListUsageRecords", RECORD_FIELDS, scope),
        )
        return pb.ListUsageRecordsResponse(
            usage_records=map(from_record, page.items),
            next_page_token=next_token(request, "ListUsageRecords", page, scope),
        )

    async def StreamUsageRecords(
        self, request: pb.StreamUsageRecordsRequest, context: Context
    ) -> AsyncGenerator[pb.StreamUsageRecordsResponse]:
        scope = ("StreamUsageRecords", request.parent, request.filter)
        feed = self._reports.feed(_to_feed(request, scope))
        async with aclosing(feed):
            async for batch in feed:
                yield pb.StreamUsageRecordsResponse(
                    usage_records=map(from_record, batch.records),
                    resume_token=write_token((batch.after,), scope),
                )


class _Page:
    """What `listing` reads of a report's request: its filter is over dimensions, not over rows."""

    def __init__(self, request: pb.QueryUsageRequest) -> None:
        self.page_size = request.page_size
        self.page_token = request.page_token
        self.order_by = request.order_by


def _query_scope(request: pb.QueryUsageRequest, query: UsageQuery) -> Sequence[object]:
    """All that decides a report's rows. An end that was left open moves, and is no part of it."""
    return (
        query.tenant,
        request.start_time.ToJsonString(),
        request.end_time.ToJsonString() if request.HasField("end_time") else "",
        request.time_bucket,
        query.time_zone,
        query.group_by,
        request.filter,
    )


def _to_query(request: pb.QueryUsageRequest) -> UsageQuery:
    tenant = names.parent_tenants(request.parent, empty=names.DEFAULT_TENANT)
    start, end = _range(request, open_end=datetime.now(UTC))
    violations = [*_query_violations(request)]
    if start is None:
        violations.append(Violation("start_time", "is required"))
    elif end is not None and start >= end:
        violations.append(Violation("end_time", "must be after start_time"))
    if violations or start is None or end is None:
        raise InvalidField(*violations)
    return UsageQuery(
        tenant=tenant,
        start_time=start,
        end_time=end,
        time_bucket=TIME_BUCKETS[request.time_bucket],
        time_zone=request.time_zone or "UTC",
        group_by=tuple(request.group_by),
        filters=dict(_conditions(parse_filter(request.filter, DIMENSIONS))),
    )


def _query_violations(request: pb.QueryUsageRequest) -> Iterator[Violation]:
    if request.time_bucket not in TIME_BUCKETS:
        yield Violation("time_bucket", "is not a known bucket")
    if not _is_time_zone(request.time_zone or "UTC"):
        yield Violation("time_zone", 'must be an IANA name, like "Europe/Berlin"')
    if len(request.group_by) > MAX_DIMENSIONS:
        yield Violation("group_by", f"has more than {MAX_DIMENSIONS} entries")
    for index, name in enumerate(request.group_by):
        if name == "label" or (name not in DIMENSIONS and not _LABEL.fullmatch(name)):
            known = ", ".join(sorted(DIMENSIONS.keys() - {"label"}))
            yield Violation(f"group_by[{index}]", f'must be one of {known}, or "label.{{key}}"')
        elif name in request.group_by[:index]:
            yield Violation(f"group_by[{index}]", "is there twice")


def _conditions(tree: Filter | None) -> Iterator[tuple[str, str]]:
    """Dimension = value pairs; a report takes no other conditions.

    Raises:
        InvalidField: there are others, or two on one dimension.
    """
    terms = tree.terms if isinstance(tree, And) else (tree,) if tree else ()
    seen: set[str] = set()
    for term in terms:
        if isinstance(term, And):
            yield from _conditions(term)
            continue
        if not isinstance(term, Comparison) or term.operator is not Operator.EQ:
            raise InvalidField(Violation("filter", 'takes only dimension = "value", joined by AND'))
        if term.field in seen:
            raise InvalidField(Violation("filter", f"has two conditions on {term.field}"))
        seen.add(term.field)
        yield term.field, str(term.value)


def _to_feed(request: pb.StreamUsageRecordsRequest, scope: Sequence[object]) -> FeedRequest:
    tenant = names.parent_tenants(request.parent, empty=names.DEFAULT_TENANT)
    start, end = _range(request, open_end=None)
    if start is not None and end is not None and start >= end:
        raise InvalidField(Violation("end_time", "must be after start_time"))
    after = read_token(request.resume_token, scope, "resume_token")
    if after is not None and not (len(after) == 1 and _RECORD_ID.fullmatch(str(after[0]))):
        raise InvalidField(Violation("resume_token", "is not one that this service gave out"))
    return FeedRequest(
        tenant=tenant,
        start_time=start,
        end_time=end,
        filter=parse_filter(request.filter, RECORD_FIELDS),
        after=str(after[0]) if after else "",
    )


def _range(
    request: pb.QueryUsageRequest | pb.StreamUsageRecordsRequest, open_end: datetime | None
) -> tuple[datetime | None, datetime | None]:
    return to_moment(request, "start_time", ""), to_moment(request, "end_time", "") or open_end


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
