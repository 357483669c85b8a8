"""Ollama over a socket: answers whole and streamed, models, errors."""

import json
from contextlib import aclosing

import pytest
from calls import call
from fakes import ollama as fake
from fakes.said import Call as Called
from fakes.said import Finish, Said, Tokens
from vendor_server import Reply, vendor_server

from llm_service import errors, providers
from llm_service.domain.completion import FinishReason, TokenUsage
from llm_service.domain.content import Modality, Text, Thinking, ToolCall
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress
from llm_service.providers.fold import fold

SAID = Said(
    thinking="Let me see.",
    text="Góðan daginn 👋",
    calls=(Called("call_1", "time", '{"z":1,"a":"x"}'), Called("call_2", "time", "{}")),
    finish=Finish.TOOL_CALLS,
    tokens=Tokens(input=11, output=7),
)


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


@pytest.fixture
async def connect(vendor):
    egress = Egress(allow=("127.0.0.1",))

    def connect(secret="", path=""):
        account = Account(f"http://127.0.0.1:{vendor.port}{path}", {}, secret)
        return providers.connect("ollama", account, egress)

    yield connect
    await egress.aclose()


async def events_of(adapter, asked) -> list:
    async with aclosing(adapter.stream(asked)) as batches:
        return [event async for batch in batches for event in batch]


async def test_an_answer_is_the_same_whole_and_streamed(vendor, connect):
    vendor.replies.append(lambda asked: fake.answer(SAID, asked))
    vendor.replies.append(lambda asked: fake.stream(SAID, asked))

    whole = await connect().complete(call())
    streamed = fold(await events_of(connect(), call()))

    assert whole == streamed
    assert [part.content for part in whole.parts] == [
        Thinking("Let me see."),
        Text("Góðan daginn 👋"),
        ToolCall("call_1", "time", '{"z":1,"a":"x"}'),
        ToolCall("call_2", "time", "{}"),
    ]
    assert whole.finish_reason is FinishReason.TOOL_CALLS
    assert whole.usage == TokenUsage(11, 7)
    for asked in vendor.asked:
        fake.check(asked)


async def test_no_key_is_needed_and_one_is_sent(vendor, connect):
    for _ in range(2):
        vendor.replies.append(lambda asked: fake.answer(Said(text="Hi"), asked))

    await connect().complete(call())
    await connect("sk-secret").complete(call())

    assert "authorization" not in vendor.asked[0].headers
    assert vendor.asked[1].headers["authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize("path", ["", "/", "/api", "/api/", "/v1"])
async def test_an_address_may_hold_the_start_of_a_path(vendor, connect, path):
    vendor.replies.append(lambda asked: fake.answer(Said(text="Hi"), asked))

    await connect(path=path).complete(call())

    assert vendor.asked[0].path == "/api/chat"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rate_limit", errors.ProviderRateLimited),
        ("bad_key", errors.ProviderCredentialRejected),
        ("no_permission", errors.ProviderPermissionDenied),
        ("quota", errors.ProviderQuotaExhausted),
        ("context_length", errors.ContextLengthExceeded),
        ("overloaded", errors.ProviderUnavailable),
        ("server_error", errors.ProviderUnavailable),
        ("not_found", errors.ModelNotFound),
        ("bad_request", errors.ProviderRejectedRequest),
    ],
)
async def test_an_error_has_its_class_and_tells_none_of_the_vendors_words(
    vendor, connect, name, expected
):
    vendor.replies.append(fake.error(name))

    with pytest.raises(expected) as failure:
        await connect().complete(call())

    said = json.loads(fake.error(name).pieces[0])["error"]
    assert said not in str(failure.value)


@pytest.mark.parametrize(
    "said",
    ['"llama3" does not support tools', "registry/x does not support thinking"],
)
async def test_a_model_that_lacks_a_feature_lets_another_serve(vendor, connect, said):
    vendor.say(json.dumps({"error": said}).encode(), status=400)

    with pytest.raises(errors.CapabilityNotSupported):
        await connect().complete(call())


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"{not json", b'{"error":{}}'])
async def test_an_error_without_words_goes_by_its_status(vendor, connect, body):
    vendor.say(body, status=502)

    with pytest.raises(errors.ProviderUnavailable):
        await connect().complete(call())


async def test_models_come_with_context_length_and_abilities(vendor, connect):
    shown = {
        "chatter:8b": {
            "capabilities": ["completion", "tools", "vision"],
            "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        },
        "embedder": {
            "capabilities": ["embedding"],
            "model_info": {
                "general.architecture": "bert",
                "bert.context_length": 512,
                "bert.embedding_length": 768,
            },
        },
        "silent": None,
    }
    tags = [{"name": name, "model": name} for name in shown] + [{"name": ""}, "x"]
    vendor.say(json.dumps({"models": tags}).encode())
    for said in shown.values():
        if said is None:
            vendor.replies.append(Reply(500, {}, [b""]))
        else:
            vendor.say(json.dumps(said).encode())

    chatter, embedder, silent = await connect().models(5.0)

    assert [request.path for request in vendor.asked] == ["/api/tags", *["/api/show"] * 3]
    assert vendor.asked[1].json == {"model": "chatter:8b"}
    assert chatter.provider_model == "chatter:8b"
    assert chatter.context_window_tokens == 131072
    assert chatter.input_modalities == (Modality.TEXT, Modality.IMAGE)
    assert (chatter.capabilities.tools, chatter.capabilities.thinking) == (True, False)
    assert embedder.output_modalities == (Modality.EMBEDDING,)
    assert embedder.embedding.dimensions == 768
    assert silent.capabilities.tools is None


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>"])
async def test_what_is_no_list_of_models_is_an_error(vendor, connect, body):
    vendor.say(body)

    with pytest.raises(errors.ProviderProtocolError):
        await connect().models(5.0)


async def test_tokens_are_estimated(connect):
    counted = await connect().count_tokens(call())

    assert counted.estimated
    assert counted.input_tokens > 0
