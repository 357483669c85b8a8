"""The anthropic kind over a real connection: its door, its headers, its lists and its counter."""

import json
from dataclasses import replace

import pytest
from anthropic_oracle import sent
from anthropic_wire import END, sse, start, stop, text
from calls import call, message, user
from fakes import messages as fake
from fakes.said import Said, Tokens
from vendor_server import vendor_server

from llm_service import catalog, errors, providers
from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    Media,
    Modality,
    Part,
    ProviderTool,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.domain.provider import ModelStage
from llm_service.providers.base import Account, EmbeddingsCall, TokenCount
from llm_service.providers.egress import Egress

KEY = "sk-ant-0123456789"


@pytest.fixture
async def egress():
    egress = Egress(allow=("127.0.0.1",))
    yield egress
    await egress.aclose()


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


def connect(vendor, egress, path: str = "", secret: str = KEY, **settings: str):
    base_uri = f"http://127.0.0.1:{vendor.port}{path}"
    return providers.connect("anthropic", Account(base_uri, settings, secret), egress)


async def ask(vendor, adapter, asked=None):
    """What the vendor was asked in a call."""
    vendor.replies.append(lambda request: fake.answer(Said(text="Hi"), request))
    await adapter.complete(asked or call())
    fake.check(vendor.asked[-1])
    return vendor.asked[-1]


# --- the request ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/v1"])
async def test_the_address_may_end_in_the_version_or_not(vendor, egress, path):
    asked = await ask(vendor, connect(vendor, egress, path))

    assert asked.path == "/v1/messages"


async def test_a_call_has_the_key_and_the_version(vendor, egress):
    headers = (await ask(vendor, connect(vendor, egress))).headers

    assert headers["x-api-key"] == KEY
    assert headers["anthropic-version"] == "2026-10-21"
    assert "authorization" not in headers
    assert "anthropic-beta" not in headers


async def test_an_account_fixes_the_version_and_betas(vendor, egress):
    adapter = connect(vendor, egress, anthropic_version="2023-06-01", beta="a-2025-01-01,b")

    headers = (await ask(vendor, adapter)).headers

    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["anthropic-beta"] == "a-2025-01-01,b"


@pytest.mark.parametrize("settings", [{"anthropic_version": "today"}, {"beta": "a b"}])
async def test_settings_of_another_form_are_refused(vendor, egress, settings):
    with pytest.raises(errors.InvalidField) as failure:
        connect(vendor, egress, **settings)

    [name] = settings
    assert failure.value.violations[0].field == f"provider.settings.{name}"


async def test_a_call_without_a_key_is_refused_before_dialling(vendor, egress):
    with pytest.raises(errors.ProviderCredentialMissing):
        await connect(vendor, egress, secret="").complete(call())

    assert vendor.connections == 0


async def test_a_stream_asks_for_events(vendor, egress):
    vendor.replies.append(lambda request: fake.stream(Said(text="Hi"), request))

    async for _ in connect(vendor, egress).stream(call()):
        pass

    [asked] = vendor.asked
    fake.check(asked)
    assert asked.json["stream"] is True
    assert asked.headers["accept"] == "text/event-stream"


async def test_the_sdk_sends_the_same_for_the_same(vendor, egress):
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    ours = call(
        message(Role.SYSTEM, "Be brief."),
        user("When?", Media(Modality.IMAGE, uri="https://a.example/b.png")),
        message(Role.ASSISTANT, ToolCall("toolu_1", "time", '{"a":1}')),
        message(Role.TOOL, ToolResult("toolu_1", "", (Part(Text("noon")),), failed=True)),
        model="claude-opus-5",
        params=GenerationParams(
            max_output_tokens=100,
            stop_sequences=("END",),
            reasoning=Reasoning(Effort.HIGH, include_thoughts=True),
        ),
        tools=(
            FunctionTool("time", "Tells it.", json.dumps(schema), strict=True),
            ProviderTool("web_search_20250305", '{"max_uses":1}'),
        ),
        tool_choice=ToolChoice(ToolMode.AUTO, parallel=False),
    )
    tool_use = {"type": "tool_use", "id": "toolu_1", "name": "time", "input": {"a": 1}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "noon"}],
        "is_error": True,
    }
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}

    theirs = await sent(
        model="claude-opus-5",
        max_tokens=100,
        stop_sequences=["END"],
        system=[{"type": "text", "text": "Be brief."}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "When?"}, image]},
            {"role": "assistant", "content": [tool_use]},
            {"role": "user", "content": [result]},
        ],
        thinking={"type": "adaptive", "display": "summarized"},
        output_config={"effort": "high"},
        tools=[
            {
                "name": "time",
                "description": "Tells it.",
                "input_schema": schema,
                "strict": True,
            },
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 1},
        ],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )

    asked = await ask(vendor, connect(vendor, egress), ours)
    assert asked.json == json.loads(theirs.content)
    assert asked.path == theirs.url.path
    for name in ("anthropic-version", "content-type"):
        assert asked.headers[name] == theirs.headers[name]


