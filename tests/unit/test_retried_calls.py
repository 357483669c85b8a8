"""Calls that ask again: what the caller sees of it, what is recorded, and that nothing is left."""

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import (
    CompletionFinished,
    CompletionStarted,
    FinishReason,
    RoutingOptions,
)
from llm_service.domain.model_config import TargetSpec
from llm_service.domain.provider import UpstreamTimeouts
from llm_service.errors import (
    CapabilityNotSupported,
    ProviderCredentialRejected,
    ProviderRateLimited,
    ProviderUnavailable,
    ProviderUnreachable,
)
from llm_service.gateway.call import CompletionCall
from llm_service.gateway.gates import Admission
from llm_service.gateway.retries import Retries
from llm_service.gateway.targets import Target
from llm_service.providers.base import Accepted, Answer, Ended
from tests.fakes import USAGE, FakeAdapter, a_model_config, a_request, a_stream, an_answer
from tests.unit.two_providers import World, text_of

DOWN = ProviderUnavailable("x", http_status=503)


def alone(*script, **changes) -> World:
    """A world in which only the first provider is allowed to serve, and no wait takes long."""
    world = World(FakeAdapter(*script), **changes)
    world.completions._upstream.retries = Retries(lambda: 0.0)
    return world


ONE = RoutingOptions(allowed_providers=("providers/one",))


async def test_a_provider_that_is_well_again_serves_the_call_it_refused():
    world = alone(DOWN, DOWN, an_answer())

    completion = await world.complete(routing=ONE)

    assert [a.error.reason if a.error else "" for a in completion.attempts] == [
        "PROVIDER_UNAVAILABLE",
        "PROVIDER_UNAVAILABLE",
        "",
    ]
    assert [r.attempt for r in world.ledger.records] == list(completion.attempts)


async def test_a_stream_is_begun_again_before_its_first_content():
    world = alone(DOWN, [[Accepted("m")], ProviderUnreachable("x")], a_stream("hi"))

    events = await world.stream(routing=ONE)

    assert text_of(events) == "hi"
    assert isinstance(events[0], CompletionStarted)
    assert len(events[0].failed_attempts) == 2


async def test_after_three_attempts_the_caller_is_told():
    world = alone(DOWN, DOWN, DOWN, an_answer())

    with pytest.raises(ProviderUnavailable) as failure:
        await world.complete(routing=ONE)

    assert len(failure.value.failure.attempts) == 3


async def test_every_attempt_is_admitted_anew():
    class Gate:
        def __init__(self):
            self.entered, self.held = [], 0

        async def enter(self, admission: Admission):
            self.entered.append(admission.target.provider.name)
            assert self.held == 0
            self.held += 1
            return self

        def settled(self, record):
            self.held -= 1

    gate = Gate()
    world = alone(DOWN, an_answer(), gates=[gate])

    await world.complete(routing=ONE)

    assert gate.entered == ["providers/one"] * 2
    assert gate.held == 0


async def test_a_caller_who_leaves_during_a_wait_leaves_at_once_and_nothing_stays():
    world = World(FakeAdapter(ProviderRateLimited("x", http_status=429, retry_delay=20)))
    running, recorded, record = asyncio.all_tasks(), asyncio.Event(), world.ledger.record
    world.ledger.record = lambda row: recorded.set() or record(row)
    call = asyncio.create_task(world.complete(routing=ONE))
    await recorded.wait()
    for _ in range(20):  # turns of the loop: it waits by then
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == running | {call}

    left = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert time.monotonic() - left < 5
    assert asyncio.all_tasks() == running
    assert world.outcomes() == [("providers/one", "PROVIDER_RATE_LIMITED")]
    manager = world.completions._upstream.manager
    assert [live.uses for live in manager._live.values()] == [0]


async def test_a_wait_that_does_not_fit_the_deadline_is_told_at_once():
    world = World(FakeAdapter(ProviderRateLimited("x", http_status=429, retry_delay=20)))
    begun = time.monotonic()

    with pytest.raises(ProviderRateLimited) as failure:
        await world.complete(seconds_left=15, routing=ONE)

    assert failure.value.retry_delay == 20
    assert time.monotonic() - begun < 5


# --- content filters ------------------------------------------------------------------------------

STRUCK = Answer((), FinishReason.CONTENT_FILTER, "content_filter", USAGE)
STRUCK_STREAM = [[Accepted("m")], [Ended(FinishReason.CONTENT_FILTER, "content_filter", USAGE)]]


