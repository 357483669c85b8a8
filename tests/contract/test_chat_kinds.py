"""The kinds that speak Chat Completions over a socket: addresses, keys, headers, whole calls."""

import json

import pytest
from calls import call, message, user
from chat_kinds import KINDS, TIME
from fakes import chat
from fakes.said import Call as Called
from fakes.said import Finish, Said
from vendor_server import vendor_server

from llm_service import errors, providers
from llm_service.domain.content import Role, Text, Thinking, ToolCall, ToolResult
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress

KEY = "sk-secret"
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


@pytest.fixture
async def connect(vendor):
    egress = Egress(allow=("127.0.0.1",))

    def connect(kind, secret=KEY, **settings):
        return providers.connect(kind, Account(vendor.base_uri, settings, secret), egress)

    yield connect
    await egress.aclose()


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("deepseek", "https://api.deepseek.com"),
        ("xai", "https://api.x.ai/v1"),
        ("fireworks", "https://api.fireworks.ai/inference/v1"),
        ("groq", "https://api.groq.com/openai/v1"),
        ("mistral", "https://api.mistral.ai/v1"),
        ("openrouter", "https://openrouter.ai/api/v1"),
        ("together", "https://api.together.xyz/v1"),
        ("ollama", "http://127.0.0.1:11434"),
    ],
)
def test_a_kind_has_its_vendors_address(kind, address):
    said = providers.provider_kind(kind)

    assert said.default_base_uri == address
    assert said.needs_credential == (kind != "ollama")
    assert said.discovers_models


@every_kind
async def test_thinking_and_calls_go_there_and_back_over_two_turns(vendor, connect, kind):
    check, answer, _, _ = chat.functions(kind)
    called = Called("call-1", "time", '{"zone": "UTC"}')
    said = Said(thinking="Clouds.", text="A moment.", calls=(called,), finish=Finish.TOOL_CALLS)
    vendor.replies += [
        lambda asked: answer(said, asked),
        lambda asked: answer(Said(text="Noon."), asked),
    ]
    adapter = connect(kind)

    first = await adapter.complete(call(user("Time?"), tools=(TIME,)))
    result = message(Role.TOOL, ToolResult("call-1", "time", user("12:00").parts))
    turns = (user("Time?"), message(Role.ASSISTANT, *first.parts), result)
    second = await adapter.complete(call(*turns, tools=(TIME,)))

    contents = [part.content for part in first.parts]
    assert contents == [
        Thinking("Clouds."),
        Text("A moment."),
        ToolCall("call-1", "time", '{"zone": "UTC"}'),
    ]
    assert [part.content for part in second.parts] == [Text("Noon.")]
    for asked in vendor.asked:
        check(asked)
    goes_back = KINDS[kind].thoughts.value != "dropped"
    assert ("Clouds." in vendor.asked[1].body.decode()) == goes_back
    assert bool(second.warnings) != goes_back


@every_kind
async def test_a_call_without_a_key_is_not_dialled(vendor, connect, kind):
    with pytest.raises(errors.ProviderCredentialMissing):
        await connect(kind, secret="").complete(call())

    assert not vendor.asked


@every_kind
async def test_models_are_listed(vendor, connect, kind):
    listed = [{"id": "m", "context_length": 8}]
    vendor.say(json.dumps(listed if kind == "together" else {"data": listed}).encode())

    [model] = await connect(kind).models(5.0)

    assert vendor.asked[0].path == "/v1/models"
    assert vendor.asked[0].headers["authorization"] == "Bearer sk-secret"
    assert (model.provider_model, model.context_window_tokens) == ("m", 8)


async def test_openrouter_is_told_which_app_calls(vendor, connect):
    vendor.replies.append(lambda asked: chat.answer(Said(text="Hi"), asked))

    await connect("openrouter", referer="https://app.example", title="An App").complete(call())

    assert vendor.asked[0].headers["http-referer"] == "https://app.example"
    assert vendor.asked[0].headers["x-title"] == "An App"


async def test_a_setting_that_no_header_can_carry_is_refused(connect):
    with pytest.raises(errors.InvalidField):
        connect("openrouter", title="An\nApp")
