"""Budgets, through the wire into a real database."""

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from llm_service.domain.alert import AlertKind
from llm_service.gateway.admin import budgets
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.rpc.stubs import budget_service_pb2 as pb
from tests.integration.alerting import an_alert
from tests.integration.budgeting import a_use
from tests.rpc.administered import refusal

CODE = grpc.StatusCode
ACME = "tenants/acme"
NAME = f"{ACME}/budgets/b"
RULES = [
    pb.BudgetRule(threshold_percent=50, action="ACTION_DOWNGRADE", downgrade_model="small"),
    pb.BudgetRule(threshold_percent=100, action="ACTION_BLOCK"),
]
KNOWN = {"limit_tokens": 1000, "period": pb.Budget.PERIOD_MONTH, "rules": RULES}


async def created(service, budget_id="b", parent=ACME, request_id="", **fields) -> pb.Budget:
    answer = await service.budgets.CreateBudget(
        pb.CreateBudgetRequest(
            parent=parent,
            budget_id=budget_id,
            budget=pb.Budget(**{**KNOWN, **fields}),
            request_id=request_id,
        )
    )
    return answer.budget


async def got(service, name=NAME) -> pb.Budget:
    return (await service.budgets.GetBudget(pb.GetBudgetRequest(name=name))).budget


async def updated(service, budget, *paths) -> pb.Budget:
    request = pb.UpdateBudgetRequest(budget=budget, update_mask=FieldMask(paths=paths))
    return (await service.budgets.UpdateBudget(request)).budget


async def used(service, *tokens) -> None:
    async with service.database.begin() as tx:
        await Accounting().store(tx, [a_use(one) for one in tokens])


async def first(stream, count):
    """So many of its messages."""
    async with asyncio.timeout(20):
        found = [await stream.read() for _ in range(count)]
    stream.cancel()
    return found


async def test_a_budget_comes_back_as_it_was_sent_with_its_status(service):
    stored = await created(service, filter='agent = "a"', time_zone="Europe/Berlin")

    assert stored == await got(service)
    assert (stored.name, stored.limit_tokens, stored.filter) == (NAME, 1000, 'agent = "a"')
    assert list(stored.rules) == RULES
    assert stored.status.HasField("period_end_time")
    assert (stored.status.spent, stored.status.reserved, stored.status.blocking) == (0, 0, False)
    assert stored.HasField("create_time")


async def test_a_limit_can_change_and_the_kind_of_count_cannot(service):
    stored = await created(service)
    await used(service, 600)

    raised = await updated(service, pb.Budget(name=NAME, limit_tokens=2000, etag=stored.etag))
    other = await refusal(updated(service, pb.Budget(name=NAME, limit_requests=5)))
    stale = await refusal(updated(service, pb.Budget(name=NAME, limit_tokens=1, etag=stored.etag)))

    assert (raised.limit_tokens, raised.status.spent) == (2000, 600)
    assert (other.code, other.reason) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD")
    assert (stale.code, stale.reason) == (CODE.ABORTED, "ETAG_MISMATCH")


async def test_a_budget_that_is_used_up_blocks(service):
    await created(service)
    await used(service, 1000)

    status = (await got(service)).status

    assert (status.spent, status.blocking) == (1000, True)


async def test_budgets_are_listed_by_owner_and_filtered(service):
    await created(service)
    await created(service, "shared", parent="", disabled=True)
    await created(service, "c", disabled=True)

    async def names(**asked):
        found = await service.budgets.ListBudgets(pb.ListBudgetsRequest(**asked))
        return [one.name for one in found.budgets]

    assert await names(parent=ACME) == [NAME, f"{ACME}/budgets/c"]
    assert await names() == ["budgets/shared"]
    assert await names(parent="tenants/-", filter="disabled = true") == [
        "budgets/shared",
        f"{ACME}/budgets/c",
    ]


