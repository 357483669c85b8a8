"""The catalogue, as every caller reads it."""

import grpc
import pytest

from llm_service.rpc.stubs import model_service_pb2 as pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs.model_pb2 import Model, ModelCapabilities
from llm_service.rpc.stubs.provider_pb2 import Provider
from tests.rpc.administered import refusal

CODE = grpc.StatusCode


@pytest.fixture
async def catalogue(service):
    """Two echoes, three manual models: a and b share the alias "fast", c knows no tools."""
    for provider_id, priority in (("one", 20), ("two", 10)):
        await service.admin.CreateProvider(
            admin_pb.CreateProviderRequest(
                provider_id=provider_id, provider=Provider(kind="echo", priority=priority)
            )
        )
    await add(service, "one", "a", aliases=["fast"], context_window_tokens=100)
    await add(service, "two", "b", aliases=["fast"], capabilities=ModelCapabilities(tools=True))
    await add(service, "two", "c", capabilities=ModelCapabilities(tools=False))
    return service


async def add(service, provider_id, model_id, **fields):
    await service.admin.CreateModel(
        admin_pb.CreateModelRequest(
            parent=f"providers/{provider_id}",
            model_id=model_id,
            model=Model(**{"provider_model": f"up-{model_id}", **fields}),
        )
    )


async def ids(service, **request):
    answer = await service.models.ListModels(pb.ListModelsRequest(**request))
    return [model.name.rpartition("/")[2] for model in answer.models]


async def named(service, name):
    return (await service.models.GetModel(pb.GetModelRequest(name=name))).model


async def test_built_in_and_stored_models_are_listed_together(catalogue):
    answer = await catalogue.models.ListModels(pb.ListModelsRequest())

    origins = {model.origin for model in answer.models}
    assert origins == {Model.ORIGIN_BUILT_IN, Model.ORIGIN_MANUAL}


async def test_a_parent_narrows_to_one_provider(catalogue):
    found = await ids(catalogue, parent="providers/two", filter="origin = manual")

    assert found == ["b", "c"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("capabilities.tools = true", ["b"]),
        ("capabilities.tools != true", ["a", "c"]),
        ("NOT capabilities.tools = false", ["a", "b"]),
        ("context_window_tokens >= 100", ["a"]),
        ("context_window_tokens >= 100 OR capabilities.tools = true", ["a", "b"]),
        ("aliases:fast", ["a", "b"]),
        ('provider_model = "up-c"', ["c"]),
        ("provider_model:UP-", ["a", "b", "c"]),
        ("retire_time > 2020-01-01T00:00:00Z", []),
        ("labels.team = x", []),
        ("labels:team", []),
    ],
)
async def test_a_filter_chooses(catalogue, condition, expected):
    assert await ids(catalogue, filter=f"origin = ORIGIN_MANUAL AND ({condition})") == expected


async def test_an_order_and_pages_hold_together(catalogue):
    request = {
        "filter": "origin = manual",
        "order_by": "context_window_tokens desc, provider_model desc",
    }
    whole = await ids(catalogue, **request)
    pages, token = [], ""
    for _ in range(3):
        answer = await catalogue.models.ListModels(
            pb.ListModelsRequest(page_size=1, page_token=token, **request)
        )
        pages += [model.name.rpartition("/")[2] for model in answer.models]
        token = answer.next_page_token

    assert whole == pages == ["a", "c", "b"]
    assert token == ""


async def test_a_page_token_of_another_filter_is_refused(catalogue):
    answer = await catalogue.models.ListModels(pb.ListModelsRequest(page_size=1))

    refused = await refusal(
        ids(catalogue, page_token=answer.next_page_token, filter="origin = manual")
    )

    assert refused.fields == ("page_token",)


async def test_models_of_a_disabled_provider_are_not_offered(catalogue):
    await catalogue.admin.UpdateProvider(
        admin_pb.UpdateProviderRequest(provider=Provider(name="providers/two", disabled=True))
    )

    assert await ids(catalogue, filter="origin = manual") == ["a"]
    assert await ids(catalogue, parent="providers/two", filter="origin = manual") == ["b", "c"]


async def test_an_alias_means_the_first_choice(catalogue):
    assert (await named(catalogue, "fast")).name == "providers/two/models/b"
    assert (await named(catalogue, "up-a")).name == "providers/one/models/a"
    assert (await named(catalogue, "providers/one/models/a")).provider_model == "up-a"


async def test_what_is_not_there_is_not_found(catalogue):
    alias = await refusal(named(catalogue, "nobody"))
    name = await refusal(named(catalogue, "providers/one/models/nobody"))
    provider = await refusal(ids(catalogue, parent="providers/nobody"))

    assert (alias.code, alias.reason) == (CODE.NOT_FOUND, "MODEL_NOT_FOUND")
    assert (name.code, name.reason) == (CODE.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert provider.code is CODE.NOT_FOUND


@pytest.mark.parametrize("name", ["", "x" * 600, "line\nbreak"])
async def test_a_bad_name_is_refused(catalogue, name):
    assert (await refusal(named(catalogue, name))).fields == ("name",)


async def test_a_tenants_own_models_are_not_offered_to_others(catalogue):
    await catalogue.admin.CreateProvider(
        admin_pb.CreateProviderRequest(
            parent="tenants/acme", provider_id="own", provider=Provider(kind="echo")
        )
    )
    await catalogue.admin.CreateModel(
        admin_pb.CreateModelRequest(
            parent="tenants/acme/providers/own",
            model_id="secret",
            model=Model(provider_model="secret"),
        )
    )

    assert "secret" not in await ids(catalogue)
    assert (await refusal(named(catalogue, "secret"))).code is CODE.NOT_FOUND


async def test_a_model_near_its_end_says_when_and_what_comes_after_it(service):
    await service.admin.CreateProvider(
        admin_pb.CreateProviderRequest(provider_id="open", provider=Provider(kind="openai"))
    )

    answer = await service.models.ListModels(
        pb.ListModelsRequest(
            parent="providers/open",
            filter="stage = deprecated AND retire_time > 2026-11-21T00:00:00Z",
        )
    )

    model = next(model for model in answer.models if model.provider_model == "gpt-4o-mini")
    assert model.stage == Model.STAGE_DEPRECATED
    assert model.retire_time.ToJsonString() == "2027-01-14T00:00:00Z"
    assert model.replacement_model == "gpt-6-luna"
    assert (
        await named(service, model.replacement_model)
    ).name == "providers/open/models/gpt-6-luna"


async def test_an_embedding_model_says_what_it_gives(service):
    await service.admin.CreateProvider(
        admin_pb.CreateProviderRequest(provider_id="open", provider=Provider(kind="openai"))
    )

    model = await named(service, "text-embedding-3-small")

    assert model.embedding.dimensions == 1536
    assert model.embedding.variable_dimensions
    assert model.embedding.max_inputs == 2048
    assert model.price.version.startswith("genai-prices/")


async def test_a_model_its_vendor_has_switched_off_is_not_offered(service):
    await service.admin.CreateProvider(
        admin_pb.CreateProviderRequest(provider_id="open", provider=Provider(kind="openai"))
    )

    assert "gpt-4" not in await ids(service, parent="providers/open", page_size=1000)
    assert (await refusal(named(service, "gpt-4"))).reason == "MODEL_NOT_FOUND"
