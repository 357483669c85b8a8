"""A credential that is the service's own identity: a pointer, stored and shown as one."""

import pytest

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider, WorkloadIdentity
from tests.rpc.administered import administered

NAME = "tenants/acme/providers/aws/credentials/default"


@pytest.fixture
async def admin(database_url):
    async with administered(database_url, keyring=False, workload_identity=True) as running:
        yield running.admin


async def create(admin, audience: str):
    await admin.CreateProvider(
        pb.CreateProviderRequest(
            parent="tenants/acme",
            provider_id="aws",
            provider=Provider(kind="bedrock", settings={"region": "eu-central-1"}),
            credential=Credential(workload_identity=WorkloadIdentity(audience=audience)),
        )
    )


@pytest.mark.parametrize("audience", ["", "sts.example"])
async def test_it_is_stored_without_a_key_ring_and_shown_as_it_was_given(admin, audience):
    await create(admin, audience)

    got = await admin.GetCredential(pb.GetCredentialRequest(name=NAME))

    credential = got.credential
    assert credential.source_type == Credential.SOURCE_TYPE_WORKLOAD_IDENTITY
    assert credential.WhichOneof("source") == "workload_identity"
    assert credential.workload_identity.audience == audience
    assert credential.state == Credential.STATE_ACTIVE
    assert not credential.secret_set
    provider = await admin.GetProvider(pb.GetProviderRequest(name="tenants/acme/providers/aws"))
    assert provider.provider.state == Provider.STATE_ACTIVE


async def test_what_was_read_can_be_sent_back_changed(admin):
    await create(admin, "sts.example")
    got = await admin.GetCredential(pb.GetCredentialRequest(name=NAME))
    got.credential.display_name = "ours"

    changed = await admin.UpdateCredential(pb.UpdateCredentialRequest(credential=got.credential))

    assert changed.credential.display_name == "ours"
    assert changed.credential.workload_identity.audience == "sts.example"
