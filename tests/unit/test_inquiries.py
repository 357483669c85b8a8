"""Answers that break off, of vendors who can tell what was used: they are asked, and soon."""

import asyncio
import logging
import time

import pytest

from llm_service.domain.completion import (
    DeltaKind,
    PartDelta,
    PartStarted,
    RoutingOptions,
    TokenUsage,
    UsageUpdate,
)
from llm_service.domain.content import JsonObjectFormat, Part, Thinking
from llm_service.domain.provider import CancelPolicy
from llm_service.domain.usage import UsageSource
from llm_service.errors import ProviderUnavailable, StreamInterrupted
from llm_service.gateway.drains import DrainLimits
from tests.fakes import FakeAdapter, a_request, a_stream
from tests.unit.two_providers import BEGUN, World

ALONE = RoutingOptions(disable_fallback=True)
TEXT = [PartDelta(0, DeltaKind.TEXT, "half of an answer")]
CUT = [*BEGUN, TEXT, ProviderUnavailable("gone")]
TOLD = TokenUsage(30, 17)
NANOS = 30_000 + 34_000


class Vendor:
    """Who is asked: answers once it may, what it is told to."""

    def __init__(self, says=TOLD) -> None:
        self.says = says
        self.about = []
        self.may_answer = asyncio.Event()

    def __call__(self, answer):
        self.about.append(answer)

        async def tell():
            await self.may_answer.wait()
            if isinstance(self.says, Exception):
                raise self.says
            return self.says

        return tell


def asked(vendor: Vendor, *script, limits=None, **changes) -> World:
    adapter = FakeAdapter(*script)
    adapter.inquires = vendor
    return World(adapter, drain=limits or DrainLimits(), **changes)


async def broken(world: World, **changes) -> StreamInterrupted:
    with pytest.raises(StreamInterrupted) as raised:
        await world.stream(routing=ALONE, **changes)
    return raised.value


async def left(world: World) -> None:
    stream = world.completions.stream(a_request(), None)
    while world.adapters["one"].yielded < 3:
        await anext(stream)
    await stream.aclose()


async def quiet(world: World) -> None:
    async with asyncio.timeout(10):
        await world.drains.quiet()


class Pass:
    """A gate, and what it holds: hears how attempts end."""

    def __init__(self) -> None:
        self.heard = []

    async def enter(self, admission):
        return self

    def settled(self, record):
        self.heard.append(record)


async def test_the_caller_and_the_gates_have_an_estimate_at_once_and_the_record_what_is_told():
    vendor, gate = Vendor(), Pass()
    world = asked(vendor, CUT, gates=[gate])

    error = await broken(world)

    (attempt,) = error.failure.attempts
    assert attempt.usage.estimated
    assert [one.usage_source for one in gate.heard] == [UsageSource.ESTIMATE]
    assert world.ledger.records == []
    vendor.may_answer.set()
    await quiet(world)

    (record,) = world.ledger.records
    assert (record.attempt.usage, record.usage_source) == (TOLD, UsageSource.PROGRESS)
    assert record.attempt.cost.total_nano_usd == NANOS
    assert record.error_reason == "PROVIDER_UNAVAILABLE"
    assert record.attempt_id == gate.heard[0].attempt_id
    assert len(gate.heard) == 1


async def test_a_caller_who_goes_waits_for_nobody():
    vendor = Vendor()
    world = asked(vendor, [*BEGUN, TEXT, asyncio.Event()])

    await left(world)

    assert world.adapters["one"].streams_closed == 1
    assert world.drains.running == 1
    vendor.may_answer.set()
    await quiet(world)
    (record,) = world.ledger.records
    assert (record.error_reason, record.attempt.usage) == ("CANCELLED", TOLD)


async def test_the_vendor_hears_what_came_and_who_answered():
    vendor = Vendor()
    world = asked(vendor, CUT)
    vendor.may_answer.set()

    await broken(world)
    await quiet(world)

    (answer,) = vendor.about
    assert (answer.text, answer.provider_request_id) == ("half of an answer", "req-1")
    assert answer.is_text
    assert answer.counted == 0
    assert answer.usage.estimated
    assert "half" not in repr(answer)


