"""A stream that breaks off, or whose caller goes, at any event: one row, as near as can be."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from every_vendor import KINDS
from settling import (
    COUNTABLE,
    GIVEN,
    INPUT,
    TEKKEN,
    WORDS,
    cut_after,
    events_of,
    gateway,
    paused_after,
    produced,
    says,
    size,
)

from llm_service import providers
from llm_service.catalog.vocabularies import PACKAGED
from llm_service.domain.provider import CancelPolicy
from llm_service.domain.usage import UsageSource

COMPATIBLE = KINDS["openai-compatible"]
CLAUDE = replace(
    KINDS["bedrock"], model="eu.anthropic.claude-sonnet-4-5-20250929-v1:0", label="bedrock's Claude"
)
OPEN = [
    replace(KINDS["mistral"], model="mistral-large-2512"),
    replace(KINDS["bedrock"], model="openai.gpt-oss-120b-1:0", label="bedrock's gpt-oss"),
    replace(
        KINDS["bedrock"], model="mistral.mistral-large-3-675b-instruct", label="bedrock's Mistral"
    ),
]
TELLING = [
    replace(COMPATIBLE, settings={"token_counts": how}, label=how)
    for how in ("continuous", "vllm", "llama.cpp", "tgi")
]
OTHERS = [
    replace(KINDS["bedrock"], model="us.meta.llama3-3-70b-instruct-v1:0", label="bedrock's Llama"),
    replace(COMPATIBLE, model="Qwen/Qwen3-32B", label="a server's Qwen"),
]
ALL = {kind.label: kind for kind in (*KINDS.values(), CLAUDE, *OPEN, *OTHERS, *TELLING)}
every_kind = pytest.mark.parametrize("kind", ALL.values(), ids=list(ALL))

# Who can be asked what an answer used that broke off, or says or shows it on the way.
TOLD = {"anthropic", "openrouter", "fireworks", "bedrock's Claude", "continuous"}
# Who can be asked what a text comes to, of a vocabulary of their own, and not what went in.
MEASURED = {"xai", "vllm", "llama.cpp", "tgi"}
# The others' vocabularies are their own and their counts come at the end alone: what breaks off is
# an estimate of ours, by a vocabulary that is not theirs, unless the operator gave it.
NEAR = COUNTABLE | TEKKEN | GIVEN | TOLD | MEASURED


def is_near(told: int, made: int) -> bool:
    return abs(told - made) <= max(2, made / 100)


async def the_events(kind, gate) -> list[bytes]:
    """What the vendor says to our request, from a first call."""
    found: list[bytes] = []

    def reply(asked):
        found.extend(events_of(kind, asked))
        return kind.fake.stream(says(kind), asked)

    gate.vendor.replies.append(reply)
    record = await gate.streamed()
    assert record.error_reason == ""
    assert record.attempt.usage.output_tokens == size(kind, len(WORDS))
    return found


def check(record, kind, made: int) -> None:
    """The record of an answer that broke off when so many tokens of it had come."""
    usage, source = record.attempt.usage, record.usage_source
    assert usage.output_tokens > 0 or made == 0
    assert usage.estimated == (source is UsageSource.ESTIMATE)
    if kind.label in NEAR:
        assert is_near(usage.output_tokens, made), (usage.output_tokens, made)
    if made and kind.label in COUNTABLE | TEKKEN | MEASURED:
        assert is_near(usage.input_tokens, INPUT), usage.input_tokens
    if made == size(kind, len(WORDS)):  # the vendor's own counts may have been there
        return
    if kind.label in TOLD and made:
        assert source is UsageSource.PROGRESS
        assert usage.input_tokens == says(kind).tokens.input or kind.name == "bedrock"
    if kind.label not in COUNTABLE | TOLD:
        assert source is UsageSource.ESTIMATE


@every_kind
async def test_cut_after_any_event_it_leaves_one_row_near_what_was_made(kind):
    async with gateway(kind) as gate:
        events = await the_events(kind, gate)
        words = produced(events)
        assert words[-1] == len(WORDS)
        for number in range(len(events)):
            gate.made = size(kind, words[number])
            gate.vendor.replies.append(cut_after(kind, number))

            record = await gate.streamed()

            if record.error_reason == "" or record.usage_source is UsageSource.PROVIDER:
                # All but the end mark was there.
                assert record.attempt.usage.output_tokens == size(kind, len(WORDS))
                continue
            check(record, kind, gate.made)


@every_kind
async def test_left_after_any_event_it_leaves_one_row_near_what_was_billed(kind):
    drains = providers.provider_kind(kind.name).cancel_policy is CancelPolicy.DRAIN
    async with gateway(kind) as gate:
        events = await the_events(kind, gate)
        words = produced(events)
        for number in range(1, len(events)):
            go_on = asyncio.Event()
            gate.made = size(kind, words[number])
            gate.vendor.replies.append(paused_after(kind, number, go_on))

            record = await gate.left_after(words[number], go_on)

            assert record.error_reason == "CANCELLED"
            if drains:
                assert record.attempt.usage.output_tokens == size(kind, len(WORDS))
                assert record.usage_source is UsageSource.PROVIDER
            else:
                check(record, kind, gate.made)


@pytest.mark.parametrize("kind", OTHERS, ids=[kind.label for kind in OTHERS])
async def test_without_their_vocabulary_it_is_an_estimate_that_is_far_off(kind):
    async with gateway(kind, PACKAGED) as gate:
        events = await the_events(kind, gate)
        gate.vendor.replies.append(cut_after(kind, len(events) // 2))

        record = await gate.streamed()

    made = size(kind, produced(events)[len(events) // 2])
    assert record.usage_source is UsageSource.ESTIMATE
    assert record.attempt.usage.output_tokens < 0.9 * made


def test_the_page_says_of_every_kind_what_its_rows_are_settled_by():
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    table = page.partition("| kind | what a stream that broke off is settled by")[2]
    named = {
        kind
        for row in table.partition("\n\n")[0].splitlines()[2:]
        for kind in row.split("|")[1].replace("`", " ").replace(",", " ").split()
    }

    assert named >= set(providers.kinds())


@every_kind
async def test_whole_and_streamed_an_answer_settles_to_the_same_amount(kind):
    async with gateway(kind) as gate:
        gate.vendor.replies.append(lambda asked: kind.fake.answer(says(kind), asked))
        whole = await gate.whole()
        gate.vendor.replies.append(lambda asked: kind.fake.stream(says(kind), asked))
        streamed = await gate.streamed()

    assert whole.attempt.usage == streamed.attempt.usage
    assert whole.attempt.cost == streamed.attempt.cost
    assert whole.usage_source is streamed.usage_source is UsageSource.PROVIDER
