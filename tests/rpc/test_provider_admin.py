"""Providers created, read and listed, through the wire into a real database."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import (
    CANCEL_POLICY_DRAIN,
    Credential,
    Provider,
    RateLimits,
    UpstreamTimeouts,
)
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import created, generation_of, got

CODE = grpc.StatusCode


async def test_a_created_provider_is_read_back_whole(service):
    provider = await created(
        service,
        display_name="Echo",
        description="for first steps",
        settings={"prefix": "hm"},
        priority=0,
        weight=3,
        rate_limits=RateLimits(requests_per_minute=10),
        timeouts=UpstreamTimeouts(
            connect_timeout=Duration(seconds=2), min_output_tokens_per_second=0
        ),
        labels={"team": "x"},
    )

    assert provider == await got(service, "providers/one")
    assert provider.state == Provider.STATE_ACTIVE
    assert provider.etag == '"1"'
    assert provider.uid
    assert provider.priority == 0
    assert provider.HasField("priority")
    assert provider.timeouts.connect_timeout.seconds == 2
    assert not provider.timeouts.HasField("idle_timeout")
    assert provider.timeouts.HasField("min_output_tokens_per_second")


async def test_a_kind_may_be_named_by_its_alias(service):
    assert (await created(service, kind="mock")).kind == "echo"


async def test_a_kind_that_needs_a_credential_is_misconfigured_without_one(service):
    provider = await created(service, kind="openai")

    assert provider.state == Provider.STATE_MISCONFIGURED
    listed = await service.admin.ListProviders(pb.ListProvidersRequest())
    assert listed.providers[0].state == Provider.STATE_MISCONFIGURED


async def test_a_kind_that_can_do_without_a_credential_is_active(service):
    provider = await created(service, kind="openai-compatible", base_uri="http://127.0.0.1:9999/v1")

    assert provider.state == Provider.STATE_ACTIVE


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"kind": "nobody"}, "provider.kind"),
        ({"kind": ""}, "provider.kind"),
        ({"base_uri": "not a uri"}, "provider.base_uri"),
        ({"base_uri": "https://10.0.0.1/v1"}, "provider.base_uri"),
        ({"base_uri": "https://user:pw@api.openai.com/v1"}, "provider.base_uri"),
        ({"kind": "openai-compatible"}, "provider.base_uri"),
        ({"settings": {"color": "red"}}, "provider.settings"),
        ({"settings": {"tokens_per_second": "fast"}}, "provider.settings.tokens_per_second"),
        ({"priority": -1}, "provider.priority"),
        ({"weight": -1}, "provider.weight"),
        (
            {"rate_limits": RateLimits(tokens_per_minute=0)},
            "provider.rate_limits.tokens_per_minute",
        ),
        (
            {"timeouts": UpstreamTimeouts(idle_timeout=Duration(seconds=-1))},
            "provider.timeouts.idle_timeout",
        ),
        (
            {"timeouts": UpstreamTimeouts(min_output_tokens_per_second=-1)},
            "provider.timeouts.min_output_tokens_per_second",
        ),
        ({"labels": {"": "x"}}, "provider.labels"),
        ({"labels": {"a": "x" * 300}}, "provider.labels.a"),
        ({"display_name": "x" * 300}, "provider.display_name"),
        ({"description": "nul \x00"}, "provider.description"),
        ({"default_credential": "providers/one/credentials/no"}, "provider.default_credential"),
    ],
)
async def test_a_bad_field_is_refused_by_name_and_nothing_is_written(service, fields, named):
    request = pb.CreateProviderRequest(
        provider_id="one", provider=Provider(**{"kind": "echo", **fields})
    )

    refused = await refusal(service.admin.CreateProvider(request))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.fields == (named,)
    assert (await refusal(got(service, "providers/one"))).code is CODE.NOT_FOUND


async def test_every_bad_field_is_named(service):
    request = pb.CreateProviderRequest(
        provider_id="one", provider=Provider(kind="echo", priority=-1, settings={"color": "red"})
    )

    refused = await refusal(service.admin.CreateProvider(request))

    assert set(refused.fields) == {"provider.priority", "provider.settings"}


@pytest.mark.parametrize(
    ("parent", "provider_id", "named"),
    [
        ("", "One", "provider_id"),
        ("", "", "provider_id"),
        ("", "one-", "provider_id"),
        ("", "a" * 64, "provider_id"),
        ("tenants/-", "one", "parent"),
        ("acme", "one", "parent"),
        ("tenants/ACME", "one", "parent"),
    ],
)
async def test_bad_ids_are_refused(service, parent, provider_id, named):
    request = pb.CreateProviderRequest(
        parent=parent, provider_id=provider_id, provider=Provider(kind="echo")
    )

    assert (await refusal(service.admin.CreateProvider(request))).fields == (named,)


async def test_an_id_is_taken_once_per_tenant(service):
    await created(service)
    await created(service, parent="tenants/acme")

    for parent in ("", "tenants/acme"):
        refused = await refusal(created(service, parent=parent))
        assert refused.code is CODE.ALREADY_EXISTS
        assert refused.reason == "ALREADY_EXISTS"


async def test_validating_only_writes_nothing(service):
    request = pb.CreateProviderRequest(
        provider_id="one", provider=Provider(kind="echo"), validate_only=True
    )

    answer = await service.admin.CreateProvider(request)

    assert answer.provider.name == "providers/one"
    assert (await refusal(got(service, "providers/one"))).code is CODE.NOT_FOUND
    assert await generation_of(service, "") == 0


async def test_another_tenants_provider_looks_like_none(service):
    await created(service, parent="tenants/acme")

    other = await refusal(got(service, "tenants/other/providers/one"))
    missing = await refusal(got(service, "tenants/other/providers/nothing"))

    assert other.code is missing.code is CODE.NOT_FOUND
    assert other.reason == missing.reason == "RESOURCE_NOT_FOUND"


async def test_lists_are_filtered_ordered_and_paged(service):
    for number, provider_id in enumerate(["a", "b", "c", "d"]):
        await created(service, provider_id, priority=10 - number, disabled=provider_id == "b")
    request = pb.ListProvidersRequest(
        page_size=2, filter="kind = echo AND disabled = false", order_by="priority"
    )

    first = await service.admin.ListProviders(request)
    request.page_token = first.next_page_token
    second = await service.admin.ListProviders(request)

    assert [one.name for one in first.providers] == ["providers/d", "providers/c"]
    assert [one.name for one in second.providers] == ["providers/a"]
    assert second.next_page_token == ""


async def test_a_page_token_is_refused_with_another_filter(service):
    for provider_id in ("a", "b"):
        await created(service, provider_id)
    first = await service.admin.ListProviders(pb.ListProvidersRequest(page_size=1))

    for change in ({"filter": "kind = echo"}, {"show_deleted": True}, {"order_by": "kind"}):
        request = pb.ListProvidersRequest(page_token=first.next_page_token, **change)
        assert (await refusal(service.admin.ListProviders(request))).fields == ("page_token",)


async def test_a_tenant_lists_its_own_and_an_operator_everybodys(service):
    await created(service)
    await created(service, parent="tenants/acme")
    await created(service, parent="tenants/other")

    async def names(parent):
        answer = await service.admin.ListProviders(pb.ListProvidersRequest(parent=parent))
        return {provider.name for provider in answer.providers}

    assert await names("") == {"providers/one"}
    assert await names("tenants/acme") == {"tenants/acme/providers/one"}
    assert len(await names("tenants/-")) == 3


async def test_the_kinds_are_listed_with_their_settings(service):
    first = await service.admin.ListProviderKinds(pb.ListProviderKindsRequest(page_size=1))
    rest = await service.admin.ListProviderKinds(
        pb.ListProviderKindsRequest(page_token=first.next_page_token)
    )

    kinds = {one.kind: one for one in [*first.provider_kinds, *rest.provider_kinds]}
    assert {"echo", "openai", "openai-compatible"} <= kinds.keys()
    assert "tokens_per_second" in kinds["echo"].settings_schema_json
    drains = {name for name, kind in kinds.items() if kind.cancel_policy == CANCEL_POLICY_DRAIN}
    assert drains == {"bedrock", "google", "groq", "mistral"}
    assert Credential.SOURCE_TYPE_API_KEY in kinds["openai"].credential_source_types
