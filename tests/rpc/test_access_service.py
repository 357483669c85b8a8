"""AccessService, and what stands around every call: policies, tenants, the header, reflection."""

import shutil
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf import field_mask_pb2
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from llm_service.domain.access import SERVICE, Role
from llm_service.errors import PermissionDenied
from llm_service.rpc.callers import Permits
from llm_service.rpc.policy import ROLES, Unprotected, policies
from llm_service.rpc.server import build_server
from llm_service.rpc.stubs import access_service_pb2 as pb
from llm_service.rpc.stubs import (
    common_pb2,
    completion_pb2,
    content_pb2,
    provider_pb2,
    usage_service_pb2,
)
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_grpc
from llm_service.rpc.stubs import config_service_pb2 as config_pb
from llm_service.rpc.stubs import config_service_pb2_grpc as config_grpc
from llm_service.rpc.stubs import model_service_pb2 as model_pb
from llm_service.rpc.stubs import model_service_pb2_grpc as model_grpc
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import usage_service_pb2_grpc as usage_grpc
from llm_service.telemetry import Telemetry
from tests.rpc.guarded import OTHER, OWN, bearer, guarded, number_of, outcome, plant
from tests.rpc.scripted import running
from tests.rpc.test_reflection import ask


@pytest.fixture(scope="module")
async def service(embedded_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded") / "data"
    shutil.copytree(embedded_folder, folder)
    async with guarded(folder) as one:
        for tenant in ("", OWN, OTHER):
            await plant(one, tenant)
        yield one


def saying(text: str = "hi", **fields) -> completion_pb2.CompletionRequest:
    part = content_pb2.ContentPart(text=text)
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])
    return completion_pb2.CompletionRequest(model="echo-1", messages=[message], **fields)


# --- client keys ---------------------------------------------------------------------------------


async def test_a_key_is_made_got_listed_changed_and_revoked(service):
    by = bearer(service.operator)
    wanted = pb.ClientKey(display_name="nightly", roles=[number_of(Role.INVOKE)])
    wanted.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    request = pb.CreateClientKeyRequest(parent="tenants/crud", client_key=wanted)
    made = (await service.access.CreateClientKey(request, metadata=by)).client_key

    got = await service.access.GetClientKey(pb.GetClientKeyRequest(name=made.name), metadata=by)
    listed = await service.access.ListClientKeys(
        pb.ListClientKeysRequest(parent="tenants/crud", filter='display_name = "nightly"'),
        metadata=by,
    )
    change = pb.UpdateClientKeyRequest(
        client_key=pb.ClientKey(name=made.name, disabled=True, etag=made.etag),
        update_mask=field_mask_pb2.FieldMask(paths=["disabled"]),
    )
    changed = (await service.access.UpdateClientKey(change, metadata=by)).client_key
    stale = await outcome(service.access.UpdateClientKey(change, metadata=by))
    revoke = pb.RevokeClientKeyRequest(name=made.name)
    revoked = (await service.access.RevokeClientKey(revoke, metadata=by)).client_key

    assert made.name.startswith("tenants/crud/clientKeys/")
    assert made.state == pb.ClientKey.STATE_ACTIVE
    assert list(listed.client_keys) == [got.client_key] == [made]
    assert changed.state == pb.ClientKey.STATE_DISABLED
    assert changed.expire_time == made.expire_time
    assert (stale.code, stale.reason) == (StatusCode.ABORTED, "ETAG_MISMATCH")
    assert revoked.state == pb.ClientKey.STATE_REVOKED
    assert revoked.HasField("revoke_time")


