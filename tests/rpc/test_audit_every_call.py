"""Each administrative call leaves exactly one entry, whether it succeeds or is refused."""

import asyncio
import re

import pytest

from llm_service.domain.access import ANYONE, Principal, Role
from llm_service.errors import EtagMismatch
from llm_service.rpc import audits
from llm_service.rpc.stubs import access_service_pb2 as access_pb
from llm_service.rpc.stubs import (
    alert_service_pb2,
    budget_service_pb2,
    usage_service_pb2,
    webhook_service_pb2,
)
from llm_service.rpc.stubs import audit_service_pb2 as audit_pb
from llm_service.rpc.stubs import config_service_pb2 as config_pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Provider
from tests.rpc.administered import administered, refusal
from tests.rpc.audit_cases import (
    BUDGETS,
    CASES,
    CONFIGS,
    CREDENTIAL,
    MAIN,
    NAME,
    ONE,
    PARENT,
    SERVICE,
    UPDATE,
    WEBHOOKS,
    a_provider,
    calling,
    entries,
    path_of,
    prepared,
)

FILES = (
    *(pb, config_pb, access_pb, usage_service_pb2, audit_pb),
    *(alert_service_pb2, budget_service_pb2, webhook_service_pb2),
)
CLIENT_KEY_METHODS = {"CreateClientKey", "UpdateClientKey", "RevokeClientKey"}
"""Tried in test_audit_access.py: their resources have names of the service's own choice."""

EVERY = pytest.mark.parametrize("method", sorted(CASES))


def test_every_method_that_does_not_only_read_is_audited_and_tried_here():
    services = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]

    audited = {
        method.name
        for service in services
        for method in service.methods
        if audits.is_audited(f"/{service.full_name}/{method.name}")
    }

    assert audited == set(CASES) | CLIENT_KEY_METHODS


@EVERY
async def test_a_call_that_succeeds_leaves_one_entry_with_its_changes(service, method):
    case = CASES[method]
    known = await prepared(service, case)

    call = calling(service, case.request)
    await call

    found = await entries(service)
    assert len(found) == known + 1
    entry = found[0]
    trailing = dict(await call.trailing_metadata())
    assert entry.principal == "anonymous"
    assert entry.peer_ip_address == "127.0.0.1"
    assert entry.method == path_of(method)
    assert entry.resource == case.resource
    assert not entry.HasField("error")
    assert entry.trace_id == trailing["llmservice-trace-id"]
    assert re.fullmatch("[0-9a-f]{32}", entry.trace_id)
    assert {change.path for change in entry.changes} == case.paths
    assert "canary" not in str(entry)
    assert entry.name.startswith(f"{case.chain}auditEntries/")


async def test_a_call_that_is_refused_leaves_one_entry_with_its_reason(service):
    for number, (method, case) in enumerate(CASES.items(), start=1):
        request = case.wrong or type(case.request)()
        if "requests" in request.DESCRIPTOR.fields_by_name:
            request.requests.add()

        refused = await refusal(calling(service, request))

        found = await entries(service)
        assert len(found) == number
        entry = found[0]
        assert entry.method == path_of(method)
        assert entry.principal == "anonymous"
        assert entry.error.reason == refused.reason == "INVALID_FIELD"
        assert entry.error.code == refused.code.value[0]
        assert not entry.changes


@pytest.mark.parametrize("reason", ["RESOURCE_NOT_FOUND", "ETAG_MISMATCH", "ALREADY_EXISTS"])
async def test_a_call_refused_within_its_transaction_leaves_one_entry(service, reason):
    if reason != "RESOURCE_NOT_FOUND":
        await calling(service, ONE)
    request = ONE if reason == "ALREADY_EXISTS" else pb.DeleteProviderRequest(name=NAME, etag='"7"')
    known = len(await entries(service))

    await refusal(calling(service, request))

    found = await entries(service)
    assert len(found) == known + 1
    assert (found[0].error.reason, found[0].resource) == (reason, NAME)
    assert not found[0].changes


async def test_a_call_that_is_turned_away_is_nobodys(database_url):
    async def nobody(called, context, metadata):
        if any(owner in called for owner in (SERVICE, CONFIGS, WEBHOOKS, BUDGETS)):
            raise EtagMismatch("stands in for whatever an authenticator raises")
        return ANYONE

    async with administered(database_url, authenticate=nobody) as service:
        for case in CASES.values():
            await refusal(calling(service, case.request))
        found = await entries(service, order_by="create_time")

    assert [one.resource for one in found] == [case.resource for case in CASES.values()]
    assert {(one.principal, one.error.reason) for one in found} == {("", "ETAG_MISMATCH")}
    # Not in the chain of the tenant they only name.
    assert found[-1].name == f"auditEntries/{len(CASES)}"


