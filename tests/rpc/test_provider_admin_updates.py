"""Changes to providers, through the wire into a real database."""

import grpc

from llm_service.rpc.stubs.provider_pb2 import (
    CANCEL_POLICY_CLOSE,
    CANCEL_POLICY_DRAIN,
    CANCEL_POLICY_UNSPECIFIED,
    Provider,
)
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import created, generation_of, got, updated

CODE = grpc.StatusCode


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


async def test_a_provider_may_have_its_own_policy_for_callers_who_go(service):
    first = await created(service, cancel_policy=CANCEL_POLICY_DRAIN)

    changed = await updated(
        service,
        Provider(name="providers/one", cancel_policy=CANCEL_POLICY_CLOSE),
        "cancel_policy",
    )
    cleared = await updated(service, Provider(name="providers/one"), "cancel_policy")

    policies = [one.cancel_policy for one in (first, changed, cleared)]
    assert policies == [
        CANCEL_POLICY_DRAIN,
        CANCEL_POLICY_CLOSE,
        CANCEL_POLICY_UNSPECIFIED,
    ]
    refused = await refusal(
        updated(service, Provider(name="providers/one", cancel_policy=99), "cancel_policy")
    )
    assert refused.fields == ("provider.cancel_policy",)
