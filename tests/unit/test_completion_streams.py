"""A stream starts once, ends with the truth, and leaves a record however it ends."""

import asyncio
from contextlib import aclosing

import pytest

from llm_service.domain.completion import (
    AudioDelta,
    CompletionFinished,
    CompletionStarted,
    DeltaKind,
    Fallback,
    FinishReason,
    Heartbeat,
    MidStreamFailure,
    PartDelta,
    PartFinished,
    PartStarted,
    RoutingOptions,
    TokenUsage,
    UsageUpdate,
)
from llm_service.domain.content import Media, Modality, Part, Text, ToolCall
from llm_service.errors import ProviderProtocolError, ProviderUnavailable, StreamInterrupted
from llm_service.gateway import drains
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.fold import fold
from tests.fakes import USAGE, FakeAdapter, a_request, a_stream
from tests.unit.two_providers import BEGUN, World, text_of


async def test_a_stream_is_started_by_its_first_content_and_finished_last():
    world = World(FakeAdapter(a_stream("he", "llo")))

    events = await world.stream()

    assert [type(event).__name__ for event in events] == [
        "CompletionStarted",
        "PartStarted",
        "PartDelta",
        "PartDelta",
        "PartFinished",
        "CompletionFinished",
    ]
    finished = events[-1].completion
    assert events[0].id == finished.id
    assert finished.usage == USAGE
    assert finished.timings.first_token is not None
    assert finished.message.parts == ()


async def test_the_whole_completion_is_in_the_last_event_when_asked_for():
    world = World(FakeAdapter(a_stream("he", "llo")))

    events = await world.stream(include_completion=True)

    assert events[-1].include_completion
    assert events[-1].completion.message.parts == (Part(Text("hello")),)


async def test_a_failure_before_content_is_invisible_but_for_the_list_of_attempts():
    world = World(FakeAdapter([*BEGUN[:1], ProviderUnavailable("x")]), FakeAdapter(a_stream("ok")))

    events = await world.stream()

    assert isinstance(events[0], CompletionStarted)
    assert events[0].served_by.provider == "providers/two"
    assert [a.error.reason for a in events[0].failed_attempts] == ["PROVIDER_UNAVAILABLE"]
    assert text_of(events) == "ok"


