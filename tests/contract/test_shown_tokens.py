"""Vendors who show the tokens of a stream beside the text: what breaks off is counted by them."""

import json
from contextlib import suppress

import pytest
from calls import call, user
from every_vendor import KINDS, connected
from settling import gateway
from vendor_server import Reply

from llm_service import providers
from llm_service.domain.completion import FinishReason
from llm_service.domain.content import Media, Modality, Part, Text, ToolResult
from llm_service.domain.usage import UsageSource
from llm_service.errors import GatewayError
from llm_service.providers.base import Accepted, Account, TokensShown
from llm_service.providers.chat.shown import is_text
from llm_service.providers.egress import Egress

FIREWORKS = KINDS["fireworks"]
TOGETHER = KINDS["together"]
COMPATIBLE = KINDS["openai-compatible"]
ASKED = {"return_token_ids": True}
OTHERS = ["openai", "deepseek", "xai", "groq", "mistral", "openrouter", "openai-compatible"]


def chunk(content="", ids=None, delta=None, **more) -> dict:
    """A piece of an answer; `ids`: left out if None."""
    choice = {"index": 0, "delta": {"content": content} | (delta or {})}
    if ids is not None:
        choice["token_ids"] = ids
    return {"id": "c", "model": "m", "choices": [choice]} | more


def cut(chunks, **reply):
    events = [b"data: " + json.dumps(said).encode() + b"\n\n" for said in chunks]
    return Reply(200, {"content-type": "text/event-stream"}, events, **({"cut": True} | reply))


async def settled(kind, *chunks):
    """Its usage, and where it is from, of a stream that breaks off after the chunks."""
    async with gateway(kind) as gate:
        gate.vendor.replies.append(cut(chunks))
        record = await gate.streamed()
    return record.attempt.usage, record.usage_source


async def shown(kind, *chunks, asked=None) -> TokensShown:
    """What a stream had shown when it broke off."""
    events = []
    async with connected(kind) as (vendor, adapter):
        vendor.replies.append(cut(chunks))
        with suppress(GatewayError):
            async for batch in adapter.stream(asked or call()):
                events += batch
    (accepted,) = [event for event in events if isinstance(event, Accepted)]
    return accepted.shown


def body_of(kind, *said, stream: bool, **more) -> dict:
    account = Account("http://127.0.0.1:1/v1", {}, "sk-0123456789abcdef")
    adapter = providers.connect(kind, account, Egress(allow=("127.0.0.1",)))
    return json.loads(adapter._api.exchange(call(*said, **more), stream=stream).body)


def test_fireworks_is_asked_for_the_tokens_of_a_stream():
    assert body_of("fireworks", stream=True).items() >= ASKED.items()


def test_of_a_whole_answer_fireworks_is_asked_for_nothing_more():
    assert "return_token_ids" not in body_of("fireworks", stream=False)


def test_a_models_options_may_keep_fireworks_from_showing_them():
    body = body_of("fireworks", stream=True, options_json='{"return_token_ids": false}')

    assert body["return_token_ids"] is False


@pytest.mark.parametrize("kind", [*OTHERS, "together"])
def test_nobody_else_is_asked(kind):
    assert "return_token_ids" not in body_of(kind, stream=True)


async def test_pieces_of_several_tokens_are_as_many_as_are_listed():
    usage, source = await settled(
        FIREWORKS,
        chunk(delta={"role": "assistant"}, prompt_token_ids=list(range(300))),
        chunk("Hello!", [9906, 0]),
        chunk("", []),
        chunk(" It is", [1102, 374, 5]),
    )

    assert (usage.input_tokens, usage.output_tokens) == (300, 5)
    assert not usage.estimated
    assert source is UsageSource.PROGRESS


async def test_thinking_and_tool_calls_count_by_their_tokens():
    function = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    seen = await shown(
        FIREWORKS,
        chunk(ids=[1, 2, 3], delta={"reasoning_content": "hm"}),
        chunk(ids=[4] * 9, delta={"tool_calls": [function]}),
    )

    assert seen == TokensShown(0, 12)


async def test_without_the_tokens_of_what_went_in_that_is_ours_and_an_estimate():
    usage, source = await settled(FIREWORKS, chunk("Hello", [1] * 40))

    assert usage.output_tokens == 40
    assert usage.input_tokens > 0
    assert source is UsageSource.ESTIMATE


async def test_what_stands_for_an_image_is_not_what_it_costs():
    image = Part(Media(Modality.IMAGE, uri="https://a.example/i.png"))
    first = chunk("Hello", [1], prompt_token_ids=[1] * 300)

    assert await shown(FIREWORKS, first) == TokensShown(300, 1)
    assert await shown(FIREWORKS, first, asked=call(user(image))) == TokensShown(0, 1)


@pytest.mark.parametrize(
    "ids", [None, "12", [-1], ["1"], [None], [1.5], [[1]], [True], {}, 5, {"0": 1}, [1e300]]
)
async def test_text_without_its_tokens_is_estimated_as_ever(ids):
    none = {} if ids is None else {"token_ids": ids}
    odd = chunk(" and more of it")
    odd["choices"][0] |= none
    before = chunk("Hello", [1] * 40, prompt_token_ids=ids)

    usage, source = await settled(FIREWORKS, before, odd)

    assert 1 < usage.output_tokens < 10
    assert source is UsageSource.ESTIMATE


