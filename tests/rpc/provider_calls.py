"""Calls that administer providers, each giving what is inside its answer."""

from google.protobuf.field_mask_pb2 import FieldMask

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Provider

KEY = "sk-proj-canary-0123456789-tail"


async def created(service, provider_id="one", parent="", key="", **fields):
    request = pb.CreateProviderRequest(
        parent=parent, provider_id=provider_id, provider=Provider(**{"kind": "echo", **fields})
    )
    if key:
        request.credential.api_key = key
    return (await service.admin.CreateProvider(request)).provider


async def updated(service, provider, *paths, validate_only=False):
    answer = await service.admin.UpdateProvider(
        pb.UpdateProviderRequest(
            provider=provider, update_mask=FieldMask(paths=paths), validate_only=validate_only
        )
    )
    return answer.provider


async def got(service, name):
    return (await service.admin.GetProvider(pb.GetProviderRequest(name=name))).provider


async def credentials_of(service, name):
    answer = await service.admin.ListCredentials(pb.ListCredentialsRequest(parent=name))
    return list(answer.credentials)


async def generation_of(service, tenant):
    async with service.database.read() as tx:
        return dict(await tx.config.since(0)).get(tenant, 0)
