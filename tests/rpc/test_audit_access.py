"""Making, changing and revoking a client key each leave one entry, and none shows the key."""

import shutil

import pytest
from google.protobuf import field_mask_pb2

from llm_service.domain.access import Role
from llm_service.rpc.stubs import access_service_pb2 as pb
from llm_service.rpc.stubs import audit_service_pb2 as audit_pb
from llm_service.rpc.stubs import audit_service_pb2_grpc as audit_grpc
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from tests.rpc.guarded import bearer, guarded, number_of, outcome


@pytest.fixture
async def service(embedded_folder, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(embedded_folder, folder)
    async with guarded(folder) as one:
        yield one


async def entries(service, parent="tenants/-"):
    stub = audit_grpc.AuditServiceStub(service.channel)
    request = audit_pb.ListAuditEntriesRequest(
        parent=parent, filter='method:"ClientKey"', order_by="create_time"
    )
    answer = await stub.ListAuditEntries(request, metadata=bearer(service.operator))
    return list(answer.audit_entries)


async def test_the_life_of_a_key_is_audited_and_the_key_is_not_shown(service):
    by = bearer(service.operator)
    before = len(await entries(service))
    key = pb.ClientKey(display_name="nightly", roles=[number_of(Role.INVOKE)])
    made = await service.access.CreateClientKey(
        pb.CreateClientKeyRequest(parent="tenants/acme", client_key=key), metadata=by
    )
    name = made.client_key.name
    await service.access.UpdateClientKey(
        pb.UpdateClientKeyRequest(
            client_key=pb.ClientKey(name=name, disabled=True),
            update_mask=field_mask_pb2.FieldMask(paths=["disabled"]),
        ),
        metadata=by,
    )
    await service.access.RevokeClientKey(pb.RevokeClientKeyRequest(name=name), metadata=by)

    found = (await entries(service))[before:]

    assert [one.method.rpartition("/")[2] for one in found] == [
        "CreateClientKey",
        "UpdateClientKey",
        "RevokeClientKey",
    ]
    assert {change.resource for one in found for change in one.changes} == {name}
    assert {change.path for change in found[0].changes} == {"display_name", "roles", "state"}
    assert {change.path for change in found[1].changes} == {"disabled"}
    assert {change.path for change in found[2].changes} == {"revoke_time", "state"}
    assert {one.principal for one in found} == {found[0].principal} != {""}
    assert made.key_text.split("_")[2] not in str(found)


async def test_a_read_that_its_caller_may_not_make_is_audited_and_another_is_not(service):
    name, text = await service.new_key(Role.CONFIG, tenant="acme")
    _, reader = await service.new_key(Role.ADMIN, tenant="acme")
    audit = audit_grpc.AuditServiceStub(service.channel)
    every = audit_pb.ListAuditEntriesRequest(parent="tenants/-", filter='method:"ListProviders"')

    for key, parent in ((text, "tenants/acme"), (reader, "tenants/umbrella")):
        await outcome(
            service.admin.ListProviders(
                admin_pb.ListProvidersRequest(parent=parent), metadata=bearer(key)
            )
        )
    await service.admin.ListProviders(
        admin_pb.ListProvidersRequest(parent="tenants/acme"), metadata=bearer(reader)
    )

    answer = await audit.ListAuditEntries(every, metadata=bearer(service.operator))
    assert [one.error.reason for one in answer.audit_entries] == ["PERMISSION_DENIED"] * 2
    assert name in {one.principal for one in answer.audit_entries}


async def test_a_key_that_is_refused_is_audited_with_the_reason(service):
    _, text = await service.new_key(Role.ACCESS, tenant="acme")
    wanted = pb.ClientKey(display_name="more", roles=[number_of(Role.ADMIN)])
    before = len(await entries(service))

    refused = await outcome(
        service.access.CreateClientKey(
            pb.CreateClientKeyRequest(parent="tenants/acme", client_key=wanted),
            metadata=bearer(text),
        )
    )

    (entry,) = (await entries(service))[before:]
    assert refused.reason == entry.error.reason == "PERMISSION_DENIED"
    assert not entry.changes
