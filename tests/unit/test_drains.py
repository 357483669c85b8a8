"""Callers who leave providers that bill the whole answer anyway: it is read on, within bounds."""

import asyncio
from contextlib import suppress

import pytest

from llm_service.domain.completion import (
    Attribution,
    DeltaKind,
    PartDelta,
    RoutingOptions,
    TokenUsage,
    UsageUpdate,
)
from llm_service.domain.content import Text
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import CancelPolicy
from llm_service.domain.usage import UsageSource
from llm_service.errors import ProviderRateLimited, ProviderTimeout, ProviderUnavailable
from llm_service.gateway.drains import DrainLimits
from llm_service.providers.base import Embeddings
from tests.fakes import USAGE, FakeAdapter, a_request, a_stream, an_answer
from tests.unit.two_providers import BEGUN, World, text_of

ALONE = RoutingOptions(disable_fallback=True)


def draining(*script, limits=None, **changes) -> World:
    limits = limits or DrainLimits()
    return World(FakeAdapter(*script), cancel_policy=CancelPolicy.DRAIN, drain=limits, **changes)


async def left(world: World, batches: int = 1):
    """Start a stream, read some of it, leave."""
    stream = world.completions.stream(a_request(text="a prompt"), None)
    for _ in range(batches):
        await anext(stream)
    await stream.aclose()


async def drained(world: World) -> None:
    async with asyncio.timeout(10):
        await world.drains.quiet()


async def cancelled(world: World, work) -> None:
    """Begin, and leave once the vendor has been asked and is waited for."""
    asked = len(world.adapters["one"].calls)
    task = asyncio.create_task(work)
    async with asyncio.timeout(10):
        while len(world.adapters["one"].calls) == asked:  # noqa: ASYNC110 - a fake tells nobody
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_with_its_caller_there_an_answer_is_as_any_other():
    world = draining(a_stream("hello ", "world"), an_answer())

    events = await world.stream()
    await world.complete()

    assert text_of(events) == "hello world"
    assert [r.error_reason for r in world.ledger.records] == ["", ""]
    assert world.adapters["one"].streams_closed == 1


