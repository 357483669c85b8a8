"""Checks, syncs and models, through the wire."""

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from llm_service.errors import (
    ProviderCredentialRejected,
    ProviderRateLimited,
    ProviderUnavailable,
)
from llm_service.rpc.stubs import model_service_pb2 as model_service
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.model_pb2 import (
    EmbeddingInfo,
    Model,
    ModelCapabilities,
    Price,
    PriceItem,
)
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider
from tests.fakes import an_answer
from tests.rpc.administered import refusal

KEY = "sk-proj-canary-0123456789-tail"
CODE = grpc.StatusCode
ONE = "providers/one"


@pytest.fixture
async def admin(service):
    await service.admin.CreateProvider(
        pb.CreateProviderRequest(
            provider_id="one",
            provider=Provider(kind="openai"),
            credential=Credential(api_key=KEY),
        )
    )
    return service.admin


async def synced(admin, *, validate_only=False):
    answer = await admin.SyncModels(pb.SyncModelsRequest(name=ONE, validate_only=validate_only))
    return answer.added_count, answer.updated_count, answer.retired_count


async def model_named(service, model_id, provider=ONE):
    name = f"{provider}/models/{model_id}"
    return (await service.models.GetModel(model_service.GetModelRequest(name=name))).model


async def created(admin, model_id="mine", **fields):
    request = pb.CreateModelRequest(
        parent=ONE, model_id=model_id, model=Model(**{"provider_model": "up/mine:1", **fields})
    )
    return (await admin.CreateModel(request)).model


async def test_a_check_opens_the_stored_secret_and_counts_models(service, admin):
    service.vendor.adapter.lists("gpt-a", "gpt-b")

    check = await admin.CheckProvider(pb.CheckProviderRequest(name=ONE))

    assert not check.HasField("error")
    assert check.model_count == 2
    assert [account.secret for account in service.vendor.accounts] == [KEY]
    assert service.vendor.adapter.closed == 1
    assert not service.vendor.adapter.calls


async def test_a_check_with_a_model_makes_one_tiny_completion(service, admin):
    await created(admin, aliases=["fast"])
    service.vendor.adapter.script = [an_answer()]

    await admin.CheckProvider(pb.CheckProviderRequest(name=ONE, model="fast"))

    (call,) = service.vendor.adapter.calls
    assert call.provider_model == "up/mine:1"
    assert 1 <= call.params.max_output_tokens <= 16


async def test_a_failing_provider_is_an_answer(service, admin):
    service.vendor.adapter.failure = ProviderRateLimited(
        "slow down", retry_delay=3.0, http_status=429, provider_code="rate_limit"
    )

    check = await admin.CheckProvider(pb.CheckProviderRequest(name=ONE))

    assert check.error.reason == "PROVIDER_RATE_LIMITED"
    assert check.error.retry_delay.seconds == 3
    assert check.error.http_status == 429
    assert service.vendor.adapter.closed == 1


async def test_a_refused_key_is_marked_and_a_good_one_is_cleared_again(service, admin):
    name = f"{ONE}/credentials/default"
    service.vendor.adapter.failure = ProviderCredentialRejected("refused")
    await admin.CheckProvider(pb.CheckProviderRequest(name=ONE, credential=name))
    refused = (await admin.GetCredential(pb.GetCredentialRequest(name=name))).credential
    service.vendor.adapter.failure = None

    await admin.CheckProvider(pb.CheckProviderRequest(name=ONE, credential=name))

    good = (await admin.GetCredential(pb.GetCredentialRequest(name=name))).credential
    assert refused.state == Credential.STATE_REJECTED
    assert good.state == Credential.STATE_ACTIVE
    assert good.HasField("last_check_time")


async def test_a_check_without_a_usable_credential_says_so_without_dialling(service, admin):
    await admin.DeleteCredential(pb.DeleteCredentialRequest(name=f"{ONE}/credentials/default"))

    check = await admin.CheckProvider(pb.CheckProviderRequest(name=ONE))

    assert check.error.reason == "PROVIDER_CREDENTIAL_MISSING"
    assert not service.vendor.accounts


async def test_a_secret_is_not_sent_to_an_address_it_was_not_entered_for(service, admin):
    await admin.UpdateProvider(
        pb.UpdateProviderRequest(provider=Provider(name=ONE, base_uri="https://evil.example"))
    )

    for credential in ("", f"{ONE}/credentials/default"):
        check = await admin.CheckProvider(pb.CheckProviderRequest(name=ONE, credential=credential))
        assert check.HasField("error")
    assert KEY not in {account.secret for account in service.vendor.accounts}