async def test_a_stream_that_breaks_after_content_ends_with_a_typed_error_and_partial_usage():
    broken = [*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hel")], ProviderUnavailable("x")]
    world = World(FakeAdapter(broken), FakeAdapter(a_stream("never")))
    seen = []

    with pytest.raises(StreamInterrupted) as failure:
        await world.stream(seen)

    assert text_of(seen) == "hel"
    assert failure.value.failure.content_sent
    assert failure.value.failure.usage.estimated
    assert failure.value.metadata["contentSent"] == "true"
    assert world.outcomes() == [("providers/one", "PROVIDER_UNAVAILABLE")]
    assert world.ledger.records[0].attempt.usage.output_tokens == 1


async def test_a_caller_who_can_start_over_gets_a_fallback_event_and_a_whole_answer():
    broken = [*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hel")], ProviderUnavailable("x")]
    world = World(FakeAdapter(broken), FakeAdapter(a_stream("again")))

    events = await world.stream(
        mid_stream_failure=MidStreamFailure.RESTART, include_completion=True
    )

    at = next(n for n, event in enumerate(events) if isinstance(event, Fallback))
    assert text_of(events[:at]) == "hel"
    assert text_of(events[at:]) == "again"
    assert events[at].served_by.provider == "providers/two"
    assert events[-1].completion.message.parts == (Part(Text("again")),)
    assert len(events[-1].completion.attempts) == 2


async def test_a_stream_that_just_stops_is_an_error_and_never_a_short_answer():
    world = World(FakeAdapter([*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hel")]]))

    with pytest.raises(StreamInterrupted) as failure:
        await world.stream()

    assert isinstance(failure.value.__cause__, ProviderProtocolError)


async def test_the_vendors_running_count_is_passed_on_and_used_when_the_stream_breaks():
    counted = TokenUsage(5, 9)
    broken = [
        *BEGUN,
        [PartDelta(0, DeltaKind.TEXT, "hel"), UsageUpdate(counted)],
        ProviderUnavailable("x"),
    ]
    world = World(FakeAdapter(broken))

    with pytest.raises(StreamInterrupted) as failure:
        await world.stream(routing=RoutingOptions(disable_fallback=True))

    assert failure.value.failure.usage == counted


async def test_a_caller_who_leaves_mid_stream_is_charged_for_what_it_got():
    silence = asyncio.Event()
    world = World(FakeAdapter([*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hello wor")], silence]))
    stream = world.completions.stream(a_request(text="a prompt"), None)

    await anext(stream)
    await anext(stream)
    await stream.aclose()

    (record,) = world.ledger.records
    assert record.error_reason == "CANCELLED"
    # "a prompt" in a message of a role, and what an answer begins with; "hello", " wor"
    assert record.attempt.usage == TokenUsage(2 + 3 + 1 + 3, 2, estimated=True)
    assert record.attempt.cost.total_nano_usd > 0
    assert world.adapters["one"].streams_closed == 1


async def test_where_many_break_off_at_once_the_length_of_what_went_in_tells(monkeypatch):
    monkeypatch.setattr(drains, "_MOST_INPUTS_AT_ONCE", 0)
    world = World(FakeAdapter([*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hello wor")]]))

    with pytest.raises(StreamInterrupted):
        await world.stream(text="a prompt", routing=RoutingOptions(disable_fallback=True))

    (record,) = world.ledger.records
    assert record.attempt.usage == TokenUsage(2, 2, estimated=True)


async def test_whole_or_in_pieces_an_answer_nobody_counted_is_estimated_alike():
    batches = [
        [Accepted(), PartStarted(0, Part(Text("")))],
        *([PartDelta(0, DeltaKind.TEXT, piece)] for piece in ("Grüß ", "Gott, ", "世界")),
        [PartFinished(0), PartStarted(1, Part(ToolCall("call_1", "look_into_the_weather")))],
        [PartDelta(1, DeltaKind.ARGUMENTS_JSON, '{"a":1}'), PartFinished(1)],
        [PartStarted(2, Part(Media(Modality.AUDIO, data=b"")))],
        *([AudioDelta(2, b"x" * 100)] for _ in range(9)),
        [PartFinished(2), Ended(FinishReason.STOP, "stop", None)],
    ]
    text_bytes, audio_bytes = len("Grüß Gott, 世界look_into_the_weather".encode()) + 7, 900
    world = World(FakeAdapter(fold(event for batch in batches for event in batch), batches))

    whole = await world.complete()
    streamed = await world.stream()

    assert whole.usage.output_tokens == -(-(text_bytes + audio_bytes // 64) // 4)
    assert streamed[-1].completion.usage == whole.usage


async def test_heartbeats_come_while_nothing_else_does():
    silence = asyncio.Event()
    world = World(FakeAdapter([*BEGUN, silence, *a_stream("late")[2:]]))
    beats = 0
    events = []

    stream = world.completions.stream(a_request(heartbeat_seconds=0.01), None)
    async with aclosing(stream):
        async for batch in stream:
            events.extend(batch)
            beats += sum(isinstance(event, Heartbeat) for event in batch)
            if beats == 3:
                silence.set()

    assert beats >= 3
    assert text_of(events) == "late"
    assert isinstance(events[-1], CompletionFinished)


async def test_leaving_a_stream_with_heartbeats_closes_it():
    world = World(FakeAdapter([*BEGUN, asyncio.Event()]))
    stream = world.completions.stream(a_request(heartbeat_seconds=0.01), None)
    begun = False
    async for batch in stream:
        begun = begun or isinstance(batch[-1], PartStarted)
        if begun and isinstance(batch[0], Heartbeat):
            break

    await stream.aclose()

    assert world.adapters["one"].streams_closed == 1
    assert world.outcomes() == [("providers/one", "CANCELLED")]
