"""Which of OpenAI's two APIs a call goes by, and the whole way of one by Responses."""

import json

import pytest
from calls import SECOND, call, message, user
from fakes import responses
from fakes.said import Call as Called
from fakes.said import Finish, Said, Tokens
from vendor_server import vendor_server

from llm_service import errors, providers
from llm_service.domain.completion import (
    ContentFilter,
    Effort,
    FilterStage,
    FinishReason,
    GenerationParams,
    Reasoning,
)
from llm_service.domain.content import (
    FunctionTool,
    Part,
    Role,
    Text,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.providers.base import Account, EmbeddingsCall, TokenCount
from llm_service.providers.egress import Egress
from llm_service.providers.responses.api import ResponsesApi
from llm_service.providers.responses.dialect import Dialect

HI = b'{"output": [], "status": "completed"}'
CHAT_HI = b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


@pytest.fixture
async def connect(vendor):
    egress = Egress(allow=("127.0.0.1",))

    def connected(kind="openai", **settings):
        return providers.connect(kind, Account(vendor.base_uri, settings, "sk-key"), egress)

    yield connected
    await egress.aclose()


@pytest.mark.parametrize(
    ("kind", "settings", "model", "path"),
    [
        ("openai", {}, "gpt-6-sol", "/v1/responses"),
        ("openai", {}, "gpt-5-2025-08-07", "/v1/responses"),
        ("openai", {}, "gpt-4o", "/v1/chat/completions"),
        ("openai", {}, "a-model-nobody-knows", "/v1/chat/completions"),
        ("openai", {"api": "responses"}, "gpt-4o", "/v1/responses"),
        ("openai", {"api": "chat"}, "gpt-6-sol", "/v1/chat/completions"),
        ("openai-compatible", {}, "gpt-6-sol", "/v1/chat/completions"),
        ("openai-compatible", {"api": "responses"}, "local", "/v1/responses"),
        ("xai", {}, "grok-4.5", "/v1/chat/completions"),
        ("xai", {"api": "responses"}, "grok-4.5", "/v1/responses"),
    ],
)
async def test_the_model_decides_the_api_unless_a_setting_does(
    vendor, connect, kind, settings, model, path
):
    vendor.say(HI if path.endswith("responses") else CHAT_HI)

    await connect(kind, **settings).complete(call(model=model))

    assert vendor.asked[0].path == path


async def test_an_api_there_is_not_is_refused(connect):
    with pytest.raises(errors.InvalidField) as failure:
        connect(api="assistants")

    assert failure.value.violations[0].field == "provider.settings.api"


async def test_two_turns_with_tools_and_thinking_go_the_whole_way(vendor, connect):
    said = Said(
        thinking="Clouds.",
        signature="c2VhbGVk",
        text="A moment.",
        calls=(Called("call_1", "weather", '{"city": "Vík"}'),),
        finish=Finish.TOOL_CALLS,
        tokens=Tokens(input=50, output=20, cache_read=8, cache_write=4, reasoning=5),
    )
    adapter, tools = connect(api="responses"), (FunctionTool("weather"),)
    vendor.replies.append(responses.answer(said, None))
    first = await adapter.complete(call(user("Weather?"), tools=tools))
    result = ToolResult("call_1", "weather", (Part(Text("Rain")),))
    turns = (message(Role.ASSISTANT, *first.parts), message(Role.TOOL, result))
    vendor.replies.append(responses.answer(Said(text="Rain."), None))

    await adapter.complete(call(user("Weather?"), *turns, tools=tools))

    for asked in vendor.asked:
        responses.check(asked)
    kinds = [item.get("type", item.get("role")) for item in vendor.asked[1].json["input"]]
    assert kinds == ["user", "reasoning", "message", "function_call", "function_call_output"]
    assert first.finish_reason is FinishReason.TOOL_CALLS
    assert first.usage.cache_write_input_tokens == 4
    assert first.usage.reasoning_output_tokens == 5


async def test_an_answer_by_responses_can_be_carried_on_by_chat(vendor, connect):
    said = Said(thinking="Hm.", signature="c2VhbGVk", text="Hello.")
    vendor.replies.append(responses.answer(said, None))
    first = await connect(api="responses").complete(call())
    vendor.say(CHAT_HI)

    await connect(api="chat").complete(
        call(user("Hi"), message(Role.ASSISTANT, *first.parts), user("More"))
    )

    turns = vendor.asked[1].json["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == "Hello."
    assert "c2VhbGVk" not in json.dumps(turns)


async def test_a_filters_refusal_is_a_result_by_either_api(vendor, connect):
    filters = [
        {
            "blocked": True,
            "source_type": "prompt",
            "content_filter_results": {"hate": {"filtered": True}},
        }
    ]
    error = {"code": "content_filter", "message": "x", "content_filters": filters}
    vendor.say(json.dumps({"error": error}).encode(), status=400)

    answer = await connect(api="responses").complete(call())

    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.content_filter == ContentFilter(FilterStage.INPUT, ("hate",))


async def test_what_both_apis_share_goes_one_way(vendor, connect):
    vendor.say(b'{"data": [{"id": "gpt-6-sol"}]}')
    adapter = connect(api="responses")

    (model,) = await adapter.models(5)
    count = await adapter.count_tokens(call())

    assert vendor.asked[0].path == "/v1/models"
    assert model.provider_model == "gpt-6-sol"
    assert count.estimated
    assert count.input_tokens > 0
    assert len(vendor.asked) == 1


async def test_the_responses_api_alone_lists_models_and_embeds_nothing():
    api = ResponsesApi(Dialect("nobody", vocabulary=False))
    asked = []

    async def ask(method, path, body=b""):
        asked.append((method, path))
        return b'{"data": [{"id": "m"}]}'

    (model,) = await api.models(ask)
    count = await api.count_tokens(call(user("four four")), ask)

    assert (model.provider_model, count) == ("m", TokenCount(3, estimated=True))
    assert asked == [("GET", "/models")]
    with pytest.raises(errors.CapabilityNotSupported):
        await api.embed(EmbeddingsCall((Text("Hi"),), "m", SECOND), ask)


async def test_xai_is_asked_by_responses_in_its_own_words(vendor, connect):
    vendor.say(HI)
    asked = call(
        model="grok-4.3",
        tools=(FunctionTool("time"), FunctionTool("place")),
        tool_choice=ToolChoice(ToolMode.AUTO, allowed_tools=("time",)),
        params=GenerationParams(top_logprobs=2, reasoning=Reasoning(effort=Effort.MAX)),
    )

    await connect("xai", api="responses").complete(asked)

    body = vendor.asked[0].json
    assert body["reasoning"] == {"effort": "xhigh"}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert [tool["name"] for tool in body["tools"]] == ["time"]
    assert body["tool_choice"] == "auto"
