"""AuditService: entries by filter and page, and verdicts on chains."""

import re

import grpc
import pytest
from sqlalchemy import create_engine, make_url, text

from llm_service.domain.access import ANYONE, Principal, Role
from llm_service.rpc.stubs import audit_service_pb2 as audit_pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Provider
from tests.rpc.administered import administered, refusal
from tests.rpc.test_audit_every_call import NAME, entries

CODE = grpc.StatusCode
ALICE, BOB = (Principal(f"clientKeys/{name}", "", frozenset(Role)) for name in ("alice", "bob"))


async def created(service, provider_id, tenant="acme"):
    await service.admin.CreateProvider(
        pb.CreateProviderRequest(
            parent=f"tenants/{tenant}" if tenant else "",
            provider_id=provider_id,
            provider=Provider(kind="echo"),
        )
    )


async def verdicts(service, parent="tenants/-", anchors=()):
    request = audit_pb.VerifyAuditRequest(parent=parent, anchors=anchors)
    return [one async for one in service.audit.VerifyAudit(request)]


async def refused_verdicts(service, **asked):
    async def read():
        return await service.audit.VerifyAudit(audit_pb.VerifyAuditRequest(**asked)).read()

    return await refusal(read())


@pytest.fixture
async def three(database_url):
    """Entries by alice of a success and a refusal, and one by bob of what is shared."""
    makers = [ALICE, ALICE, BOB]

    async def authenticate(method, context, metadata):
        return makers.pop(0) if "ProviderAdmin" in method else ANYONE

    async with administered(database_url, authenticate=authenticate) as service:
        await created(service, "one")
        await refusal(service.admin.DeleteProvider(pb.DeleteProviderRequest(name=f"{NAME}x")))
        await created(service, "shared", "")
        yield service


@pytest.mark.parametrize(
    ("filter_text", "found"),
    [
        ("", 3),
        ('principal = "clientKeys/alice"', 2),
        ('principal = "clientKeys/bob"', 1),
        ('error.reason = "RESOURCE_NOT_FOUND"', 1),
        ('error.reason = ""', 2),
        (f'resource = "{NAME}"', 1),
        (f'changes.resource:"{NAME}"', 1),
        (f'changes.resource:"{NAME}x"', 0),
        ('method:"deleteprovider"', 1),
        ('peer_ip_address = "127.0.0.1"', 3),
        ('create_time > "2020-01-01T00:00:00Z"', 3),
        ('create_time < "2020-01-01T00:00:00Z"', 0),
        ('request_id = "other"', 0),
        ('sealing_key_id != ""', 3),
        ('principal:"alice" AND NOT error.reason = ""', 1),
    ],
)
async def test_entries_are_found_by_what_they_hold(three, filter_text, found):
    assert len(await entries(three, filter=filter_text)) == found


async def test_entries_are_found_by_the_trace_id_that_the_caller_was_given(service):
    call = service.admin.CreateProvider(
        pb.CreateProviderRequest(provider_id="one", provider=Provider(kind="echo"))
    )
    await call
    trace_id = dict(await call.trailing_metadata())["llmservice-trace-id"]

    (entry,) = await entries(service, filter=f'trace_id = "{trace_id}"')

    assert entry.resource == "providers/one"


async def test_a_list_holds_one_chain_or_all(three):
    assert [one.name for one in await entries(three, "")] == ["auditEntries/1"]
    assert [one.name for one in await entries(three, "tenants/acme")] == [
        "tenants/acme/auditEntries/2",
        "tenants/acme/auditEntries/1",
    ]
    assert await entries(three, "tenants/umbrella") == []
    assert len(await entries(three)) == 3


async def test_pages_go_back_in_time_without_a_gap(service):
    for number in range(5):
        await created(service, f"p{number}")
    seen, token = [], ""

    while True:
        answer = await service.audit.ListAuditEntries(
            audit_pb.ListAuditEntriesRequest(parent="tenants/acme", page_size=2, page_token=token)
        )
        seen += [one.resource.rpartition("/")[2] for one in answer.audit_entries]
        if not (token := answer.next_page_token):
            break

    assert seen == ["p4", "p3", "p2", "p1", "p0"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"filter": 'digest = "x"'}, "filter"),
        ({"filter": 'changes.old_value_json = "x"'}, "filter"),
        ({"order_by": "changes.resource"}, "order_by"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"parent": "acme"}, "parent"),
    ],
)
async def test_a_list_refuses_what_it_does_not_know(service, asked, field):
    call = service.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(**asked))

    refused = await refusal(call)

    assert (refused.code, refused.fields) == (CODE.INVALID_ARGUMENT, (field,))


async def test_verdicts_say_that_chains_are_intact_and_where_they_end(three):
    found = await verdicts(three)

    assert [(one.anchor.parent, one.anchor.sequence) for one in found] == [
        ("", 1),
        ("tenants/acme", 2),
    ]
    assert not any(one.problem or one.broken_sequence for one in found)
    assert all(re.fullmatch("[0-9a-f]{64}", one.anchor.digest) for one in found)
    (last, *_) = await entries(three, "tenants/acme")
    assert found[1].anchor.digest == last.digest
    assert await verdicts(three, anchors=[one.anchor for one in found]) == found


async def test_a_verdict_says_where_a_chain_breaks(three, database_url):
    kept = [one.anchor for one in await verdicts(three)]
    engine = create_engine(make_url(database_url).set(drivername="sqlite"))
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_entries_update"))
        connection.execute(text("UPDATE audit_entries SET principal = 'x' WHERE sequence = 2"))
    engine.dispose()

    shared, acme = await verdicts(three, anchors=kept)

    assert shared.problem == audit_pb.VerifyAuditResponse.PROBLEM_UNSPECIFIED
    assert acme.problem == audit_pb.VerifyAuditResponse.PROBLEM_ENTRY_ALTERED
    assert acme.broken_sequence == 2


async def test_a_chain_nobody_wrote_to_is_intact(service):
    (found,) = await verdicts(service, "tenants/umbrella")

    assert (found.anchor.parent, found.anchor.sequence) == ("tenants/umbrella", 0)
    assert not found.problem


async def test_verdicts_are_refused_for_what_is_no_chain(service):
    anchor = audit_pb.AuditAnchor(parent="acme", sequence=1)
    refused = await refused_verdicts(service, parent="acme", anchors=[anchor])
    too_many = await refused_verdicts(service, anchors=[audit_pb.AuditAnchor()] * 1001)

    assert refused.code is CODE.INVALID_ARGUMENT
    assert set(refused.fields) == {"parent", "anchors[0].parent"}
    assert too_many.fields == ("anchors",)


async def test_verdicts_need_a_key(database_url):
    async with administered(database_url, keyring=False) as service:
        await created(service, "one")
        refused = await refused_verdicts(service)
        (entry,) = await entries(service)

    assert refused.reason == "ENCRYPTION_KEY_MISSING"
    assert (entry.sealing_key_id, entry.sealing_epoch) == ("", 0)
    assert entry.digest
