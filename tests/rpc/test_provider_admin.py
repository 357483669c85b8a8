"""Providers, through the wire into a real database."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import (
    Credential,
    Provider,
    RateLimits,
    UpstreamTimeouts,
)
from tests.rpc.administered import administered, as_text, refusal

KEY = "sk-proj-canary-0123456789-tail"
CODE = grpc.StatusCode


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


async def test_a_created_provider_is_read_back_whole(service):
    provider = await created(
        service,
        display_name="Echo",
        description="for first steps",
        settings={"prefix": "hm"},
        priority=0,
        weight=3,
        rate_limits=RateLimits(requests_per_minute=10),
        timeouts=UpstreamTimeouts(connect_timeout=Duration(seconds=2)),
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


async def test_a_kind_may_be_named_by_its_alias(service):
    assert (await created(service, kind="mock")).kind == "echo"


async def test_a_provider_may_bring_its_credential(service):
    provider = await created(service, kind="openai", key=KEY)

    assert provider.default_credential == "providers/one/credentials/default"
    assert provider.state == Provider.STATE_ACTIVE
    (credential,) = await credentials_of(service, "providers/one")
    assert credential.secret_set
    assert credential.obfuscated_secret == "sk-proj-...tail"


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


async def test_an_update_changes_what_its_mask_names(service):
    await created(service, display_name="old", labels={"a": "1"}, priority=4)

    changed = await updated(
        service,
        Provider(name="providers/one", display_name="new", labels={"b": "2"}),
        "labels",
        "priority",
    )

    assert changed.display_name == "old"
    assert dict(changed.labels) == {"b": "2"}
    assert not changed.HasField("priority")
    assert changed.etag == '"2"'
    assert changed == await got(service, "providers/one")


async def test_an_update_without_a_mask_changes_what_is_populated(service):
    provider = await created(service, display_name="old", description="kept")

    changed = await updated(service, Provider(name=provider.name, display_name="new", uid="forged"))

    assert (changed.display_name, changed.description) == ("new", "kept")
    assert changed.uid == provider.uid


async def test_a_star_replaces_all_but_the_kind(service):
    await created(service, display_name="old", labels={"a": "1"})

    changed = await updated(service, Provider(name="providers/one", description="new"), "*")

    assert (changed.kind, changed.display_name, changed.description) == ("echo", "", "new")
    assert not changed.labels


async def test_an_unknown_path_is_refused(service):
    await created(service)

    refused = await refusal(updated(service, Provider(name="providers/one"), "displayName"))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.fields == ("update_mask",)


async def test_the_kind_cannot_be_changed_but_may_be_repeated(service):
    await created(service)

    refused = await refusal(updated(service, Provider(name="providers/one", kind="openai")))
    repeated = await updated(service, Provider(name="providers/one", kind="mock"), "kind")

    assert refused.fields == ("provider.kind",)
    assert repeated.kind == "echo"


async def test_a_stale_etag_is_refused(service):
    provider = await created(service)
    await updated(service, Provider(name=provider.name, display_name="theirs"))
    mine = Provider(name=provider.name, display_name="mine", etag=provider.etag)

    for etag in (provider.etag, '"99"', "1", '"x"', 'W/"2"'):
        mine.etag = etag
        refused = await refusal(updated(service, mine))
        assert refused.code is CODE.ABORTED
        assert refused.reason == "ETAG_MISMATCH"
    assert (await got(service, provider.name)).display_name == "theirs"


async def test_validating_an_update_only_shows_its_result(service):
    await created(service, display_name="old")

    shown = await updated(
        service, Provider(name="providers/one", display_name="new"), validate_only=True
    )

    assert shown.display_name == "new"
    assert (await got(service, "providers/one")).display_name == "old"


async def test_every_change_is_announced_to_other_replicas(service):
    await created(service, parent="tenants/acme")
    first = await generation_of(service, "acme")

    await updated(service, Provider(name="tenants/acme/providers/one", display_name="x"))

    assert await generation_of(service, "acme") > first > 0
    assert await generation_of(service, "") == 0


@pytest.mark.parametrize(
    ("base_uri", "kept"),
    [
        pytest.param("https://api.openai.com/other", True, id="other-path"),
        pytest.param("https://API.openai.com:443/v1", True, id="same-origin-spelled-otherwise"),
        pytest.param("https://evil.example/v1", False, id="other-host"),
        pytest.param("http://127.0.0.1:9999/v1", False, id="other-scheme-and-port"),
    ],
)
async def test_a_secret_does_not_follow_its_provider_to_another_origin(service, base_uri, kept):
    await created(service, kind="openai", key=KEY)

    changed = await updated(service, Provider(name="providers/one", base_uri=base_uri))

    (credential,) = await credentials_of(service, "providers/one")
    assert credential.secret_set is kept
    if kept:
        return
    assert changed.state == Provider.STATE_MISCONFIGURED
    assert credential.state == Credential.STATE_REJECTED
    await service.admin.UpdateCredential(
        pb.UpdateCredentialRequest(
            credential=Credential(name=credential.name, disabled=False),
            update_mask=FieldMask(paths=["disabled", "state"]),
        )
    )
    assert (await got(service, "providers/one")).state == Provider.STATE_MISCONFIGURED


async def test_an_origin_change_that_is_only_validated_keeps_the_secret(service):
    await created(service, kind="openai", key=KEY)

    await updated(
        service,
        Provider(name="providers/one", base_uri="https://evil.example/v1"),
        validate_only=True,
    )

    (credential,) = await credentials_of(service, "providers/one")
    assert credential.secret_set


async def test_a_secret_entered_after_the_origin_changed_is_usable(service):
    await created(service, kind="openai", key=KEY)
    await updated(service, Provider(name="providers/one", base_uri="https://new.example/v1"))

    await service.admin.RotateCredential(
        pb.RotateCredentialRequest(
            name="providers/one/credentials/default", credential=Credential(api_key=KEY)
        )
    )

    assert (await got(service, "providers/one")).state == Provider.STATE_ACTIVE


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


async def test_the_kinds_are_listed_with_their_settings(service):
    first = await service.admin.ListProviderKinds(pb.ListProviderKindsRequest(page_size=1))
    rest = await service.admin.ListProviderKinds(
        pb.ListProviderKindsRequest(page_token=first.next_page_token)
    )

    kinds = {one.kind: one for one in [*first.provider_kinds, *rest.provider_kinds]}
    assert {"echo", "openai", "openai-compatible"} <= kinds.keys()
    assert "tokens_per_second" in kinds["echo"].settings_schema_json
    assert Credential.SOURCE_TYPE_API_KEY in kinds["openai"].credential_source_types


async def test_a_secret_cannot_be_kept_without_a_key_ring(database_url):
    async with administered(database_url, keyring=False) as service:
        refused = await refusal(created(service, kind="openai", key=KEY))
        missing = await refusal(got(service, "providers/one"))

    assert refused.code is CODE.FAILED_PRECONDITION
    assert refused.reason == "ENCRYPTION_KEY_MISSING"
    assert missing.code is CODE.NOT_FOUND
    assert "canary" not in refused.text


async def test_no_answer_shows_the_secret(service):
    provider = await created(service, kind="openai", key=KEY)

    listed = await service.admin.ListProviders(pb.ListProvidersRequest())

    assert "canary" not in as_text(provider) + as_text(listed)