async def test_a_deleted_budget_is_gone(service):
    await created(service)

    await service.budgets.DeleteBudget(pb.DeleteBudgetRequest(name=NAME))

    assert (await refusal(got(service))).reason == "RESOURCE_NOT_FOUND"
    delete = pb.DeleteBudgetRequest(name=NAME)
    assert (await refusal(service.budgets.DeleteBudget(delete))).reason == "RESOURCE_NOT_FOUND"
    await service.budgets.DeleteBudget(pb.DeleteBudgetRequest(name=NAME, allow_missing=True))


async def test_a_repeated_creation_is_answered_as_before(service):
    request_id = "11111111-2222-4333-8444-555555555555"

    first = await created(service, request_id=request_id)

    assert (await created(service, request_id=request_id)).name == first.name
    assert (await refusal(created(service))).reason == "ALREADY_EXISTS"


async def test_a_tenant_has_no_more_budgets_than_it_may(service, monkeypatch):
    monkeypatch.setattr(budgets, "MAX_BUDGETS", 1)
    await created(service)

    refused = await refusal(created(service, "c"))
    others = await created(service, parent="tenants/umbra")

    assert (refused.code, refused.reason) == (CODE.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert "may have 1 budgets" in refused.text
    assert others.name == "tenants/umbra/budgets/b"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"limit_tokens": 0}, "budget.limit"),
        ({"limit_tokens": -1}, "budget.limit"),
        ({"period": 0}, "budget.period"),
        ({"time_zone": "Mars/Olympus"}, "budget.time_zone"),
        ({"filter": "colour = red"}, "budget.filter"),
        ({"filter": 'outcome = "OK"'}, "budget.filter"),
        ({"display_name": "x" * 257}, "budget.display_name"),
        ({"rules": [pb.BudgetRule(threshold_percent=80)]}, "budget.rules[0].action"),
        ({"rules": [*RULES, RULES[0]]}, "budget.rules"),
        (
            {"rules": [pb.BudgetRule(threshold_percent=0, action="ACTION_ALERT")]},
            "budget.rules[0].threshold_percent",
        ),
        (
            {"rules": [pb.BudgetRule(threshold_percent=8, action="ACTION_DOWNGRADE")]},
            "budget.rules[0].downgrade_model",
        ),
        (
            {
                "rules": [
                    pb.BudgetRule(threshold_percent=8, action="ACTION_ALERT", downgrade_model="m")
                ]
            },
            "budget.rules[0].downgrade_model",
        ),
    ],
)
async def test_what_is_wrong_with_a_budget_is_named(service, fields, path):
    refused = await refusal(created(service, **fields))

    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD")
    assert path in refused.text


async def test_thresholds_are_listed_and_watched_from_where_one_was(service):
    await created(service)
    async with service.database.begin() as tx:
        for number, percent in enumerate((50, 100), start=1):
            one = an_alert(number, subject=NAME, threshold_percent=percent, observed=percent * 10)
            await tx.alerts.add_once(one)
        await tx.alerts.add_once(an_alert(3, kind=AlertKind.ERROR_RATE, subject=NAME))

    listed = await service.budgets.ListBudgetAlerts(pb.ListBudgetAlertsRequest(parent=NAME))
    watch = pb.WatchBudgetAlertsRequest(parent=f"{ACME}/budgets/-")
    seen = await first(service.budgets.WatchBudgetAlerts(watch), 2)
    watch.resume_token = seen[0].resume_token
    rest = await first(service.budgets.WatchBudgetAlerts(watch), 1)

    alerts = list(listed.budget_alerts)
    assert [(one.threshold_percent, one.spent) for one in alerts] == [(50, 500), (100, 1000)]
    assert alerts[0].name.startswith(f"{NAME}/alerts/")
    assert alerts[0].action == pb.BudgetRule.ACTION_DOWNGRADE
    assert [one.budget_alert for one in seen] == alerts
    assert [one.budget_alert for one in rest] == alerts[1:]
