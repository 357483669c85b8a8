"""An account with Azure: its addresses, its deployments, its ways to say who calls."""

import asyncio
import json
from dataclasses import replace

import pytest
from calls import SECOND, call, user
from fakes import responses
from fakes.said import Said
from vendor_server import Reply, vendor_server

from llm_service import errors, providers
from llm_service.domain.completion import ContentFilter, FilterStage, FinishReason
from llm_service.domain.content import Text
from llm_service.domain.provider import ModelStage
from llm_service.providers import azure
from llm_service.providers.base import Account, EmbeddingsCall
from llm_service.providers.egress import Egress

KEY = "azure-key-0123456789"
CHAT = b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
APPLICATION = {"auth": "entra-client-secret", "tenant_id": "contoso", "client_id": "app-1"}


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


@pytest.fixture
async def egress():
    egress = Egress(allow=("127.0.0.1",))
    yield egress
    await egress.aclose()


@pytest.fixture
def connect(vendor, egress):
    def connected(path="", secret=KEY, **settings):
        base_uri = f"http://127.0.0.1:{vendor.port}{path}"
        return providers.connect("azure", Account(base_uri, settings, secret), egress)

    return connected


def token(text="token-1", life=3600) -> Reply:
    said = {"access_token": text, "expires_in": life, "token_type": "Bearer"}
    return Reply(200, {}, [json.dumps(said).encode()])


DATED = {"api_version": "2024-10-21"}


@pytest.mark.parametrize(
    ("settings", "model", "path"),
    [
        ({}, "my-gpt", "/openai/v1/chat/completions"),
        ({}, "gpt-6-sol", "/openai/v1/responses"),
        ({"api": "responses"}, "my-gpt", "/openai/v1/responses"),
        ({"api_version": "preview"}, "my-gpt", "/openai/v1/chat/completions?api-version=preview"),
        (
            DATED,
            "my gpt/4",
            "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21",
        ),
        (
            {**DATED, "deployment": "prod"},
            "gpt-4o",
            "/openai/deployments/prod/chat/completions?api-version=2024-10-21",
        ),
        (DATED, "gpt-6-sol", "/openai/responses?api-version=2024-10-21"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "/", "/openai", "/openai/v1", "/openai/v1/"])
async def test_each_version_has_its_paths_whatever_the_base_uri_ends_in(
    vendor, connect, settings, model, path, suffix
):
    vendor.say(CHAT if "chat" in path else b'{"output": []}')

    await connect(suffix, **settings).complete(call(model=model))

    assert vendor.asked[0].path == path


async def test_a_deployment_for_every_call_is_the_model_that_is_named(vendor, connect):
    vendor.say(b'{"output": []}')

    await connect(deployment="prod").complete(call(model="gpt-6-sol"))

    assert vendor.asked[0].path == "/openai/v1/responses"
    assert vendor.asked[0].json["model"] == "prod"


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"resource": "contoso"}, "https://contoso.openai.azure.com/openai/v1"),
        (
            {"region": "swedencentral"},
            "https://swedencentral.api.cognitive.microsoft.com/openai/v1",
        ),
        ({"resource": "contoso", **DATED}, "https://contoso.openai.azure.com/openai"),
    ],
)
async def test_a_resource_or_a_region_stands_for_an_address(egress, settings, address):
    adapter = azure.connect(Account("", settings, KEY), egress)

    where = adapter._endpoint
    assert f"{where.scheme}://{where.host}{where.path}" == address


@pytest.mark.parametrize(
    ("base_uri", "settings", "field"),
    [
        ("", {}, "provider.base_uri"),
        ("https://a.openai.azure.com", {"resource": "b"}, "provider.base_uri"),
        ("", {"resource": "a", "region": "b"}, "provider.base_uri"),
        ("", {"resource": "evil.example/"}, "provider.settings.resource"),
        ("", {"region": "evil.example#"}, "provider.settings.region"),
        ("", {"resource": "contoso", "api_version": "latest"}, "provider.settings.api_version"),
        ("", {"resource": "contoso", "auth": "password"}, "provider.settings.auth"),
        ("", {"resource": "contoso", "api": "assistants"}, "provider.settings.api"),
        (
            "",
            {"resource": "contoso", "auth": "entra-client-secret", "client_id": "a"},
            "provider.settings.tenant_id",
        ),
        (
            "",
            {"resource": "contoso", **APPLICATION, "authority": "https://evil.example"},
            "provider.settings.authority",
        ),
        (
            "",
            {"resource": "contoso", **APPLICATION, "authority": "http://10.0.0.1"},
            "provider.settings.authority",
        ),
    ],
)
async def test_settings_that_do_not_go_together_are_refused(egress, base_uri, settings, field):
    with pytest.raises(errors.InvalidField) as failure:
        azure.connect(Account(base_uri, settings, KEY), egress)

    assert failure.value.violations[0].field == field


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({}, "api-key", KEY),
        ({"auth": "key"}, "api-key", KEY),
        ({"auth": "entra-token"}, "authorization", f"Bearer {KEY}"),
    ],
)
async def test_a_key_or_a_token_says_who_calls(vendor, connect, auth, header, value):
    vendor.say(CHAT)

    await connect(**auth).complete(call(model="my-gpt"))

    assert vendor.asked[0].headers[header] == value
    assert ("api-key" in vendor.asked[0].headers) != ("authorization" in vendor.asked[0].headers)


