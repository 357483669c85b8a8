"""R9: how much is let in: a limit that follows the time to first token, and a short queue."""

import asyncio
import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import Overloaded
from llm_service.gateway.health.adaptive import QUIET_SECONDS, AdaptiveLimit
from llm_service.gateway.health.intake import Intake
from llm_service.gateway.health.windows import FIRST_VALUES, Usual
from tests.fakes import FakeAdapter, an_answer
from tests.unit.two_providers import World


async def leave(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Inside:
    """Calls that hold their places until they are let go."""

    def __init__(self, intake):
        self.intake = intake
        self.entered = 0
        self.arrived = asyncio.Condition()
        self.end = asyncio.Event()

    async def call(self):
        async with self.intake:
            self.entered += 1
            async with self.arrived:
                self.arrived.notify_all()
            await self.end.wait()

    async def until(self, number):
        async with self.arrived:
            await self.arrived.wait_for(lambda: self.entered >= number)


async def test_calls_beyond_the_limit_and_the_queue_are_refused_with_a_delay():
    shed = []
    intake = Intake(AdaptiveLimit(2), 1, wait=60, shed=shed.append)
    inside = Inside(intake)
    tasks = [asyncio.create_task(inside.call()) for _ in range(3)]
    await inside.until(2)

    with pytest.raises(Overloaded) as refusal:
        await inside.call()
    inside.end.set()
    await asyncio.gather(*tasks)

    assert 1 <= refusal.value.retry_delay <= 3
    assert shed == ["service"]
    assert inside.entered == 3
    assert intake.in_flight == 0


async def test_who_waits_in_vain_is_refused_in_time():
    intake = Intake(AdaptiveLimit(1), 5, wait=0.01)
    inside = Inside(intake)
    task = asyncio.create_task(inside.call())
    await inside.until(1)

    with pytest.raises(Overloaded):
        async with intake:
            pass
    inside.end.set()
    await task
    async with intake:
        assert intake.in_flight == 1

    assert intake.in_flight == 0


async def test_places_go_to_those_who_wait_in_their_order_and_not_to_who_has_gone():
    intake, order = Intake(AdaptiveLimit(1), 5, wait=60), []
    inside = Inside(intake)
    first = asyncio.create_task(inside.call())
    await inside.until(1)

    async def wait(name):
        async with intake:
            order.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    await leave(tasks[0])
    inside.end.set()
    await asyncio.gather(first, *tasks[1:])

    assert order == ["b", "c"]
    assert intake.in_flight == 0


async def test_a_place_given_to_a_caller_who_leaves_at_that_moment_is_not_lost():
    intake = Intake(AdaptiveLimit(1), 5, wait=60)
    await intake.__aenter__()
    waiting = asyncio.create_task(intake.__aenter__())
    await asyncio.sleep(0)

    await intake.__aexit__()  # the place is given
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert intake.in_flight == 0


async def test_every_completion_and_embedding_takes_a_place():
    world = World(FakeAdapter(an_answer()))
    world.completions._intake = Intake(AdaptiveLimit(1), 0)
    async with world.completions._intake:
        with pytest.raises(Overloaded):
            await world.complete()
        with pytest.raises(Overloaded):
            await world.stream()

    assert (await world.complete()).id
    assert world.completions._intake.in_flight == 0


def heard(limit, now, slowness, *, providers=("p",), in_flight=100, times=20):
    for step in range(times):
        for one in providers:
            limit.heard(now + step / times, one, slowness, in_flight)


def test_the_limit_falls_when_all_is_slow_and_grows_back_when_it_is_not():
    limit = AdaptiveLimit(100)

    for second in range(3):
        heard(limit, second * 1.1, 4.0, in_flight=limit.value)
    low = limit.value
    for second in range(100):
        heard(limit, 10 + second * 1.1, 1.0, in_flight=limit.value)

    assert low < 50
    assert limit.value == 100


def test_one_slow_provider_among_others_is_its_own_business():
    limit = AdaptiveLimit(100)

    for second in range(20):
        heard(limit, second * 1.1, 1.0, providers=["well"])
        heard(limit, second * 1.1, 30.0, providers=["slow"])

    assert limit.value == 100


def test_where_nobody_says_anything_for_long_there_may_be_room_again():
    limit = AdaptiveLimit(100)
    for second in range(5):
        heard(limit, second * 1.1, 4.0, in_flight=limit.value)
    low = limit.value

    for step in range(200):
        limit.look(10 + step * QUIET_SECONDS)

    assert low < 100
    assert limit.value == 100


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.sampled_from("ab"), st.floats(0, 1e9), st.integers(0, 2000)),
        max_size=200,
    )
)
def test_the_limit_stays_within_its_bounds_whatever_is_heard(told):
    limit, now = AdaptiveLimit(1000), 0.0

    for seconds, provider, slowness, in_flight in told:
        now += seconds
        limit.heard(now, provider, slowness, in_flight)
        assert limit.least <= limit.value <= limit.most


KNEE = 100  # calls at a time that the service can work on without slowing down
USUAL = 0.2  # seconds to the first token then
PATIENCE = 2.0  # of a caller
SECONDS = 60


def simulate(rate: float, limit: AdaptiveLimit | None):
    """Calls that share the service: more than `KNEE` of them slow each other down in proportion.

    Gives how many a second were answered in time, and their 99th percentile.
    """
    draw, usual = random.Random(3), Usual()  # noqa: S311
    now, ends, times = 0.0, [], []
    for _ in range(FIRST_VALUES):
        usual.add(0.0, USUAL)
    while now < SECONDS:
        now += draw.expovariate(rate)
        while ends and ends[0][0] <= now:
            at, took = heapq.heappop(ends)
            if took > PATIENCE:  # it left without a first token, and nobody knows how long it took
                continue
            if at > SECONDS / 6:
                times.append(took)
            if limit is not None:
                limit.heard(at, "p", took / usual.value, len(ends) + 1)
                usual.add(at, took)
        if limit is not None and len(ends) >= limit.value:
            limit.look(now)
            continue
        took = USUAL * draw.uniform(0.8, 1.2) * max(1.0, (len(ends) + 1) / KNEE)
        heapq.heappush(ends, (now + min(took, PATIENCE * 1.01), took))
    times.sort()
    return len(times) / (SECONDS * 5 / 6), times[int(len(times) * 0.99)] if times else 0.0


def test_under_three_times_the_load_nine_tenths_of_the_peak_are_answered_in_time():
    peak, baseline = simulate(KNEE / USUAL * 0.95, None)
    without, _ = simulate(KNEE / USUAL * 3, None)

    goodput, slowest = simulate(KNEE / USUAL * 3, AdaptiveLimit(5 * KNEE))

    assert without < 0.5 * peak  # the model does collapse by itself
    assert goodput >= 0.9 * peak
    assert slowest <= 2 * baseline


def test_what_is_usual_does_not_follow_a_load_of_seconds_however_many_calls_it_has():
    usual = Usual()
    for second in range(FIRST_VALUES):
        usual.add(float(second), 0.2)

    for step in range(30_000):
        usual.add(20 + step / 1000, 2.0)

    assert usual.value < 0.32
