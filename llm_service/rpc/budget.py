"""Serves `llmservice.v1.BudgetService`."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc

from llm_service.domain.alert import AlertKind
from llm_service.domain.listing import And, Comparison, Operator
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.admin.budgets import BudgetDraft, Budgets
from llm_service.gateway.alerts.feed import AlertFeed, AlertFeedRequest
from llm_service.rpc import field_mask, names, repeats
from llm_service.rpc.convert.budget import (
    from_alert,
    from_budget_draft,
    from_counted,
    to_budget_draft,
)
from llm_service.rpc.convert.provider import from_etag, to_moment
from llm_service.rpc.listing import (
    Fields,
    FieldType,
    attempt,
    listing,
    next_token,
    read_token,
    write_token,
)
from llm_service.rpc.stubs import budget_service_pb2 as pb
from llm_service.rpc.stubs.budget_service_pb2_grpc import BudgetServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]

BUDGET_FIELDS: Fields = {
    "display_name": FieldType.TEXT,
    "unit": FieldType.TEXT,
    "period": FieldType.TEXT,
    "disabled": FieldType.BOOLEAN,
    "create_time": FieldType.TIME,
    "update_time": FieldType.TIME,
}
_ALERT_ID = re.compile(r"[0-9a-f-]{36}")


class BudgetServicer(BudgetServiceServicer):
    """Decode, one call, encode; failures are the guards' business."""

    def __init__(self, budgets: Budgets, alerts: AlertFeed) -> None:
        self._budgets = budgets
        self._alerts = alerts

    async def CreateBudget(
        self, request: pb.CreateBudgetRequest, context: Context
    ) -> pb.CreateBudgetResponse:
        wrong: list[Violation] = []
        attempt(wrong, lambda: repeats.check(request.request_id))
        tenant = attempt(wrong, lambda: names.parent_tenant(request.parent))
        budget_id = attempt(wrong, lambda: names.new_id(request.budget_id, "budget_id"))
        draft = attempt(wrong, lambda: to_budget_draft(request.budget))
        if tenant is None or budget_id is None or draft is None or wrong:
            raise InvalidField(*wrong)
        return await repeats.answer_once(
            request,
            tenant,
            pb.CreateBudgetResponse,
            create=lambda once: self._budgets.create(tenant, budget_id, draft, once=once),
            answer=lambda counted: pb.CreateBudgetResponse(budget=from_counted(counted)),
        )

    async def GetBudget(
        self, request: pb.GetBudgetRequest, context: Context
    ) -> pb.GetBudgetResponse:
        counted = await self._budgets.get(*names.budget(request.name))
        return pb.GetBudgetResponse(budget=from_counted(counted))

    async def ListBudgets(
        self, request: pb.ListBudgetsRequest, context: Context
    ) -> pb.ListBudgetsResponse:
        scope = (request.parent,)
        found = await self._budgets.list(
            names.parent_tenants(request.parent),
            listing(request, "ListBudgets", BUDGET_FIELDS, scope),
        )
        return pb.ListBudgetsResponse(
            budgets=map(from_counted, found.items),
            next_page_token=next_token(request, "ListBudgets", found, scope),
        )

    async def UpdateBudget(
        self, request: pb.UpdateBudgetRequest, context: Context
    ) -> pb.UpdateBudgetResponse:
        name = names.budget(request.budget.name, "budget.name")
        paths = field_mask.paths(request.update_mask, request.budget)

        def change(draft: BudgetDraft) -> BudgetDraft:
            return to_budget_draft(
                field_mask.merged(from_budget_draft(draft), request.budget, paths)
            )

        counted = await self._budgets.update(
            *name, change, expected_version=from_etag(request.budget.etag)
        )
        return pb.UpdateBudgetResponse(budget=from_counted(counted))

    async def DeleteBudget(
        self, request: pb.DeleteBudgetRequest, context: Context
    ) -> pb.DeleteBudgetResponse:
        await self._budgets.delete(
            *names.budget(request.name),
            expected_version=from_etag(request.etag),
            allow_missing=request.allow_missing,
        )
        return pb.DeleteBudgetResponse()

    async def ListBudgetAlerts(
        self, request: pb.ListBudgetAlertsRequest, context: Context
    ) -> pb.ListBudgetAlertsResponse:
        scope = (request.parent,)
        which = _alerts_of(request.parent)
        terms = [Comparison("kind", Operator.EQ, AlertKind.BUDGET_THRESHOLD.value)]
        if which.subject:
            terms.append(Comparison("subject", Operator.EQ, which.subject))
        asked = listing(request, "ListBudgetAlerts", {}, scope)
        found = await self._alerts.list(which.tenant, replace(asked, filter=And(tuple(terms))))
        return pb.ListBudgetAlertsResponse(
            budget_alerts=map(from_alert, found.items),
            next_page_token=next_token(request, "ListBudgetAlerts", found, scope),
        )

    async def WatchBudgetAlerts(
        self, request: pb.WatchBudgetAlertsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchBudgetAlertsResponse]:
        scope = ("WatchBudgetAlerts", request.parent)
        which = _alerts_of(request.parent)
        after = read_token(request.resume_token, scope, "resume_token")
        if after is not None and not (len(after) == 1 and _ALERT_ID.fullmatch(str(after[0]))):
            raise InvalidField(Violation("resume_token", "is not one that this service gave out"))
        feed = self._alerts.watch(
            replace(
                which,
                after=str(after[0]) if after else "",
                end_time=to_moment(request, "end_time", ""),
            )
        )
        async with aclosing(feed):
            async for alert in (alert async for batch in feed for alert in batch):
                yield pb.WatchBudgetAlertsResponse(
                    budget_alert=from_alert(alert),
                    resume_token=write_token((alert.alert_id,), scope),
                )


def _alerts_of(parent: str) -> AlertFeedRequest:
    tenant, budget_id = names.budget(parent, "parent", wildcard=True)
    subject = "" if budget_id == names.WILDCARD else parent
    return AlertFeedRequest(tenant, kinds=(AlertKind.BUDGET_THRESHOLD,), subject=subject)