async def test_a_keys_text_is_in_no_answer_but_the_first(service):
    name, text = await service.new_key(Role.INVOKE, tenant="crud")
    by = bearer(service.operator)

    answers = [
        await service.access.GetClientKey(pb.GetClientKeyRequest(name=name), metadata=by),
        await service.access.ListClientKeys(
            pb.ListClientKeysRequest(parent="tenants/-", page_size=1000), metadata=by
        ),
    ]

    assert name in str(answers[1])
    assert text.split("_")[2] not in f"{answers}"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateClientKeyRequest(), "client_key.roles"),
        (pb.CreateClientKeyRequest(client_key=pb.ClientKey(roles=[1, 1])), "client_key.roles[1]"),
        (pb.CreateClientKeyRequest(client_key=pb.ClientKey(roles=[0])), "client_key.roles[0]"),
        (pb.CreateClientKeyRequest(client_key=pb.ClientKey(roles=[99])), "client_key.roles[0]"),
        (pb.CreateClientKeyRequest(parent="acme"), "parent"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused_by_field(service, request_, field):
    call = service.access.CreateClientKey(request_, metadata=bearer(service.operator))

    refused = await outcome(call)

    assert (refused.code, refused.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert f"{field}:" in refused.details


async def test_a_change_of_a_key_holds_with_the_next_call(service):
    name, text = await service.new_key(Role.INVOKE, tenant=OWN)
    stub = completion_grpc.CompletionServiceStub(service.channel)
    assert (await outcome(stub.Complete(saying(), metadata=bearer(text)))).code is StatusCode.OK

    await service.access.RevokeClientKey(
        pb.RevokeClientKeyRequest(name=name), metadata=bearer(service.operator)
    )

    refused = await outcome(stub.Complete(saying(), metadata=bearer(text)))
    assert (refused.code, refused.reason) == (StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED")


async def test_a7_a_tenants_key_makes_keys_of_its_tenant_only(service):
    _, boss = await service.new_key(Role.ACCESS, Role.INVOKE, tenant=OWN)

    name, _ = await service.new_key(Role.INVOKE, by=boss)
    elsewhere = pb.CreateClientKeyRequest(parent=f"tenants/{OTHER}")
    wider = pb.CreateClientKeyRequest(client_key=pb.ClientKey(roles=[number_of(Role.ADMIN)]))

    assert name.startswith(f"tenants/{OWN}/clientKeys/")
    for request in (elsewhere, wider):
        refused = await outcome(service.access.CreateClientKey(request, metadata=bearer(boss)))
        assert (refused.code, refused.reason) == (
            StatusCode.PERMISSION_DENIED,
            "PERMISSION_DENIED",
        )


# --- tenants -------------------------------------------------------------------------------------


async def test_a_call_that_names_no_tenant_is_its_callers(service):
    stub = completion_grpc.CompletionServiceStub(service.channel)
    usage = usage_grpc.UsageServiceStub(service.channel)
    answer = await stub.Complete(saying(), metadata=bearer(service.keys[Role.INVOKE]))

    records = await usage.ListUsageRecords(
        usage_service_pb2.ListUsageRecordsRequest(
            parent="tenants/-", filter=f'completion_id = "{answer.completion.id}"'
        ),
        metadata=bearer(service.keys[Role.USAGE_READ]),
    )

    [record] = records.usage_records
    assert record.attribution.tenant == f"tenants/{OWN}"


async def test_a8_a_tenant_lists_its_own_providers_whatever_parent_it_may_name(service):
    by = bearer(service.keys[Role.ADMIN])

    for parent in ("", f"tenants/{OWN}", "tenants/-"):
        found = await service.admin.ListProviders(
            admin_pb.ListProvidersRequest(parent=parent), metadata=by
        )
        assert [one.name for one in found.providers] == [f"tenants/{OWN}/providers/p"]


async def test_a8_what_is_shared_is_used_and_seen_in_the_catalogue_but_not_administered(service):
    stub = model_grpc.ModelServiceStub(service.channel)
    by = bearer(service.keys[Role.INVOKE])
    admin = bearer(service.keys[Role.ADMIN])

    model = await stub.GetModel(model_pb.GetModelRequest(name="providers/p/models/m"), metadata=by)
    listed = await stub.ListModels(
        model_pb.ListModelsRequest(filter='provider_model : "m-of-"'), metadata=by
    )
    read = await outcome(
        service.admin.GetProvider(admin_pb.GetProviderRequest(name="providers/p"), metadata=admin)
    )
    missing = await outcome(
        service.admin.GetProvider(admin_pb.GetProviderRequest(name="providers/q"), metadata=admin)
    )
    deleted = await outcome(
        service.admin.DeleteProvider(
            admin_pb.DeleteProviderRequest(name="providers/p"), metadata=admin
        )
    )

    assert model.model.provider_model == "m-of-"
    assert {one.provider_model for one in listed.models} == {"m-of-", f"m-of-{OWN}"}
    assert read == missing == deleted
    assert read.code is StatusCode.NOT_FOUND


async def test_a8_a_model_of_another_tenant_cannot_be_called_by_its_name(service):
    stub = completion_grpc.CompletionServiceStub(service.channel)
    by = bearer(service.keys[Role.INVOKE])
    there, missing = saying(), saying()
    there.model = f"tenants/{OTHER}/providers/p/models/m"
    missing.model = f"tenants/{OTHER}/providers/q/models/m"

    one = await outcome(stub.Complete(there, metadata=by))
    other = await outcome(stub.Complete(missing, metadata=by))

    assert (one.code, one.reason) == (other.code, other.reason)
    assert one.code is StatusCode.NOT_FOUND
    assert one.details.replace("/p/", "/q/") == other.details


async def test_a_tenant_cannot_send_the_operators_own_keys_to_an_address_of_its_choice(service):
    def request(provider_id: str) -> admin_pb.CreateProviderRequest:
        return admin_pb.CreateProviderRequest(
            parent=f"tenants/{OWN}",
            provider_id=provider_id,
            provider=provider_pb2.Provider(kind="openai"),
            credential=provider_pb2.Credential(environment_variable="OPENAI_API_KEY"),
        )

    tenant = await outcome(
        service.admin.CreateProvider(request("lent"), metadata=bearer(service.keys[Role.ADMIN]))
    )
    operator = await outcome(
        service.admin.CreateProvider(request("lent"), metadata=bearer(service.operator))
    )

    assert (tenant.code, tenant.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "credential.environment_variable" in tenant.details
    assert operator.code is StatusCode.OK


@pytest.mark.parametrize(
    ("header", "attribution", "code"),
    [
        (OWN, "", StatusCode.OK),
        (OWN, f"tenants/{OWN}", StatusCode.OK),
        (OTHER, "", StatusCode.INVALID_ARGUMENT),
        (OTHER, f"tenants/{OWN}", StatusCode.INVALID_ARGUMENT),
        (OTHER, f"tenants/{OTHER}", StatusCode.PERMISSION_DENIED),
    ],
)
async def test_the_tenant_header_only_mirrors(service, header, attribution, code):
    stub = completion_grpc.CompletionServiceStub(service.channel)
    metadata = (*bearer(service.keys[Role.INVOKE]), ("llmservice-tenant", header))
    request = saying(attribution=common_pb2.Attribution(tenant=attribution))

    assert (await outcome(stub.Complete(request, metadata=metadata))).code is code


async def test_a_caller_of_every_tenant_may_name_any(service):
    stub = completion_grpc.CompletionServiceStub(service.channel)
    request = saying(attribution=common_pb2.Attribution(tenant="tenants/anybody"))

    found = await outcome(stub.Complete(request, metadata=bearer(service.operator)))

    assert found.code is StatusCode.OK


# --- policies and the surface --------------------------------------------------------------------


def test_a6_a_method_without_a_policy_is_named():
    with pytest.raises(Unprotected, match=r"/llmservice\.v1\.NewService/Do"):
        policies(["/llmservice.v1.ModelService/GetModel", "/llmservice.v1.NewService/Do"])


@pytest.mark.parametrize(
    ("service_name", "streams"),
    [("llmservice.v1.NewService", False), ("llmservice.v1.CompletionService", True)],
)
async def test_a6_a_server_does_not_start_with_a_method_nothing_guards(service_name, streams):
    make = grpc.stream_unary_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
    handlers = {"Do": make(lambda request, context: None)}

    def add(servicer, server):
        generic = grpc.method_handlers_generic_handler(service_name, handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(service_name, handlers)

    with pytest.raises(Unprotected, match="Do"):
        build_server([(add, object())], telemetry=Telemetry.start(service_version="test"))


def test_a6_a_method_that_is_in_no_table_is_for_nobody():
    with pytest.raises(PermissionDenied, match="role"):
        Permits({}).require("/llmservice.v1.CompletionService/Complete", SERVICE)


def test_every_service_has_one_role_and_audit_does_not_come_with_admin():
    assert ROLES["llmservice.v1.AuditService"] is Role.AUDIT_READ
    assert {role for role in ROLES.values() if role is not None} == set(Role)


async def test_a10_health_needs_no_key_and_says_no_more_than_a_status(service):
    stub = health_pb2_grpc.HealthStub(service.channel)

    answer = await stub.Check(health_pb2.HealthCheckRequest())

    assert answer == health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a10_reflection_is_off_where_keys_are_asked_for(service, version):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(service.channel, version, list_services="")

    assert caught.value.code() is StatusCode.UNIMPLEMENTED


async def test_a10_reflection_that_is_switched_on_needs_no_key():
    async def nobody(method, context, metadata):
        raise AssertionError(method)

    async with running(authenticate=nobody) as server:
        reply = await ask(server.channel, "v1", list_services="")

    assert isinstance(reply, reflection_pb2.ServerReflectionResponse)
    assert len(reply.list_services_response.service) == 4


async def test_a8_a_tenant_learns_of_no_shared_credential_by_naming_it(service):
    configs = config_grpc.ConfigServiceStub(service.channel)
    credential = "providers/p/credentials/main"
    wanted = config_pb.CreateModelConfigRequest(
        parent=f"tenants/{OWN}",
        model_config_id="mine",
        model_config=config_pb.ModelConfig(
            targets=[config_pb.Target(model="m", credential=credential)]
        ),
    )
    by = bearer(service.keys[Role.CONFIG])

    refused = await outcome(configs.CreateModelConfig(wanted, metadata=by))
    await configs.CreateModelConfig(wanted, metadata=bearer(service.operator))
    changed = await configs.UpdateModelConfig(
        config_pb.UpdateModelConfigRequest(
            model_config=config_pb.ModelConfig(
                name=f"tenants/{OWN}/modelConfigs/mine", display_name="Mine"
            ),
            update_mask=field_mask_pb2.FieldMask(paths=["display_name"]),
        ),
        metadata=by,
    )

    assert refused.reason == "INVALID_FIELD"
    assert changed.model_config.targets[0].credential == credential
