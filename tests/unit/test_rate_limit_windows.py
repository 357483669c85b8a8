"""Windows that move with the time, on a clock of the test's own."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.rate_limits import SPANS, Demand, Hold, Metric, Scope
from llm_service.gateway.rate_limits.windows import LocalMeters

MINUTE, TOKENS, DAY, AT_ONCE = (
    Metric.REQUESTS_PER_MINUTE,
    Metric.TOKENS_PER_MINUTE,
    Metric.REQUESTS_PER_DAY,
    Metric.CONCURRENT_REQUESTS,
)


class World:
    """Meters, and a clock that stands until it is told."""

    def __init__(self):
        self.now = 1_000_000.0
        self.meters = LocalMeters(lambda: self.now)
        self.holds = Counter()

    async def take(self, *demands):
        """A hold, or the refusal."""
        self.holds["n"] += 1
        hold = Hold(str(self.holds["n"]), demands)
        return await self.meters.take(hold) or hold


def demand(metric=MINUTE, limit=3, amount=1, subject="tenants/acme"):
    return Demand(Scope.TENANT, subject, metric, limit, amount)


def admitted(found) -> bool:
    return isinstance(found, Hold)


# In quarters of a slice: a few, or about as many as a minute has.
quarters = st.integers(0, 9) | st.integers(230, 250) | st.integers(0, 300)


@given(
    limit=st.integers(1, 9),
    metric=st.sampled_from([MINUTE, TOKENS, DAY]),
    steps=st.lists(st.tuples(quarters, st.integers(1, 9)), max_size=60),
)
async def test_no_window_ever_holds_more_than_the_limit_and_no_room_is_refused(
    limit, metric, steps
):
    world, span = World(), SPANS[metric]
    passed = []
    for number, amount in steps:
        world.now += number * span.length / 240
        amount = min(amount, limit)  # noqa: PLW2901
        found = await world.take(demand(metric, limit, amount))
        lately = sum(n for at, n in passed if at > world.now - span.length)
        nearly = sum(n for at, n in passed if at > world.now - span.length - span.slice)
        if admitted(found):
            assert lately + amount <= limit
            passed.append((world.now, amount))
        else:
            assert nearly + amount > limit


@given(
    limit=st.integers(1, 10),
    steps=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 10)), min_size=1, max_size=40),
)
async def test_there_is_room_when_a_refusal_says_so_and_a_slice_before_there_was_none(limit, steps):
    world = World()
    for seconds, amount in steps:
        world.now += seconds
        asked = demand(TOKENS, limit, min(amount, limit))
        refusal = await world.take(asked)
        if admitted(refusal):
            continue
        assert 0 < refusal.seconds <= 61
        world.now += refusal.seconds - 1.001
        assert not admitted(await world.take(asked))
        world.now += 1.001
        assert admitted(await world.take(asked))


async def test_what_is_refused_is_not_charged_to_any_of_the_limits():
    world = World()
    narrow, wide = demand(limit=1, subject="one"), demand(limit=2, subject="two")
    await world.take(narrow)

    assert not admitted(await world.take(wide, narrow))
    assert not admitted(await world.take(narrow, wide))

    assert admitted(await world.take(wide))
    assert admitted(await world.take(wide))


async def test_of_several_refusals_the_one_that_lasts_longest_is_told():
    world = World()
    minute, day = demand(MINUTE, 1), demand(DAY, 1)
    await world.take(minute, day)

    refusal = await world.take(minute, day)

    assert refusal.demand.metric is DAY
    assert 86_400 <= refusal.seconds <= 87_000


async def test_tokens_that_were_not_used_are_given_back():
    world = World()
    hold = await world.take(demand(TOKENS, 100, 80))
    assert not admitted(await world.take(demand(TOKENS, 100, 30)))

    world.meters.settle(hold, 70)

    assert admitted(await world.take(demand(TOKENS, 100, 30)))
    assert not admitted(await world.take(demand(TOKENS, 100, 1)))


async def test_tokens_above_the_estimate_count_from_when_they_are_known():
    world = World()
    hold = await world.take(demand(TOKENS, 100, 10))
    world.now += 59
    world.meters.settle(hold, 100)
    world.now += 10

    refusal = await world.take(demand(TOKENS, 100, 11))

    assert 50 < refusal.seconds <= 51


async def test_what_is_given_back_after_its_window_gives_nobody_more():
    world = World()
    hold = await world.take(demand(TOKENS, 100, 100))
    world.now += 61
    await world.take(demand(TOKENS, 100, 100))

    world.meters.settle(hold, 0)

    assert not admitted(await world.take(demand(TOKENS, 100, 1)))


async def test_a_hold_is_settled_once():
    world = World()
    hold = await world.take(demand(AT_ONCE, 2), demand(TOKENS, 100, 50))
    await world.take(demand(AT_ONCE, 2))

    world.meters.settle(hold, 0)
    world.meters.settle(hold, 0)

    assert admitted(await world.take(demand(AT_ONCE, 2)))
    assert not admitted(await world.take(demand(AT_ONCE, 2)))


async def test_so_many_are_in_progress_and_no_more_however_long():
    world = World()
    first = await world.take(demand(AT_ONCE, 2))
    await world.take(demand(AT_ONCE, 2))
    world.now += 100_000

    refusal = await world.take(demand(AT_ONCE, 2))
    assert refusal.seconds is None
    world.meters.settle(first, 0)

    assert admitted(await world.take(demand(AT_ONCE, 2)))


async def test_a_limit_that_is_changed_goes_on_with_what_was_counted():
    world = World()
    for _ in range(3):
        await world.take(demand(limit=3))

    assert not admitted(await world.take(demand(limit=3)))
    assert admitted(await world.take(demand(limit=4)))
    assert not admitted(await world.take(demand(limit=2)))


async def test_names_that_come_and_go_leave_nothing_behind():
    world = World()
    for n in range(25_000):
        world.now += 0.01
        await world.take(demand(subject=f"tenants/{n}"))

    assert len(world.meters._windows) <= 20_001
    world.now += 100
    for n in range(25_000):
        await world.take(demand(subject=f"others/{n}"))
    assert len(world.meters._windows) <= 25_000


async def test_windows_that_are_only_charged_hold_no_more_slices_than_those_that_are_asked():
    world = World()

    for _ in range(500):  # as while the shared meters answer: nobody asks these
        world.meters.charge(Hold("h", (demand(TOKENS),)))
        world.now += 1

    [window] = world.meters._windows.values()
    assert len(window._slices) <= SPANS[TOKENS].slices + 1
    assert window.used(world.now) == SPANS[TOKENS].slices
