"""Providers deleted and brought back, through the wire into a real database."""

import grpc

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Provider
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import KEY, created, updated

CODE = grpc.StatusCode


async def test_a_deleted_provider_can_come_back(service):
    await created(service, kind="openai", key=KEY)

    deleted = (
        await service.admin.DeleteProvider(pb.DeleteProviderRequest(name="providers/one"))
    ).provider
    listed = await service.admin.ListProviders(pb.ListProvidersRequest())
    with_deleted = await service.admin.ListProviders(pb.ListProvidersRequest(show_deleted=True))
    back = (
        await service.admin.UndeleteProvider(pb.UndeleteProviderRequest(name="providers/one"))
    ).provider

    assert deleted.state == Provider.STATE_DELETED
    assert deleted.purge_time.seconds - deleted.delete_time.seconds == 30 * 86_400
    assert not listed.providers
    assert len(with_deleted.providers) == 1
    assert back.state == Provider.STATE_ACTIVE
    assert not back.HasField("purge_time")


async def test_a_deleted_provider_cannot_be_changed_and_keeps_its_id(service):
    await created(service)
    await service.admin.DeleteProvider(pb.DeleteProviderRequest(name="providers/one"))

    changing = await refusal(updated(service, Provider(name="providers/one", display_name="x")))
    deleting = await refusal(
        service.admin.DeleteProvider(pb.DeleteProviderRequest(name="providers/one"))
    )
    creating = await refusal(created(service))

    assert changing.code is deleting.code is CODE.NOT_FOUND
    assert creating.code is CODE.ALREADY_EXISTS


async def test_deleting_what_is_missing_may_be_allowed(service):
    answer = await service.admin.DeleteProvider(
        pb.DeleteProviderRequest(name="providers/nothing", allow_missing=True)
    )

    assert not answer.HasField("provider")


async def test_what_is_not_deleted_cannot_come_back(service):
    await created(service)

    refused = await refusal(
        service.admin.UndeleteProvider(pb.UndeleteProviderRequest(name="providers/one"))
    )

    assert refused.code is CODE.ALREADY_EXISTS