@pytest.mark.parametrize("auth", [{}, {"auth": "entra-token"}, APPLICATION])
async def test_a_call_without_a_credential_is_refused_before_dialling(vendor, connect, auth):
    with pytest.raises(errors.ProviderCredentialMissing):
        await connect(secret="", **auth).complete(call(model="my-gpt"))

    assert not vendor.asked


async def test_old_versions_are_asked_in_their_words(vendor, connect):
    vendor.say(CHAT)
    asked = call(model="my-gpt")
    asked = replace(asked, params=replace(asked.params, max_output_tokens=9))

    await connect(api_version="2024-02-01").complete(asked)

    assert vendor.asked[0].json["max_tokens"] == 9
    assert "max_completion_tokens" not in vendor.asked[0].json


async def test_embeddings_go_to_their_deployment(vendor, connect):
    vendor.say(b'{"data": [{"index": 0, "embedding": [0.5, 1.0]}], "model": "e"}')

    found = await connect(**DATED).embed(EmbeddingsCall((Text("Hi"),), "embedder", SECOND))

    assert vendor.asked[0].path == (
        "/openai/deployments/embedder/embeddings?api-version=2024-10-21"
    )
    assert list(found.vectors[0]) == [0.5, 1.0]


LISTED = [
    {
        "id": "gpt-6-sol-2026-08-01",
        "capabilities": {"inference": True, "chat_completion": True, "embeddings": False},
        "lifecycle_status": "generally-available",
        "deprecation": {"inference": 1893456000},
    },
    {"id": "old", "capabilities": {"inference": True, "chat_completion": True}},
    {"id": "tune-only", "capabilities": {"inference": False, "chat_completion": True}},
    {"id": "whisper", "capabilities": {"inference": True, "chat_completion": False}},
    {"id": "plain", "lifecycle_status": "preview", "deprecation": {"inference": 10**30}},
]


async def test_the_models_of_a_resource_are_those_that_can_be_called(vendor, connect):
    vendor.say(json.dumps({"data": LISTED}).encode())

    first, *others = await connect(**DATED).models(5)

    assert vendor.asked[0].path == "/openai/models?api-version=2024-10-21"
    assert first.stage is ModelStage.STABLE
    assert first.retire_time.year == 2030
    assert [model.provider_model for model in others] == ["old", "plain"]
    assert others[1].stage is ModelStage.PREVIEW


async def test_a_deployment_for_every_call_is_the_only_model(vendor, connect):
    vendor.say(json.dumps({"data": LISTED}).encode())

    (model,) = await connect(deployment="prod").models(5)

    assert model.provider_model == "prod"


async def test_a_list_of_models_that_is_none_is_an_error(vendor, connect):
    vendor.say(b"<html>")

    with pytest.raises(errors.ProviderProtocolError):
        await connect().models(5)


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_filter_that_struck_the_prompt_is_a_result(vendor, connect, api):
    error = {
        "code": "content_filter",
        "innererror": {"content_filter_result": {"hate": {"filtered": True}}},
    }
    said = json.dumps({"error": error}).encode()
    vendor.replies.append(Reply(400, {"apim-request-id": "req-1"}, [said]))

    answer = await connect(api=api).complete(call(model="my-gpt"))

    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.content_filter == ContentFilter(FilterStage.INPUT, ("hate",))
    assert answer.provider_request_id == "req-1"


async def test_an_application_fetches_a_token_once_for_many_calls(vendor, connect):
    adapter = connect(**APPLICATION, authority=f"http://127.0.0.1:{vendor.port}", api="responses")
    vendor.replies += [token(), *(responses.answer(Said(text="Hi"), None) for _ in range(4))]

    await asyncio.gather(*(adapter.complete(call(user("Hi"), model="m")) for _ in range(4)))

    fetch, *calls = vendor.asked
    assert fetch.path == "/contoso/oauth2/v2.0/token"
    assert fetch.headers["content-type"] == "application/x-www-form-urlencoded"
    assert fetch.body.decode().split("&") == [
        "grant_type=client_credentials",
        "client_id=app-1",
        f"client_secret={KEY}",
        "scope=https%3A%2F%2Fai.azure.com%2F.default",
    ]
    assert [asked.headers["authorization"] for asked in calls] == ["Bearer token-1"] * 4