@pytest.mark.parametrize("says", [ProviderUnavailable("no"), ValueError("half of an answer")])
async def test_where_it_does_not_say_the_estimate_stands(says, caplog):
    vendor = Vendor(says)
    world = asked(vendor, CUT)
    vendor.may_answer.set()

    with caplog.at_level(logging.INFO):
        error = await broken(world)
        await quiet(world)

    (record,) = world.ledger.records
    assert record.attempt.usage == error.failure.attempts[0].usage
    assert record.usage_source is UsageSource.ESTIMATE


async def test_it_is_waited_for_so_long_and_no_longer():
    world = asked(Vendor(), CUT, limits=DrainLimits(ask_seconds=0.05))

    started = time.monotonic()
    await broken(world)
    await quiet(world)

    assert time.monotonic() - started < 5
    (record,) = world.ledger.records
    assert record.usage_source is UsageSource.ESTIMATE


async def test_with_no_time_for_it_nobody_is_asked():
    vendor = Vendor()
    world = asked(vendor, CUT, limits=DrainLimits(ask_seconds=0))

    await broken(world)

    assert (vendor.about, len(world.ledger.records)) == ([], 1)


async def test_so_many_are_asked_about_at_once_and_no_more():
    world = asked(Vendor(), CUT, CUT, limits=DrainLimits(at_once=1))

    await broken(world)
    await broken(world)

    assert world.drains.running == 1
    assert len(world.ledger.records) == 1
    await world.drains.aclose(0)


async def test_a_stop_settles_by_estimate_and_asks_no_more():
    vendor = Vendor()
    world = asked(vendor, CUT, CUT)
    await broken(world)

    await world.drains.aclose(0.01)
    await broken(world)

    assert [r.usage_source for r in world.ledger.records] == [UsageSource.ESTIMATE] * 2
    assert len(vendor.about) == 1


async def test_what_the_vendor_has_said_itself_is_not_asked():
    vendor = Vendor()
    said = [UsageUpdate(TokenUsage(3, 4))]
    world = asked(vendor, [*BEGUN, TEXT, said, ProviderUnavailable("gone")])

    await broken(world)

    (record,) = world.ledger.records
    assert (vendor.about, record.usage_source) == ([], UsageSource.PROGRESS)


async def test_nor_is_what_it_refused_to_begin():
    vendor = Vendor()
    world = asked(vendor, ProviderUnavailable("no", http_status=503))

    with pytest.raises(ProviderUnavailable):
        await world.stream(routing=ALONE)

    assert vendor.about == []
    assert [r.attempt.usage for r in world.ledger.records] == [None]


async def test_nor_an_answer_that_ended():
    vendor = Vendor()
    world = asked(vendor, a_stream("whole"))

    await world.stream()

    assert (vendor.about, len(world.ledger.records)) == ([], 1)


async def test_an_answer_that_is_read_on_and_breaks_is_asked_about_once_it_is_closed():
    vendor, go_on = Vendor(), asyncio.Event()
    script = [*BEGUN, TEXT, go_on, ProviderUnavailable("gone")]
    world = asked(vendor, script, cancel_policy=CancelPolicy.DRAIN)

    await left(world)
    go_on.set()
    vendor.may_answer.set()
    await quiet(world)

    (record,) = world.ledger.records
    assert (record.error_reason, record.attempt.usage) == ("CANCELLED", TOLD)
    assert world.adapters["one"].streams_closed == 1


async def test_what_more_than_text_was_made_of_is_told_to_be_so():
    vendor = Vendor()
    thinks = [PartStarted(1, Part(Thinking("")))]
    world = asked(vendor, [*BEGUN, TEXT, thinks, ProviderUnavailable("gone")], CUT)

    await broken(world)
    await broken(world, response_format=JsonObjectFormat())

    assert [one.is_text for one in vendor.about] == [False, False]
    await world.drains.aclose(0)