async def test_a_stream_is_read_on_to_the_providers_own_count():
    go_on = asyncio.Event()
    world = draining([*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hel")], go_on, *a_stream("lo")[2:]])

    await left(world)
    assert world.ledger.records == []
    go_on.set()
    await drained(world)

    (record,) = world.ledger.records
    assert record.error_reason == "CANCELLED"
    assert record.attempt.usage == USAGE
    assert record.usage_source is UsageSource.PROVIDER
    assert record.finish_reason is None
    assert world.adapters["one"].streams_closed == 1


async def test_an_answer_that_ended_before_its_caller_went_is_read_to_its_end_too():
    batches = [*BEGUN, [PartDelta(0, DeltaKind.TEXT, "x")], *a_stream()[2:]]
    world = draining(batches)
    stream = world.completions.stream(a_request(), None)
    await anext(stream)
    while world.adapters["one"].yielded < len(batches) - 1:
        await anext(stream)

    await stream.aclose()
    await drained(world)

    (record,) = world.ledger.records
    assert record.usage_source is UsageSource.PROVIDER


@pytest.mark.parametrize("heartbeat", [None, 0.01])
async def test_so_is_one_whose_caller_is_cancelled_while_it_waits(heartbeat):
    go_on = asyncio.Event()
    world = draining([*BEGUN, go_on, *a_stream("late")[2:]])

    await cancelled(world, world.stream(heartbeat_seconds=heartbeat))
    go_on.set()
    await drained(world)

    (record,) = world.ledger.records
    assert (record.error_reason, record.attempt.usage) == ("CANCELLED", USAGE)


async def test_so_are_whole_answers_and_embeddings():
    go_on = asyncio.Event()
    vectors = Embeddings(((0.1,),), TokenUsage(5))
    world = draining(go_on, go_on, an_answer(), vectors)
    asked = EmbeddingRequest("m", (Text("hi"),), Attribution("default"))

    await cancelled(world, world.complete())
    await cancelled(world, world.embeddings.embed(asked, None))
    assert world.ledger.records == []
    go_on.set()
    await drained(world)

    first, second = world.ledger.records
    assert [r.attempt.usage for r in (first, second)] == [USAGE, TokenUsage(5)]
    assert {r.error_reason for r in (first, second)} == {"CANCELLED"}


async def test_the_reason_is_that_of_the_moment_the_caller_left():
    go_on = asyncio.Event()
    world = draining(go_on, an_answer())

    task = asyncio.create_task(world.complete(seconds_left=0.01))
    await asyncio.sleep(0.03)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    await drained(world)

    (record,) = world.ledger.records
    assert (record.error_reason, record.attempt.usage) == ("DEADLINE_EXCEEDED", USAGE)


async def test_the_time_a_caller_allowed_ends_the_answer_while_the_caller_is_there():
    world = draining(asyncio.Event())

    with pytest.raises(ProviderTimeout):
        await world.complete(routing=RoutingOptions(attempt_timeout=0.01, disable_fallback=True))

    assert world.outcomes() == [("providers/one", "PROVIDER_TIMEOUT")]
    assert world.drains.running == 0


async def test_a_refusal_that_comes_afterwards_costs_nothing():
    go_on = asyncio.Event()
    world = draining(go_on, ProviderRateLimited("no", http_status=429))

    await cancelled(world, world.complete())
    go_on.set()
    await drained(world)

    (record,) = world.ledger.records
    assert (record.error_reason, record.attempt.usage) == ("CANCELLED", None)


async def test_an_answer_that_breaks_afterwards_is_settled_by_the_latest_count():
    go_on = asyncio.Event()
    counted = UsageUpdate(TokenUsage(3, 40))
    world = draining([*BEGUN, go_on, [counted], ProviderUnavailable("gone")])

    await left(world)
    go_on.set()
    await drained(world)

    (record,) = world.ledger.records
    assert record.attempt.usage == counted.usage
    assert record.usage_source is UsageSource.PROGRESS


async def test_after_so_many_seconds_it_is_settled_by_what_there_is():
    world = draining([*BEGUN, asyncio.Event()], limits=DrainLimits(seconds=0.01))

    await left(world)
    await drained(world)

    (record,) = world.ledger.records
    assert record.usage_source is UsageSource.ESTIMATE
    assert world.adapters["one"].streams_closed == 1


async def test_after_so_many_bytes_too():
    go_on = asyncio.Event()
    flood = [[PartDelta(0, DeltaKind.TEXT, "word " * 20)] for _ in range(1000)]
    world = draining([*BEGUN, go_on, *flood], limits=DrainLimits(content_bytes=1000))

    await left(world)
    go_on.set()
    await drained(world)

    (record,) = world.ledger.records
    assert 200 <= record.attempt.usage.output_tokens <= 250
    assert world.adapters["one"].streams_closed == 1


async def test_one_too_many_is_closed_at_once():
    never = asyncio.Event()
    world = draining([*BEGUN, never], [*BEGUN, never], limits=DrainLimits(at_once=1))

    await left(world)
    await left(world)

    assert world.drains.running == 1
    assert len(world.ledger.records) == 1
    assert world.adapters["one"].streams_closed == 1
    await world.drains.aclose(0)


async def test_a_stop_settles_what_is_still_read_and_begins_no_more():
    never = asyncio.Event()
    world = draining([*BEGUN, never], [*BEGUN, never])
    await left(world)

    await world.drains.aclose(0.01)
    await left(world)

    assert [r.error_reason for r in world.ledger.records] == ["CANCELLED", "CANCELLED"]
    assert world.adapters["one"].streams_closed == 2
    assert world.drains.running == 0


async def test_what_was_not_sent_yet_is_given_up():
    world = draining(asyncio.Event())
    world.adapters["one"].connects = False

    await cancelled(world, world.complete())

    assert world.drains.running == 0
    assert len(world.ledger.records) == 1


async def test_a_provider_whose_meter_stops_is_closed_at_once():
    world = World(FakeAdapter([*BEGUN, asyncio.Event()]), cancel_policy=CancelPolicy.CLOSE)

    await left(world)

    assert world.drains.running == 0
    assert world.adapters["one"].streams_closed == 1


async def test_a_slow_caller_slows_the_provider_down():
    batches = [[PartDelta(0, DeltaKind.TEXT, "x")] for _ in range(100)]
    adapter = FakeAdapter([*BEGUN, *batches, *a_stream()[2:]])
    world = World(adapter, cancel_policy=CancelPolicy.DRAIN)
    stream = world.completions.stream(a_request(), None)

    await anext(stream)
    for _ in range(50):
        await asyncio.sleep(0)

    assert adapter.yielded <= 5
    await stream.aclose()
    await drained(world)
    assert adapter.yielded == 103
