"""What vendors are asked of answers that broke off, and what is made of what they say."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from calls import call, user
from every_vendor import KINDS, connected
from fakes.said import own_tokens
from settling import SAID
from vendor_server import Reply

from llm_service import errors, providers
from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import CacheControl, Part, Text
from llm_service.providers.base import Account, BrokenOff
from llm_service.providers.egress import Egress

TEXT = "half of an answer"
OURS = TokenUsage(5, estimated=True)
BEDROCK = KINDS["bedrock"]
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"


def broken(usage=OURS, text=TEXT, request_id="gen-1", **changes) -> BrokenOff:
    return BrokenOff(request_id, usage, text, **{"is_text": True, **changes})


@asynccontextmanager
async def told(kind, made=0):
    async with connected(kind) as (vendor, adapter):
        vendor.beside = lambda asked: kind.told(asked, made)
        yield vendor, adapter


async def test_anthropic_counts_the_text_less_the_frame_around_it():
    async with told(KINDS["anthropic"]) as (vendor, adapter):
        usage = await adapter.inquiry(call(), broken(TokenUsage(11, 3)))()

    assert usage == TokenUsage(11, own_tokens(TEXT))
    said = [turn["content"][0]["text"] for turn in vendor.asked[0].json["messages"]]
    assert said[1] == TEXT


async def test_what_was_made_beside_the_text_is_added_and_makes_it_an_estimate():
    async with told(KINDS["anthropic"]) as (_, adapter):
        usage = await adapter.inquiry(
            call(), broken(TokenUsage(11, 3), is_text=False, counted=30)
        )()

    assert usage == TokenUsage(11, 30 + own_tokens(TEXT), estimated=True)


@pytest.mark.parametrize("label", ["anthropic", "bedrock", "xai"])
async def test_without_a_text_there_is_nothing_to_count(label):
    async with told(KINDS[label]) as (_, adapter):
        assert adapter.inquiry(call(model=CLAUDE), broken(text="")) is None


@pytest.mark.parametrize("label", ["anthropic", "bedrock", "xai", "openrouter"])
@pytest.mark.parametrize("body", [b"no JSON", b"[]", b'{"data": {}}', b"[" * 100_000])
async def test_an_answer_that_says_nothing_is_an_error(label, body):
    async with connected(KINDS[label]) as (vendor, adapter):
        vendor.beside = lambda _: Reply(200, {}, [body])
        with pytest.raises(errors.ProviderProtocolError):
            await adapter.inquiry(call(model=CLAUDE), broken())()


async def test_bedrock_counts_what_went_in_too_for_claude_alone():
    async with told(BEDROCK) as (vendor, adapter):
        usage = await adapter.inquiry(call(user("hello"), model=CLAUDE), broken())()
        assert adapter.inquiry(call(model="amazon.nova-pro-v1:0"), broken()) is None

    assert usage == TokenUsage(4 + own_tokens("hello"), own_tokens(TEXT))
    assert len(vendor.asked) == 3


async def test_what_bedrock_had_cached_of_it_the_counter_does_not_know():
    cached = user(Part(Text("hello"), cache_control=CacheControl()))
    async with connected(BEDROCK) as (vendor, adapter):
        vendor.beside = lambda _: Reply(200, {}, [b'{"inputTokens": 9}'])
        usage = await adapter.inquiry(call(cached, model=CLAUDE), broken())()

    assert usage.estimated


async def test_openrouter_is_asked_until_the_generation_is_on_record():
    kind = KINDS["openrouter"]
    async with connected(kind) as (vendor, adapter):
        missing = {"error": {"code": 404, "message": "Generation gen-1 not found"}}
        vendor.replies.append(Reply(404, {}, [json.dumps(missing).encode()]))
        record = {
            "native_tokens_prompt": 30,
            "native_tokens_completion": 17,
            "native_tokens_cached": 8,
            "native_tokens_reasoning": 5,
            "total_cost": 0.0015,
        }
        vendor.say(json.dumps({"data": record}).encode())

        usage = await adapter.inquiry(call(), broken(request_id="gen-1&x"))()

    assert usage == TokenUsage(
        30,
        17,
        cache_read_input_tokens=8,
        reasoning_output_tokens=5,
        reported_nano_usd=1_500_000,
    )
    assert [asked.path for asked in vendor.asked] == ["/v1/generation?id=gen-1%26x"] * 2


async def test_openrouter_that_says_no_is_asked_once():
    async with connected(KINDS["openrouter"]) as (vendor, adapter):
        vendor.say(b'{"error": {"code": 401, "message": "no"}}', status=401)
        with pytest.raises(errors.ProviderCredentialRejected):
            await adapter.inquiry(call(), broken())()
        assert adapter.inquiry(call(), broken(request_id="")) is None


@pytest.mark.parametrize(
    ("said", "nanos"),
    [
        ({"total_cost": 0.25}, 250_000_000),
        ({"total_cost": 0.25, "is_byok": False, "upstream_inference_cost": 9}, 250_000_000),
        ({"total_cost": 0.25, "is_byok": True, "upstream_inference_cost": 0.5}, 750_000_000),
        ({"total_cost": 0.25, "is_byok": True}, None),
        ({"total_cost": "much"}, None),
        ({}, None),
    ],
)
async def test_what_openrouter_charged_is_in_its_record(said, nanos):
    counts = {"native_tokens_prompt": 1, "native_tokens_completion": 1}
    async with connected(KINDS["openrouter"]) as (vendor, adapter):
        vendor.say(json.dumps({"data": counts | said}).encode())
        usage = await adapter.inquiry(call(), broken())()

    assert usage.reported_nano_usd == nanos


async def test_a_generation_is_known_by_its_header():
    kind = KINDS["openrouter"]
    async with connected(kind) as (vendor, adapter):

        def reply(asked):
            said = kind.fake.stream(SAID, asked)
            ids = {"x-request-id": "another", "x-generation-id": "gen-7"}
            return replace(said, headers=said.headers | ids)

        vendor.replies.append(reply)
        events = [event async for batch in adapter.stream(call()) for event in batch]

    assert events[0].provider_request_id == "gen-7"


async def test_xai_measures_the_text_and_not_what_went_in():
    async with told(KINDS["xai"]) as (_, adapter):
        usage = await adapter.inquiry(call(), broken())()

    assert usage == TokenUsage(5, own_tokens(TEXT), estimated=True)


async def test_a_server_is_asked_beside_its_api_once_it_is_said_how():
    async with connected(KINDS["openai-compatible"]) as (_, adapter):
        assert adapter.inquiry(call(), broken()) is None


def test_how_a_server_counts_is_one_of_those_known():
    account = Account("https://example.com/v1", {"token_counts": "by-heart"})

    with pytest.raises(errors.InvalidField) as raised:
        providers.connect("openai-compatible", account, Egress())

    (violation,) = raised.value.violations
    assert violation.field == "provider.settings.token_counts"
    assert "continuous, vllm, llama.cpp, tgi" in violation.description


@pytest.mark.parametrize("setting", ["", "vllm", "continuous"])
async def test_a_count_with_every_piece_is_asked_for_where_it_is_said_to_be_known(setting):
    account = Account("http://127.0.0.1:1/v1", {"token_counts": setting})
    adapter = providers.connect("openai-compatible", account, Egress(allow=("127.0.0.1",)))

    body = json.loads(adapter._api.exchange(call(), stream=True).body)

    wanted = {"continuous_usage_stats": True} if setting == "continuous" else {}
    assert body["stream_options"] == {"include_usage": True} | wanted