def asking_others(world: World, *reasons: str) -> World:
    """Have the first target give way after these reasons, to the second."""
    config = world.completions._configuration
    specs = (
        TargetSpec("providers/one/models/m", fallback_reasons=reasons),
        TargetSpec("providers/two/models/m"),
    )
    stored = ({("", "", ""): a_model_config(targets=specs)},)
    config._view = replace(config._view, configs=stored)
    return world


@pytest.mark.parametrize("reasons", [(), ("PROVIDER_UNAVAILABLE",)])
async def test_a_blocked_answer_is_a_result_and_goes_to_nobody_else(reasons):
    world = asking_others(World(FakeAdapter(STRUCK), FakeAdapter(an_answer())), *reasons)

    completion = await world.complete(model="")

    assert completion.finish_reason is FinishReason.CONTENT_FILTER
    assert not world.adapters["two"].calls


async def test_a_blocked_answer_moves_where_that_was_asked_for_and_is_paid_for():
    world = asking_others(World(FakeAdapter(STRUCK), FakeAdapter(an_answer())), "CONTENT_FILTER")

    completion = await world.complete(model="")

    assert completion.finish_reason is FinishReason.STOP
    assert world.outcomes() == [("providers/one", "CONTENT_FILTER"), ("providers/two", "")]
    assert completion.attempts[0].usage == USAGE
    assert completion.cost.total_nano_usd == 2 * completion.attempts[0].cost.total_nano_usd


async def test_a_blocked_stream_moves_before_anything_of_it_was_sent():
    world = asking_others(
        World(FakeAdapter(STRUCK_STREAM), FakeAdapter(a_stream("hi"))), "CONTENT_FILTER"
    )

    events = await world.stream(model="")

    assert text_of(events) == "hi"
    assert [a.error.reason for a in events[0].failed_attempts] == ["CONTENT_FILTER"]


async def test_a_stream_blocked_after_content_ends_as_it_is():
    stream = [*a_stream("oh")[:-1], STRUCK_STREAM[1]]
    world = asking_others(World(FakeAdapter(stream), FakeAdapter(a_stream("hi"))), "CONTENT_FILTER")

    *_, finished = await world.stream(model="")

    assert isinstance(finished, CompletionFinished)
    assert finished.completion.finish_reason is FinishReason.CONTENT_FILTER
    assert not world.adapters["two"].calls


async def test_the_last_targets_blocked_answer_is_the_result():
    world = asking_others(World(FakeAdapter(STRUCK), FakeAdapter(STRUCK)), "CONTENT_FILTER")

    completion = await world.complete(model="")

    assert completion.finish_reason is FinishReason.CONTENT_FILTER
    assert len(completion.attempts) == 2


async def test_a_failure_after_a_blocked_answer_is_what_is_told():
    world = asking_others(
        World(FakeAdapter(STRUCK), FakeAdapter(ProviderCredentialRejected("x"))), "CONTENT_FILTER"
    )

    with pytest.raises(ProviderCredentialRejected):
        await world.complete(model="")


# --- time -----------------------------------------------------------------------------------------

_seconds = st.floats(0.001, 1000)


@given(
    seconds_left=st.none() | st.floats(0, 1000),
    limit=_seconds,
    spent=st.floats(0, 1000),
    asked=st.tuples(st.none() | _seconds, st.none() | _seconds),
    provided=st.tuples(*[st.none() | _seconds] * 4),
)
def test_no_timer_is_above_what_is_left(seconds_left, limit, spent, asked, provided):
    world = World(FakeAdapter(), timeouts=UpstreamTimeouts(*provided))
    upstream = world.completions._upstream
    routing = RoutingOptions(attempt_timeout=asked[0], first_token_timeout=asked[1])

    class Later(CompletionCall):
        now = 1000.0

    call = Later(a_request(routing=routing), seconds_left, limit)
    call.now = 1000.0 + spent
    ((provider, model), _) = world.completions._configuration._view.offers["m"]
    deadlines = upstream.deadlines(call, Target(provider, model, None))

    left = max(0.0, min(limit, limit if seconds_left is None else seconds_left) - spent)
    for timer in (deadlines.connect, deadlines.first_token, deadlines.idle, deadlines.total):
        assert 0 <= timer <= left + 1e-6
        assert timer <= deadlines.total
    if seconds_left is not None and 1 <= seconds_left < limit and spent < seconds_left:
        assert deadlines.total <= max(0.0, seconds_left - spent - 0.05) + 1e-6


async def test_a_target_refused_before_it_is_asked_leaves_attempts_for_others():
    world = World(FakeAdapter(CapabilityNotSupported("x")), FakeAdapter(an_answer()))

    assert (await world.complete(routing=RoutingOptions(max_attempts=2))).attempts[1].error is None
