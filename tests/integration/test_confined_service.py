"""The whole service as an ordinary user of PostgreSQL, whom row-level security holds."""

from llm_service.domain.access import Role
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_grpc
from llm_service.rpc.stubs import model_service_pb2 as model_pb
from llm_service.rpc.stubs import model_service_pb2_grpc as model_grpc
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from llm_service.rpc.stubs import usage_service_pb2_grpc as usage_grpc
from llm_service.vault import Scheme, generate_key
from tests.e2e.service import asking
from tests.rpc.guarded import OTHER, OWN, bearer, guarded, plant


async def test_a_tenant_calls_administers_and_reads_its_usage(tmp_path, confined_url):
    key = generate_key(Scheme.FERNET_V1)
    environment = {"LLM_DATABASE_URL": confined_url, "LLM_ENCRYPTION_KEY": key}
    async with guarded(tmp_path, **environment) as service:
        operator = bearer(service.operator)
        await service.admin.CreateProvider(
            admin_pb.CreateProviderRequest(
                provider_id="echo", provider=provider_pb2.Provider(kind="echo")
            ),
            metadata=operator,
        )
        for tenant in (OWN, OTHER):
            await plant(service, tenant)
        completions = completion_grpc.CompletionServiceStub(service.channel)
        usage = usage_grpc.UsageServiceStub(service.channel)
        models = model_grpc.ModelServiceStub(service.channel)
        _, other = await service.new_key(Role.INVOKE, tenant=OTHER)

        # Another tenant's call is still in the queue when this tenant asks for its own.
        await completions.Complete(asking("echo-1"), metadata=bearer(other))
        mine = await completions.Complete(
            asking("echo-1"), metadata=bearer(service.keys[Role.INVOKE])
        )
        records = await usage.ListUsageRecords(
            usage_pb.ListUsageRecordsRequest(), metadata=bearer(service.keys[Role.USAGE_READ])
        )
        everybodys = await usage.ListUsageRecords(
            usage_pb.ListUsageRecordsRequest(parent="tenants/-"), metadata=operator
        )
        listed = await models.ListModels(
            model_pb.ListModelsRequest(page_size=1000), metadata=bearer(service.keys[Role.INVOKE])
        )
        by = bearer(service.keys[Role.ADMIN])
        name = f"tenants/{OWN}/providers/p"
        rotated = await service.admin.RotateCredential(
            admin_pb.RotateCredentialRequest(
                name=f"{name}/credentials/main",
                credential=provider_pb2.Credential(api_key="sk-another-0123456789"),
            ),
            metadata=by,
        )
        deleted = await service.admin.DeleteProvider(
            admin_pb.DeleteProviderRequest(name=name), metadata=by
        )

    assert [one.completion_id for one in records.usage_records] == [mine.completion.id]
    assert len(everybodys.usage_records) == 2
    names = {one.name for one in listed.models}
    assert "providers/echo/models/echo-1" in names
    assert f"{name}/models/m" in names
    assert not [one for one in names if OTHER in one]
    assert rotated.credential.name == f"{name}/credentials/main"
    assert deleted.provider.HasField("delete_time")