# --- the answer -----------------------------------------------------------------------------------


async def test_an_answer_names_the_vendors_request_and_what_was_left_out(vendor, egress):
    vendor.replies.append(lambda request: fake.answer(Said(text="{}"), request))
    asked = call(params=GenerationParams(seed=1), response_format=JsonObjectFormat())

    answer = await connect(vendor, egress).complete(asked)

    assert answer.provider_request_id == "req_1"
    assert {w.reason for w in answer.warnings} == {"PARAMETER_DROPPED", "RESPONSE_FORMAT_EMULATED"}
    assert answer.parts[0].content == Text("{}")


async def test_cache_reads_and_writes_are_counted_alike_whole_and_streamed(vendor, egress):
    said = Said(text="Hi", tokens=Tokens(100, 20, cache_read=30, cache_write=40, reasoning=5))
    adapter = connect(vendor, egress)
    vendor.replies.append(lambda request: fake.answer(said, request))
    whole = (await adapter.complete(call())).usage
    vendor.replies.append(lambda request: fake.stream(said, request))

    events = [event async for batch in adapter.stream(call()) for event in batch]

    assert events[-1].usage == whole
    assert (whole.input_tokens, whole.cache_read_input_tokens) == (100, 30)
    assert (whole.cache_write_input_tokens, whole.reasoning_output_tokens) == (40, 5)


async def test_a_filter_that_struck_is_an_answer_without_parts(vendor, egress):
    blocked = {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "Output blocked by content filtering policy",
        },
    }
    vendor.say(json.dumps(blocked).encode(), status=400)

    answer = await connect(vendor, egress).complete(call())

    assert (answer.parts, answer.finish_reason.value) == ((), "content_filter")


async def test_a_stream_whose_connection_breaks_is_no_answer(vendor, egress):
    vendor.say(sse(start(), *text("Hi"), stop()), content_type="text/event-stream")

    with pytest.raises(errors.ProviderProtocolError):
        async for _ in connect(vendor, egress).stream(call()):
            pass


async def test_a_relay_may_answer_a_call_for_a_stream_whole(vendor, egress):
    vendor.replies.append(lambda request: fake.answer(Said(text="Hi"), request))

    events = [event async for batch in connect(vendor, egress).stream(call()) for event in batch]

    assert events[-1].provider_finish_reason == "end_turn"


async def test_the_connection_serves_again_after_a_stream(vendor, egress):
    adapter = connect(vendor, egress)
    for _ in range(2):
        vendor.say(sse(start(), *text("Hi"), stop(), END), content_type="text/event-stream")
        async for _ in adapter.stream(call()):
            pass

    assert vendor.connections == 1


# --- counting, embedding, listing -----------------------------------------------------------------


async def test_the_vendor_counts_the_tokens_of_the_call_as_it_would_be_made(vendor, egress):
    vendor.say(b'{"input_tokens": 77}')
    params = GenerationParams(max_output_tokens=9, temperature=0.1, stop_sequences=("END",))
    asked = call(params=params, tools=(FunctionTool("time"),))

    counted = await connect(vendor, egress).count_tokens(asked)

    assert counted == TokenCount(77, estimated=False)
    [request] = vendor.asked
    fake.check(request)
    assert request.path == "/v1/messages/count_tokens"
    assert request.json.keys() == {"model", "messages", "tools"}


