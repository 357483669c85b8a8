"""A stream that breaks off, or whose caller goes, at any event: one row, as near as can be."""

import asyncio

import pytest
from every_vendor import KINDS
from settling import SAID, WORDS, cut_after, events_of, gateway, paused_after, produced

from llm_service import providers
from llm_service.domain.provider import CancelPolicy
from llm_service.domain.usage import UsageSource

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))

# Who counts by a vocabulary we have, by its chunks, or says its count on the way. The others'
# vocabularies are their own and their counts come at the end alone: what breaks off is an estimate
# of ours, by a vocabulary that is not theirs, and may be ten or twenty per cent from their bill.
COUNTABLE = {
    "openai",
    "openai by Responses",
    "azure",
    "google",
    "google by Vertex",
    "deepseek",
    "groq",
    "ollama",
}


def is_near(told: int, made: int) -> bool:
    return abs(told - made) <= max(2, made / 100)


async def the_events(kind, gate) -> list[bytes]:
    """What the vendor says to our request, from a first call."""
    found: list[bytes] = []

    def reply(asked):
        found.extend(events_of(kind, asked))
        return kind.fake.stream(SAID, asked)

    gate.vendor.replies.append(reply)
    record = await gate.streamed()
    assert record.error_reason == ""
    assert record.attempt.usage.output_tokens == len(WORDS)
    return found


@every_kind
async def test_cut_after_any_event_it_leaves_one_row_near_what_was_made(kind):
    async with gateway(kind) as gate:
        events = await the_events(kind, gate)
        made = produced(events)
        assert made[-1] == len(WORDS)
        for number in range(len(events)):
            gate.vendor.replies.append(cut_after(kind, number))

            record = await gate.streamed()

            usage = record.attempt.usage
            if record.error_reason == "":  # all but the end mark was there
                assert usage.output_tokens == len(WORDS)
                continue
            assert usage.output_tokens > 0 or made[number] == 0
            assert record.usage_source is not UsageSource.PROVIDER or is_near(
                usage.output_tokens, len(WORDS)
            )
            assert usage.estimated == (record.usage_source is UsageSource.ESTIMATE)
            if kind.label in COUNTABLE:
                assert is_near(usage.output_tokens, made[number]), number


@every_kind
async def test_left_after_any_event_it_leaves_one_row_near_what_was_billed(kind):
    drains = providers.provider_kind(kind.name).cancel_policy is CancelPolicy.DRAIN
    async with gateway(kind) as gate:
        events = await the_events(kind, gate)
        made = produced(events)
        for number in range(1, len(events)):
            go_on = asyncio.Event()
            gate.vendor.replies.append(paused_after(kind, number, go_on))

            record = await gate.left_after(made[number], go_on)

            usage = record.attempt.usage
            assert record.error_reason == "CANCELLED"
            if drains:
                assert usage.output_tokens == len(WORDS)
                assert record.usage_source is UsageSource.PROVIDER
            elif kind.label in COUNTABLE:
                assert is_near(usage.output_tokens, made[number]), number
            else:
                assert usage.output_tokens >= made[number] // 2


@every_kind
async def test_whole_and_streamed_an_answer_settles_to_the_same_amount(kind):
    async with gateway(kind) as gate:
        gate.vendor.replies.append(lambda asked: kind.fake.answer(SAID, asked))
        whole = await gate.whole()
        gate.vendor.replies.append(lambda asked: kind.fake.stream(SAID, asked))
        streamed = await gate.streamed()

    assert whole.attempt.usage == streamed.attempt.usage
    assert whole.attempt.cost == streamed.attempt.cost
    assert whole.usage_source is streamed.usage_source is UsageSource.PROVIDER