async def test_a_refused_call_is_in_the_chain_of_its_callers_tenant(database_url):
    async def of_umbrella(called, context, metadata):
        return Principal("clientKeys/mallory", "umbrella", frozenset(Role))

    async with administered(database_url, authenticate=of_umbrella) as service:
        await refusal(calling(service, UPDATE))
        (entry,) = await entries(service)

    assert entry.name == "tenants/umbrella/auditEntries/1"
    assert (entry.principal, entry.resource) == ("clientKeys/mallory", NAME)


async def test_a_call_that_changes_nothing_says_so(service):
    await service.admin.CreateProvider(
        pb.CreateProviderRequest(
            parent=PARENT, provider_id="one", provider=Provider(kind="echo"), validate_only=True
        )
    )
    await service.admin.DeleteProvider(
        pb.DeleteProviderRequest(name=NAME, allow_missing=True, etag="")
    )

    found = await entries(service)

    assert [one.resource for one in found] == [NAME, NAME]
    assert not any(one.changes or one.HasField("error") for one in found)


async def test_a_call_that_its_caller_gave_up_says_so(service):
    reached = asyncio.Event()

    async def never(deadline):
        reached.set()
        await asyncio.Event().wait()

    await calling(service, ONE)
    await calling(service, MAIN)
    service.vendor.adapter.models = never

    call = calling(service, pb.CheckProviderRequest(name=NAME))
    async with asyncio.timeout(20):
        await reached.wait()
        call.cancel()
        while len(found := await entries(service)) < 3:
            pass

    assert found[0].method.endswith("/CheckProvider")
    assert found[0].error.reason == "CANCELLED"


async def test_a_call_that_broke_says_so(service):
    await calling(service, ONE)
    await calling(service, MAIN)
    service.vendor.adapter.failure = ValueError("canary")

    refused = await refusal(calling(service, pb.CheckProviderRequest(name=NAME)))

    entry = (await entries(service))[0]
    assert entry.error.reason == refused.reason == "INTERNAL"
    assert "canary" not in str(entry)


async def test_reads_leave_no_entry(service):
    await service.admin.ListProviders(pb.ListProvidersRequest())
    await refusal(service.admin.GetProvider(pb.GetProviderRequest(name=NAME)))

    assert await entries(service) == []


async def test_a_request_id_is_kept(service):
    request = a_provider()
    request.request_id = "5b0e1f6e-0000-4000-8000-000000000001"

    await calling(service, request)

    (entry,) = await entries(service)
    assert entry.request_id == request.request_id


async def test_a_batch_over_tenants_leaves_an_entry_in_each_ones_chain(service):
    for tenant in ("acme", "umbrella"):
        await service.admin.CreateProvider(
            pb.CreateProviderRequest(
                parent=f"tenants/{tenant}", provider_id="one", provider=Provider(kind="echo")
            )
        )

    await service.admin.BatchDeleteProviders(
        pb.BatchDeleteProvidersRequest(
            parent="tenants/-",
            requests=[
                pb.DeleteProviderRequest(name=f"tenants/{one}/providers/one")
                for one in ("umbrella", "acme")
            ],
        )
    )

    found = await entries(service)
    assert {one.name for one in found[:2]} == {
        "tenants/acme/auditEntries/2",
        "tenants/umbrella/auditEntries/2",
    }
    for one in found[:2]:
        owner = one.name.split("/")[1]
        assert {change.resource for change in one.changes} == {f"tenants/{owner}/providers/one"}


async def test_old_and_new_values_are_json(service):
    await calling(service, a_provider(display_name="Old", labels={"team": "x", "gone": "y"}))
    provider = Provider(name=NAME, display_name='New "one"', labels={"team": "z"}, disabled=True)

    await calling(service, pb.UpdateProviderRequest(provider=provider))

    entry = (await entries(service))[0]
    assert {(one.path, one.old_value_json, one.new_value_json) for one in entry.changes} == {
        ("display_name", '"Old"', '"New \\"one\\""'),
        ("disabled", "", "true"),
        ("labels.gone", '"y"', ""),
        ("labels.team", '"x"', '"z"'),
    }


async def test_a_new_secret_shows_as_redacted_before_and_after(service):
    for request in (ONE, MAIN, CASES["RotateCredential"].request):
        await calling(service, request)

    (change,) = (await entries(service))[0].changes

    assert (change.resource, change.path) == (CREDENTIAL, "api_key")
    assert change.old_value_json == change.new_value_json == '"[redacted]"'