@pytest.mark.parametrize("body", [b" ", b"[]", b'{"input_tokens": -1}', b'{"input_tokens": "1"}'])
async def test_a_count_that_is_none_is_a_failure(vendor, egress, body):
    vendor.say(body)

    with pytest.raises(errors.ProviderProtocolError):
        await connect(vendor, egress).count_tokens(call())


async def test_the_vendor_does_not_embed(vendor, egress):
    asked = EmbeddingsCall((Text("a"),), "claude-opus-5", call().deadlines)

    with pytest.raises(errors.CapabilityNotSupported) as failure:
        await connect(vendor, egress).embed(asked)

    assert failure.value.metadata == {"field": "model", "model": "claude-opus-5"}


LISTED = {
    "type": "model",
    "id": "claude-next-9",
    "display_name": "Claude Next 9",
    "lifecycle": "deprecated",
    "retires_at": "2027-05-01T00:00:00Z",
    "max_input_tokens": 2_000_000,
    "max_tokens": 256_000,
    "capabilities": {
        "structured_outputs": {"supported": True},
        "thinking": {"supported": False, "types": {}},
        "image_input": {"supported": True},
        "pdf_input": {"supported": False},
    },
}


async def test_models_are_listed_with_what_the_vendor_tells_of_them(vendor, egress):
    vendor.say(json.dumps({"data": [LISTED], "has_more": False}).encode())

    [model] = await connect(vendor, egress).models(5.0)

    assert (model.provider_model, model.display_name) == ("claude-next-9", "Claude Next 9")
    assert (model.context_window_tokens, model.max_output_tokens) == (2_000_000, 256_000)
    assert (model.capabilities.json_schema, model.capabilities.thinking) == (True, False)
    assert model.input_modalities == (Modality.TEXT, Modality.IMAGE)
    assert model.stage is ModelStage.DEPRECATED
    assert model.retire_time.year == 2027
    [request] = vendor.asked
    assert request.path == "/v1/models?limit=1000"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2026-10-21"


async def test_what_the_vendor_does_not_tell_is_what_the_catalogue_knows(vendor, egress):
    listed = {"id": "claude-opus-5", "retires_at": "soon", "capabilities": {"thinking": 1}}
    vendor.say(json.dumps({"data": [listed, {"id": 5}]}).encode())

    [model] = await connect(vendor, egress).models(5.0)

    known = catalog.facts("anthropic", "claude-opus-5")
    assert replace(model, origin=known.origin) == replace(known, model_id=model.model_id)


async def test_the_list_is_read_to_its_last_page(vendor, egress):
    pages = [("claude-a", True), ("claude-b", True), ("claude-c", False)]
    for name, more in pages:
        said = {"data": [{"id": name}], "has_more": more, "last_id": name}
        vendor.say(json.dumps(said).encode())

    models = await connect(vendor, egress, "/v1").models(5.0)

    assert [model.provider_model for model in models] == ["claude-a", "claude-b", "claude-c"]
    assert [asked.path.partition("?")[2] for asked in vendor.asked] == [
        "limit=1000",
        "limit=1000&after_id=claude-a",
        "limit=1000&after_id=claude-b",
    ]


async def test_a_list_without_an_end_is_a_failure(vendor, egress):
    page = json.dumps({"data": [], "has_more": True, "last_id": "a b&c"}).encode()
    for _ in range(50):
        vendor.say(page)

    with pytest.raises(errors.ProviderProtocolError):
        await connect(vendor, egress).models(20.0)

    assert vendor.asked[1].path == "/v1/models?limit=1000&after_id=a%20b%26c"


@pytest.mark.parametrize("body", [b" ", b"[]", b"{}", b'{"data":{}}', b'{"data":[1]}'])
async def test_a_list_that_is_none_is_a_failure(vendor, egress, body):
    vendor.say(body)

    with pytest.raises(errors.ProviderProtocolError):
        await connect(vendor, egress).models(5.0)
