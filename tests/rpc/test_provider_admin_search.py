"""Lists are searched by bare words, beside the other conditions of a filter."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from llm_service.rpc.stubs import model_service_pb2 as model_pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.model_pb2 import Model
from llm_service.rpc.stubs.provider_pb2 import Provider
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import KEY, created


@pytest.fixture
async def admin(service):
    await created(service, "cheap", display_name="Cheap and cheerful", labels={"team": "a"})
    await created(service, "local", kind="openai-compatible", base_uri="https://local.example")
    await created(service, "vendor", kind="anthropic", key=KEY)
    await service.admin.CreateModel(
        pb.CreateModelRequest(
            parent="providers/local", model_id="coder", model=Model(provider_model="Qwen3:8b")
        )
    )
    return service.admin


async def found(admin, text):
    answer = await admin.ListProviders(pb.ListProvidersRequest(filter=text))
    return [provider.name.removeprefix("providers/") for provider in answer.providers]


FOUND = [
    ("cheerful", ["cheap"]),
    ("qwen3:8b", ["local"]),
    ('"and cheerful"', ["cheap"]),
    ("'AND'", ["cheap"]),
    ("claude", ["vendor"]),
    ("claude OR qwen", ["local", "vendor"]),
    ("-claude -cheap", ["local"]),
    ("NOT (claude OR cheap)", ["local"]),
    ("e disabled = false labels:team", ["cheap"]),
    ("disabled = false e labels.team = a", ["cheap"]),
    ("claude cheap", []),
    ("100%", []),
]


async def test_a_bare_word_finds_names_texts_and_models(admin):
    assert [(text, await found(admin, text)) for text, _ in FOUND] == FOUND


async def test_a_search_goes_on_from_page_to_page(admin):
    request = pb.ListProvidersRequest(filter="e", page_size=1)
    names = []
    while True:
        answer = await admin.ListProviders(request)
        names += [provider.name for provider in answer.providers]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token

    assert names == ["providers/cheap", "providers/local", "providers/vendor"]


async def test_a_filter_that_cannot_be_read_names_itself(admin):
    for text in ("nosuch = 1", "AND", "a OR", "(a", "= b", "\0", "a\0b"):
        refused = await refusal(admin.ListProviders(pb.ListProvidersRequest(filter=text)))

        assert refused.reason == "INVALID_FIELD", text
        assert refused.fields == ("filter",)


UNKNOWN = [
    ("ListProviders", pb.ListProvidersRequest(order_by="nosuch"), "order_by"),
    ("ListProviders", pb.ListProvidersRequest(order_by="labels"), "order_by"),
    ("ListProviders", pb.ListProvidersRequest(page_token="nosuch"), "page_token"),
    (
        "UpdateProvider",
        pb.UpdateProviderRequest(
            provider=Provider(name="providers/cheap"),
            update_mask=FieldMask(paths=["nosuch"]),
        ),
        "update_mask",
    ),
]


async def test_an_unknown_sort_key_token_or_mask_path_names_itself(admin):
    for call, request, field in UNKNOWN:
        refused = await refusal(getattr(admin, call)(request))

        assert refused.reason == "INVALID_FIELD"
        assert refused.fields == (field,)


async def test_models_and_credentials_are_searched_too(service, admin):
    models = await service.models.ListModels(
        model_pb.ListModelsRequest(parent="providers/local", filter="QWEN")
    )
    credentials = [
        (
            await admin.ListCredentials(
                pb.ListCredentialsRequest(parent="providers/vendor", filter=word)
            )
        ).credentials
        for word in ("DEF", "other")
    ]

    assert [model.name for model in models.models] == ["providers/local/models/coder"]
    assert [len(one) for one in credentials] == [1, 0]