async def test_a_check_of_what_is_not_there_is_refused(admin):
    missing = await refusal(admin.CheckProvider(pb.CheckProviderRequest(name="providers/two")))
    foreign = await refusal(
        admin.CheckProvider(
            pb.CheckProviderRequest(name=ONE, credential="providers/two/credentials/default")
        )
    )
    unknown = await refusal(
        admin.CheckProvider(
            pb.CheckProviderRequest(name=ONE, credential=f"{ONE}/credentials/other")
        )
    )

    assert missing.code is unknown.code is CODE.NOT_FOUND
    assert foreign.fields == ("credential",)


async def test_a_sync_adds_retires_and_brings_back(service, admin):
    adapter = service.vendor.adapter
    adapter.lists("ft:gpt-x", "ft/gpt-x", "gpt-y")
    first = await synced(admin)
    again = await synced(admin)
    adapter.lists("gpt-y")
    vanished = await synced(admin)
    retired = await model_named(service, "ft-gpt-x")
    adapter.lists("gpt-y", "ft:gpt-x")

    back = await synced(admin)

    assert first == (3, 0, 0)
    assert again == (0, 0, 0)
    assert vanished == (0, 0, 2)
    assert retired.stage == Model.STAGE_RETIRED
    assert back == (0, 1, 0)
    assert (await model_named(service, "ft-gpt-x")).stage == Model.STAGE_UNSPECIFIED
    assert (await model_named(service, "ft-gpt-x-2")).provider_model == "ft/gpt-x"


async def test_a_sync_joins_what_the_catalogue_knows(service, admin):
    known = (
        await service.models.ListModels(
            model_service.ListModelsRequest(
                parent=ONE, filter="context_window_tokens > 0 AND origin = ORIGIN_BUILT_IN"
            )
        )
    ).models[0]
    service.vendor.adapter.lists(known.provider_model)

    await synced(admin)

    found = await model_named(service, known.name.rpartition("/")[2])
    assert found.origin == Model.ORIGIN_DISCOVERED
    assert found.context_window_tokens == known.context_window_tokens


async def test_a_sync_leaves_manual_models_and_an_operators_words_alone(service, admin):
    service.vendor.adapter.lists("gpt-y")
    await synced(admin)
    await created(admin)
    await admin.UpdateModel(
        pb.UpdateModelRequest(
            model=Model(name=f"{ONE}/models/gpt-y", display_name="ours", aliases=["fast"])
        )
    )

    assert await synced(admin) == (0, 0, 0)
    model = await model_named(service, "gpt-y")
    assert (model.display_name, list(model.aliases)) == ("ours", ["fast"])
    assert model.origin == Model.ORIGIN_DISCOVERED


async def test_a_sync_that_only_validates_writes_nothing(service, admin):
    service.vendor.adapter.lists("gpt-y")

    assert await synced(admin, validate_only=True) == (1, 0, 0)
    assert await synced(admin) == (1, 0, 0)


async def test_a_failed_sync_fails(service, admin):
    service.vendor.adapter.failure = ProviderUnavailable("down")

    refused = await refusal(admin.SyncModels(pb.SyncModelsRequest(name=ONE)))

    assert refused.code is CODE.UNAVAILABLE
    assert refused.reason == "PROVIDER_UNAVAILABLE"


async def test_a_manual_model_is_read_back_whole(service, admin):
    model = await created(
        admin,
        aliases=["fast"],
        capabilities=ModelCapabilities(tools=False, streaming=True),
        context_window_tokens=1000,
        price=Price(items=[PriceItem(meter="input-tokens", nano_usd_per_million=150_000_000)]),
        labels={"a": "b"},
        stage=Model.STAGE_PREVIEW,
    )

    assert model == await model_named(service, "mine")
    assert model.origin == Model.ORIGIN_MANUAL
    assert model.capabilities.HasField("tools")
    assert not model.capabilities.HasField("thinking")
    assert model.price.version.startswith("override-20")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"provider_model": ""}, "model.provider_model"),
        ({"aliases": ["ok", "not ok"]}, "model.aliases[1]"),
        ({"context_window_tokens": -1}, "model.context_window_tokens"),
        ({"stage": 99}, "model.stage"),
        ({"input_modalities": [99]}, "model.input_modalities"),
        ({"default_params": {"temperature": 9}}, "model.default_params.temperature"),
        (
            {"price": Price(items=[PriceItem(meter="input-tokens", nano_usd_per_million=-1)])},
            "model.price.items[0].nano_usd_per_million",
        ),
        (
            {"price": Price(items=[PriceItem(meter="input-tokens", nano_usd_per_million=10**15)])},
            "model.price.items[0].nano_usd_per_million",
        ),
        ({"price": Price(items=[PriceItem(meter="Input!")])}, "model.price.items[0].meter"),
        (
            {"price": Price(items=[PriceItem(meter="request")] * 2)},
            "model.price.items[1]",
        ),
    ],
)
async def test_a_bad_model_is_refused_by_name(admin, fields, named):
    refused = await refusal(created(admin, **fields))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.fields == (named,)