async def test_strange_tokens_break_no_stream():
    strange = [-1, "x", None, {"a": [1]}, 2**70]
    chunks = [
        chunk("a", strange, delta={"token_id": "x"}, prompt_token_ids=strange),
        chunk("b", [7] * 200_000, delta={"token_id": -1}, prompt_token_ids="no"),
        chunk("c", 5, delta={"token_id": [1]}),
        chunk("", delta={}) | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    for kind in (FIREWORKS, TOGETHER):
        async with gateway(kind) as gate:
            whole = cut(chunks, cut=False)
            whole.pieces.append(b"data: [DONE]\n\n")
            gate.vendor.replies.append(whole)
            record = await gate.streamed()
        assert (record.error_reason, record.finish_reason) == ("", FinishReason.STOP)
        assert record.attempt.usage.output_tokens < 10


@pytest.mark.parametrize(
    "unshown",
    [
        {"message": {"content": "word " * 200}},
        {"delta": {"reasoning_details": [{"type": "reasoning.text", "text": "word " * 200}]}},
    ],
)
async def test_content_that_came_without_its_tokens_is_estimated_however_it_came(unshown):
    first = chunk(delta={"role": "assistant"}, prompt_token_ids=[1] * 300)
    without = {"id": "c", "model": "m", "choices": [{"index": 0} | unshown]}

    usage, source = await settled(FIREWORKS, first, without)

    assert usage.output_tokens > 100
    assert source is UsageSource.ESTIMATE


async def test_a_piece_that_ends_in_an_error_is_counted_with_its_tokens():
    broken = chunk(" and five more", [1] * 5)
    broken["choices"][0]["error"] = {"message": "no", "code": 500}

    assert await shown(FIREWORKS, chunk("Two", [1, 2]), broken) == TokensShown(0, 7)


async def test_an_image_within_a_tool_s_answer_is_an_image():
    image = Part(Media(Modality.IMAGE, uri="https://a.example/i.png"))

    assert not is_text(call(user(Part(ToolResult("1", "look", (image,))))))


def test_what_is_too_long_to_be_listed_is_not_asked_for():
    long = user(Part(Text("word " * 400_000)))

    assert "return_token_ids" not in body_of("fireworks", long, stream=True)


async def test_openrouter_is_not_kept_from_its_own_record_by_what_it_may_show():
    asked = call(options_json='{"return_token_ids": true}')

    assert await shown(KINDS["openrouter"], chunk("Hello", [1, 2, 3]), asked=asked) is None


async def test_lists_may_be_as_long_as_what_was_asked():
    first = chunk("x", [1], prompt_token_ids=[128_000] * 1_000_000)

    assert await shown(FIREWORKS, first) == TokensShown(1_000_000, 1)


async def test_a_piece_with_an_id_is_a_token_of_togethers_and_so_are_those_it_guessed_between():
    letters = [chunk(letter, delta={"token_id": 300}) for letter in "counterrevolution" * 3]
    letters[1] = chunk("o", delta={"token_id": None})

    usage, source = await settled(TOGETHER, *letters)

    assert usage.output_tokens == len(letters)
    assert source is UsageSource.ESTIMATE  # of what went in


async def test_the_mark_of_the_end_is_billed_and_shown():
    end = chunk("", delta={"token_id": 128009})

    assert await shown(TOGETHER, chunk("Hi", delta={"token_id": 1}), end) == TokensShown(0, 2)


@pytest.mark.parametrize(
    "lump",
    [
        {"reasoning": "We greet them."},
        {"content": "We greet them."},
        {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]},
    ],
)
async def test_pieces_without_an_id_from_the_first_one_on_are_of_any_size(lump):
    """As Together passes on what others serve."""
    seen = await shown(TOGETHER, chunk(delta={"token_id": None}), chunk(delta=lump))

    assert not seen.complete


async def test_a_tool_call_comes_in_pieces_of_any_size_whatever_came_before():
    function = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    seen = await shown(
        TOGETHER,
        chunk("Hi", delta={"token_id": 1}),
        chunk(delta={"token_id": 2, "tool_calls": [function]}),
    )

    assert not seen.complete


async def test_a_models_options_may_have_any_server_show_them():
    asked = call(options_json='{"return_token_ids": true}')
    first = chunk("Hello", [1, 2, 3])
    first["choices"][0]["prompt_token_ids"] = [1] * 7  # Fireworks names both places

    assert await shown(COMPATIBLE, first, asked=asked) == TokensShown(7, 3)


async def test_counts_that_a_server_says_unasked_are_read_without_a_setting():
    first = chunk("Hello", usage={"prompt_tokens": 9, "completion_tokens": 2})

    usage, source = await settled(COMPATIBLE, first)

    assert (usage.input_tokens, usage.output_tokens) == (9, 2)
    assert source is UsageSource.PROGRESS


async def test_a_vendor_that_counts_has_its_count_before_its_tokens():
    counted = chunk("Hello", [1] * 40, usage={"prompt_tokens": 9, "completion_tokens": 2})

    usage, source = await settled(FIREWORKS, counted)

    assert (usage.input_tokens, usage.output_tokens) == (9, 2)
    assert source is UsageSource.PROGRESS


@pytest.mark.parametrize("kind", OTHERS)
async def test_nobody_elses_tokens_are_looked_for(kind):
    first = chunk("Hello", [1] * 40, prompt_token_ids=[1] * 7)

    assert await shown(KINDS[kind], first) is None
