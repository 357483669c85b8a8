"""AuditService: who changed what, and whether that record is whole."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc

from llm_service.domain.audit import Anchor
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.audit.log import AuditLog
from llm_service.rpc import names
from llm_service.rpc.convert.audit import from_entry, from_verdict, to_anchor
from llm_service.rpc.listing import Fields, FieldType, attempt, listing, next_token
from llm_service.rpc.stubs import audit_service_pb2 as pb
from llm_service.rpc.stubs import audit_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

MAX_ANCHORS = 1000
NEWEST_FIRST = "create_time desc"

ENTRY_FIELDS: Fields = {
    "create_time": FieldType.TIME,
    "principal": FieldType.TEXT,
    "peer_ip_address": FieldType.TEXT,
    "method": FieldType.TEXT,
    "resource": FieldType.TEXT,
    "changes.resource": FieldType.LIST,
    "error.reason": FieldType.TEXT,
    "request_id": FieldType.TEXT,
    "trace_id": FieldType.TEXT,
    "sealing_key_id": FieldType.TEXT,
}


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Serves `llmservice.v1.AuditService`."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        scope = (request.parent,)
        request.order_by = request.order_by or NEWEST_FIRST
        page = await self._log.list(
            names.parent_tenants(request.parent),
            listing(request, "ListAuditEntries", ENTRY_FIELDS, scope),
        )
        return pb.ListAuditEntriesResponse(
            audit_entries=map(from_entry, page.items),
            next_page_token=next_token(request, "ListAuditEntries", page, scope),
        )

    async def VerifyAudit(
        self, request: pb.VerifyAuditRequest, context: Context
    ) -> AsyncGenerator[pb.VerifyAuditResponse]:
        wrong: list[Violation] = []
        anchors = _anchors(request, wrong)
        tenant = attempt(wrong, lambda: (names.parent_tenants(request.parent),))
        if tenant is None or wrong:
            raise InvalidField(*wrong)
        async with aclosing(self._log.verify(*tenant, anchors)) as verdicts:
            async for verdict in verdicts:
                yield from_verdict(verdict)


def _anchors(request: pb.VerifyAuditRequest, wrong: list[Violation]) -> list[Anchor]:
    if len(request.anchors) > MAX_ANCHORS:
        wrong.append(Violation("anchors", f"has more than {MAX_ANCHORS} entries"))
        return []
    anchors = []
    for index, message in enumerate(request.anchors):
        owner = partial(names.parent_tenant, message.parent, f"anchors[{index}].parent")
        tenant = attempt(wrong, owner)
        if tenant is not None:
            anchors.append(to_anchor(message, tenant))
    return anchors