def dated(day: int, **fields) -> Price:
    when = Timestamp(seconds=day * 86_400)
    items = [PriceItem(meter="input-tokens", nano_usd_per_million=day)]
    return Price(**{"effective_time": when, "items": items, **fields})


async def test_a_space_of_vectors_is_read_back(service, admin):
    said = EmbeddingInfo(dimensions=1536, vector_space="text-embedding-3-small")

    model = await created(admin, embedding=said)

    assert model.embedding == said
    assert model == await model_named(service, "mine")


async def test_a_history_of_prices_is_read_back_with_their_versions(service, admin):
    model = await created(admin, price=dated(2), dated_prices=[dated(1), dated(3, version="deal")])

    assert model == await model_named(service, "mine")
    assert [price.version for price in model.dated_prices] == ["override-1970-01-02", "deal"]
    assert [price.effective_time.seconds for price in model.dated_prices] == [86_400, 3 * 86_400]


async def test_a_model_with_only_dated_prices_shows_the_one_list_it_is_charged_by(service, admin):
    request = pb.CreateModelRequest(
        parent=ONE,
        model_id="known",
        model=Model(provider_model="gpt-4o", dated_prices=[dated(1)]),
    )
    created_model = (await admin.CreateModel(request)).model

    assert created_model == await model_named(service, "known")
    assert not created_model.HasField("price")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"dated_prices": [Price()]}, "model.dated_prices[0].effective_time"),
        ({"dated_prices": [dated(1), dated(1)]}, "model.dated_prices[1].effective_time"),
        (
            {"price": dated(1), "dated_prices": [dated(1)]},
            "model.dated_prices[0].effective_time",
        ),
        ({"dated_prices": [dated(day) for day in range(1, 34)]}, "model.dated_prices"),
        (
            {"dated_prices": [dated(1, items=[PriceItem(meter="Input!")])]},
            "model.dated_prices[0].items[0].meter",
        ),
    ],
)
async def test_a_bad_history_of_prices_is_refused_by_name(admin, fields, named):
    refused = await refusal(created(admin, **fields))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.fields == (named,)


async def test_a_model_is_updated_by_its_mask(service, admin):
    model = await created(admin, aliases=["fast"], display_name="old")

    answer = await admin.UpdateModel(
        pb.UpdateModelRequest(
            model=Model(name=model.name, aliases=["slow"], display_name="new", etag=model.etag),
            update_mask=FieldMask(paths=["aliases"]),
        )
    )
    stale = await refusal(
        admin.UpdateModel(
            pb.UpdateModelRequest(model=Model(name=model.name, disabled=True, etag=model.etag))
        )
    )

    assert (list(answer.model.aliases), answer.model.display_name) == (["slow"], "old")
    assert answer.model == await model_named(service, "mine")
    assert stale.code is CODE.ABORTED


async def test_a_built_in_model_can_be_given_a_price_of_its_own(service, admin):
    listed = await service.models.ListModels(model_service.ListModelsRequest(parent=ONE))
    model = listed.models[0]
    price = Price(version="deal", items=[PriceItem(meter="input-tokens", nano_usd_per_million=1)])

    await admin.UpdateModel(pb.UpdateModelRequest(model=Model(name=model.name, price=price)))
    again = await service.models.ListModels(model_service.ListModelsRequest(parent=ONE))
    overridden = next(one for one in again.models if one.name == model.name)
    await admin.DeleteModel(pb.DeleteModelRequest(name=model.name))
    restored = (await service.models.GetModel(model_service.GetModelRequest(name=model.name))).model

    assert len(again.models) == len(listed.models)
    assert (overridden.price, overridden.origin) == (price, Model.ORIGIN_MANUAL)
    assert restored == model


async def test_a_missing_model_cannot_be_deleted_unless_that_is_fine(admin):
    request = pb.DeleteModelRequest(name=f"{ONE}/models/nothing")
    refused = await refusal(admin.DeleteModel(request))
    request.allow_missing = True

    assert refused.code is CODE.NOT_FOUND
    assert await admin.DeleteModel(request) == pb.DeleteModelResponse()
