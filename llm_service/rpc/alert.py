"""AlertService: what somebody should hear of."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from llm_service.errors import InvalidField, Violation
from llm_service.gateway.alerts.feed import AlertFeed, AlertFeedRequest
from llm_service.rpc import names
from llm_service.rpc.convert.alert import from_alert, to_kinds
from llm_service.rpc.convert.provider import to_moment
from llm_service.rpc.listing import (
    Fields,
    FieldType,
    attempt,
    listing,
    next_token,
    read_token,
    write_token,
)
from llm_service.rpc.stubs import alert_service_pb2 as pb
from llm_service.rpc.stubs import alert_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

ALERT_FIELDS: Fields = {
    "kind": FieldType.TEXT,
    "subject": FieldType.TEXT,
    "action": FieldType.TEXT,
    "threshold_percent": FieldType.INTEGER,
    "window_start_time": FieldType.TIME,
    "create_time": FieldType.TIME,
}
_ALERT_ID = re.compile(r"[0-9a-f-]{36}")
_MAX_NAME = 512


class AlertServicer(alert_service_pb2_grpc.AlertServiceServicer):
    """Serves `llmservice.v1.AlertService`."""

    def __init__(self, feed: AlertFeed) -> None:
        self._feed = feed

    async def ListAlerts(
        self, request: pb.ListAlertsRequest, context: Context
    ) -> pb.ListAlertsResponse:
        scope = (request.parent,)
        found = await self._feed.list(
            names.parent_tenants(request.parent),
            listing(request, "ListAlerts", ALERT_FIELDS, scope),
        )
        return pb.ListAlertsResponse(
            alerts=map(from_alert, found.items),
            next_page_token=next_token(request, "ListAlerts", found, scope),
        )

    async def WatchAlerts(
        self, request: pb.WatchAlertsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchAlertsResponse]:
        scope = ("WatchAlerts", request.parent, *request.kinds, request.subject)
        feed = self._feed.watch(_to_feed(request, scope))
        async with aclosing(feed):
            async for alerts in feed:
                yield pb.WatchAlertsResponse(
                    alerts=map(from_alert, alerts),
                    resume_token=write_token((alerts[-1].alert_id,), scope),
                )


def _to_feed(request: pb.WatchAlertsRequest, scope: tuple[object, ...]) -> AlertFeedRequest:
    wrong: list[Violation] = []
    tenant = attempt(wrong, lambda: (names.parent_tenants(request.parent),))
    start = attempt(wrong, lambda: to_moment(request, "start_time", ""))
    end = attempt(wrong, lambda: to_moment(request, "end_time", ""))
    kinds = attempt(wrong, lambda: to_kinds(request.kinds, "kinds"))
    after = attempt(wrong, lambda: read_token(request.resume_token, scope, "resume_token"))
    if start is not None and end is not None and start >= end:
        wrong.append(Violation("end_time", "must be after start_time"))
    if len(request.subject) > _MAX_NAME or "\0" in request.subject:
        wrong.append(Violation("subject", "is not a resource name"))
    if after is not None and not (len(after) == 1 and _ALERT_ID.fullmatch(str(after[0]))):
        wrong.append(Violation("resume_token", "is not one that this service gave out"))
    if tenant is None or kinds is None or wrong:
        raise InvalidField(*wrong)
    return AlertFeedRequest(
        tenant=tenant[0],
        start_time=start,
        end_time=end,
        kinds=kinds,
        subject=request.subject,
        after=str(after[0]) if after else "",
    )
