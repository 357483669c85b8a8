"""Calls that administer credentials, each giving what is inside its answer."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from llm_service.gateway.manager import binding
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider

KEY = "sk-proj-canary-0123456789-tail"
OTHER_KEY = "sk-proj-canary-9876543210-next"
NAME = "tenants/acme/providers/one/credentials/main"


async def admin_of_one_provider(service):
    """The service's administration, with one provider of kind openai."""
    await service.admin.CreateProvider(
        pb.CreateProviderRequest(
            parent="tenants/acme", provider_id="one", provider=Provider(kind="openai")
        )
    )
    return service.admin


async def created(admin, credential_id="main", *, validate_only=False, **fields):
    request = pb.CreateCredentialRequest(
        parent="tenants/acme/providers/one",
        credential_id=credential_id,
        credential=Credential(**(fields or {"api_key": KEY})),
        validate_only=validate_only,
    )
    return (await admin.CreateCredential(request)).credential


async def got(admin, name=NAME):
    return (await admin.GetCredential(pb.GetCredentialRequest(name=name))).credential


async def rotated(admin, grace=0, etag="", **source):
    request = pb.RotateCredentialRequest(
        name=NAME,
        credential=Credential(**source),
        grace_period=Duration(seconds=grace),
        etag=etag,
    )
    return (await admin.RotateCredential(request)).credential


async def updated(admin, credential, *paths):
    request = pb.UpdateCredentialRequest(credential=credential, update_mask=FieldMask(paths=paths))
    return (await admin.UpdateCredential(request)).credential


async def stored_secrets(service):
    """Each stored credential of the provider, opened as an adapter's would be."""
    async with service.database.read() as tx:
        provider = await tx.providers.get("acme", "one")
        return {
            one.credential_id: service.vault.open(one.sealed, binding(provider, one))
            for one in await tx.credentials.of_provider(provider.uid)
            if one.sealed
        }
