"""Batches of changes to providers: all of one is done, or none."""

import grpc

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Provider
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import created, got

CODE = grpc.StatusCode


async def test_a_batch_changes_all(service):
    for provider_id in ("b", "a"):
        await created(service, provider_id)
    request = pb.BatchUpdateProvidersRequest(
        requests=[
            pb.UpdateProviderRequest(provider=Provider(name=f"providers/{one}", disabled=True))
            for one in ("b", "a")
        ]
    )

    answer = await service.admin.BatchUpdateProviders(request)

    assert [one.name for one in answer.providers] == ["providers/b", "providers/a"]
    assert all(one.state == Provider.STATE_DISABLED for one in answer.providers)


async def test_a_batch_changes_none_if_one_fails(service):
    await created(service, "a")
    request = pb.BatchUpdateProvidersRequest(
        requests=[
            pb.UpdateProviderRequest(provider=Provider(name="providers/a", disabled=True)),
            pb.UpdateProviderRequest(provider=Provider(name="providers/z", disabled=True)),
        ]
    )
    bad = pb.BatchUpdateProvidersRequest(
        requests=[
            pb.UpdateProviderRequest(provider=Provider(name="providers/a", disabled=True)),
            pb.UpdateProviderRequest(provider=Provider(name="providers/a", priority=-1)),
        ]
    )
    bad.requests[0].provider.name = "providers/b"
    await created(service, "b")

    missing = await refusal(service.admin.BatchUpdateProviders(request))
    invalid = await refusal(service.admin.BatchUpdateProviders(bad))

    assert missing.code is CODE.NOT_FOUND
    assert invalid.fields == ("requests[1].provider.priority",)
    assert not (await got(service, "providers/a")).disabled
    assert not (await got(service, "providers/b")).disabled


async def test_bad_batches_are_refused(service):
    def batch(*names, parent=""):
        return pb.BatchDeleteProvidersRequest(
            parent=parent, requests=[pb.DeleteProviderRequest(name=name) for name in names]
        )

    empty = await refusal(service.admin.BatchDeleteProviders(batch()))
    large = await refusal(service.admin.BatchDeleteProviders(batch(*["providers/a"] * 101)))
    twice = await refusal(service.admin.BatchDeleteProviders(batch("providers/a", "providers/a")))
    foreign = await refusal(
        service.admin.BatchDeleteProviders(batch("providers/a", parent="tenants/acme"))
    )
    malformed = await refusal(service.admin.BatchDeleteProviders(batch("providers/a", "a")))

    assert empty.fields == large.fields == ("requests",)
    assert twice.fields == ("requests[1]",)
    assert foreign.fields == ("requests[0]",)
    assert malformed.fields == ("requests[1].name",)


async def test_a_batch_deletes_all_or_none(service):
    for provider_id in ("a", "b"):
        await created(service, provider_id)
    request = pb.BatchDeleteProvidersRequest(
        requests=[pb.DeleteProviderRequest(name=f"providers/{one}") for one in ("a", "b", "z")]
    )

    refused = await refusal(service.admin.BatchDeleteProviders(request))
    request.requests[2].allow_missing = True
    answer = await service.admin.BatchDeleteProviders(request)

    assert refused.code is CODE.NOT_FOUND
    assert [one.state for one in answer.providers] == [Provider.STATE_DELETED] * 2
