"""Rate limits that replicas share: counted in one place, and held by each alone when it is away."""

import asyncio
import itertools
import socket
import threading
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from types import SimpleNamespace

import fakeredis
import pytest
from fakeredis.commands_mixins import server_mixin
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.domain.rate_limits import Demand, Hold, Metric, Refusal, Scope
from llm_service.gateway.rate_limits import shared
from llm_service.gateway.rate_limits.shared import SharedMeters
from llm_service.gateway.rate_limits.windows import LocalMeters
from llm_service.storage.redis_meters import LEASE_SECONDS, RedisMeters, Settlement

REQUESTS, TOKENS, DAY, AT_ONCE = (
    Metric.REQUESTS_PER_MINUTE,
    Metric.TOKENS_PER_MINUTE,
    Metric.TOKENS_PER_DAY,
    Metric.CONCURRENT_REQUESTS,
)
ids = itertools.count()


def a_hold(*demands) -> Hold:
    return Hold(f"hold-{next(ids)}", demands)


def demand(metric=REQUESTS, limit=3, amount=1, subject="tenants/acme"):
    return Demand(Scope.TENANT, subject, metric, limit, amount)


class Clock:
    """The server's time, which stands until it is told."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def time(self):
        return self.now


@contextmanager
def standing_clock():
    clock, real = Clock(), server_mixin.time
    server_mixin.time = SimpleNamespace(time=clock.time)
    try:
        yield clock
    finally:
        server_mixin.time = real


BOUND = shared.WAIT_SECONDS


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A busy machine must not look like a server out of reach."""
    monkeypatch.setattr(shared, "WAIT_SECONDS", 10.0)


@pytest.fixture
def clock():
    with standing_clock() as one:
        yield one


def replica(server) -> RedisMeters:
    return RedisMeters(fakeredis.FakeAsyncRedis(server=server))


@pytest.fixture
def pair(clock):
    """The meters of two replicas over one server."""
    server = fakeredis.FakeServer()
    return replica(server), replica(server)


@contextmanager
def a_server(port=0):
    """A server on a port of its own, in a thread."""
    server = fakeredis.TcpFakeServer(("127.0.0.1", port))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def a_silent_server():
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@asynccontextmanager
async def sharing(port):
    redis = RedisMeters.at(f"redis://127.0.0.1:{port}/0")
    meters = SharedMeters(redis, LocalMeters())
    telling = asyncio.create_task(meters.run())
    try:
        yield meters
    finally:
        telling.cancel()
        await asyncio.wait([telling])
        await redis.aclose()


# --- one place ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    limit=st.integers(1, 20),
    metric=st.sampled_from([REQUESTS, TOKENS, DAY, AT_ONCE]),
    steps=st.lists(
        st.tuples(st.integers(0, 20_000), st.integers(1, 20), st.integers(-1, 25)), max_size=20
    ),
)
async def test_replicas_together_count_as_one_process_does(limit, metric, steps):
    """Two replicas by turns, and the meters in memory as the oracle."""
    with standing_clock() as clock:
        server = fakeredis.FakeServer()
        replicas = itertools.cycle([replica(server), replica(server)])
        alone = LocalMeters(lambda: clock.now)
        for milliseconds, amount, used in steps:
            clock.now += milliseconds / 1000
            each = 1 if metric is AT_ONCE else min(amount, limit)
            hold = a_hold(demand(metric, limit, each))
            told, expected = await next(replicas).take(hold), await alone.take(hold)
            assert (told is None) == (expected is None)
            if told is not None and told.seconds is not None:
                assert told.seconds == pytest.approx(expected.seconds, abs=0.01)
            if told is None and used >= 0:
                await next(replicas).settle([Settlement(hold, used)])
                alone.settle(hold, used)


async def test_calls_at_once_on_two_replicas_are_never_more_than_the_limit(pair):
    taking = [meters.take(a_hold(demand(limit=40))) for meters in pair for _ in range(45)]

    refusals = await asyncio.gather(*taking)

    assert refusals.count(None) == 40


async def test_what_is_refused_is_charged_to_none_of_the_limits(pair):
    one, two = pair
    narrow, wide = demand(limit=1, subject="one"), demand(TOKENS, 20, 10, subject="two")
    await one.take(a_hold(narrow))

    assert isinstance(await two.take(a_hold(wide, narrow)), Refusal)

    assert await two.take(a_hold(wide)) is None
    assert await one.take(a_hold(wide)) is None


async def test_what_a_dead_replica_had_in_progress_ends_with_its_lease(pair, clock):
    dead, alive = pair
    await dead.take(a_hold(demand(AT_ONCE, 1)))
    clock.now += LEASE_SECONDS - 1
    assert await alive.take(a_hold(demand(AT_ONCE, 1))) is not None
    clock.now += 2

    assert await alive.take(a_hold(demand(AT_ONCE, 1))) is None


async def test_what_is_renewed_stays_in_progress_for_as_long_as_it_takes(pair, clock):
    one, two = pair
    holds = [a_hold(demand(AT_ONCE, 1)), a_hold(demand(REQUESTS, 9))]
    for hold in holds:
        await one.take(hold)
    for _ in range(5):
        clock.now += LEASE_SECONDS - 1
        await one.renew(holds)

    assert await two.take(a_hold(demand(AT_ONCE, 1))) is not None
    await one.settle([Settlement(holds[0], 0)])
    assert await two.take(a_hold(demand(AT_ONCE, 1))) is None


# --- out of reach ---------------------------------------------------------------------------------


async def test_a_call_that_ends_makes_room_on_the_other_replica():
    with a_server() as port:
        async with sharing(port) as one, sharing(port) as two:
            hold = a_hold(demand(AT_ONCE, 1), demand(TOKENS, 100, 90))
            assert await one.take(hold) is None
            assert await two.take(a_hold(demand(AT_ONCE, 1))) is not None

            one.settle(hold, 10)
            await one.flush()

            assert await two.take(a_hold(demand(AT_ONCE, 1), demand(TOKENS, 100, 90))) is None


async def test_without_the_server_each_replica_holds_the_limits_alone(caplog):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with sharing(port) as one:
        found = [await one.take(a_hold(demand(limit=3))) for _ in range(5)]

        assert found.count(None) == 3
        assert one.away
    said = [r.getMessage() for r in caplog.records if r.name == shared.logger.name]
    assert len(said) == 1
    assert "each replica holds them alone" in said[0]


async def test_nothing_but_a_call_that_was_charged_shows_that_the_server_is_back(monkeypatch):
    monkeypatch.setattr(shared, "AWAY_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with sharing(port) as one:
        for _ in range(5):
            await one.take(a_hold(demand(limit=9)))
            await one.flush()
            assert one.away


async def test_a_server_that_says_nothing_costs_a_call_no_more_than_its_bound(monkeypatch):
    monkeypatch.setattr(shared, "AWAY_SECONDS", 60.0)
    monkeypatch.setattr(shared, "WAIT_SECONDS", BOUND)
    assert BOUND < 0.05
    with a_silent_server() as port:
        async with sharing(port) as one:
            begun = monotonic()
            found = [await one.take(a_hold(demand(limit=3))) for _ in range(50)]

            # Three waits of 40 ms, and slack for a busy machine; 50 would be two seconds.
            assert monotonic() - begun < 1.0
            assert found.count(None) == 3
            assert one.away


async def test_a_replica_on_its_own_goes_on_with_what_it_has_counted():
    with a_server() as port:
        async with sharing(port) as one:
            assert await one.take(a_hold(demand(limit=2))) is None
            assert await one.take(a_hold(demand(limit=2))) is None
            one._lost(OSError())

            assert await one.take(a_hold(demand(limit=2))) is not None


async def test_a_server_that_is_back_counts_for_all_again(monkeypatch):
    monkeypatch.setattr(shared, "AWAY_SECONDS", 0.01)
    with a_server() as port:
        async with sharing(port) as one:
            assert await one.take(a_hold(demand(limit=9))) is None
    async with sharing(port) as one:
        assert await one.take(a_hold(demand(limit=9))) is None
        assert one.away
        with a_server(port):
            while one.away:
                await one.take(a_hold(demand(limit=1000)))
                await asyncio.sleep(0.001)
            async with sharing(port) as two:
                for meters in (one, two, one, two):
                    await meters.take(a_hold(demand(limit=4, subject="tenants/back")))
                late = a_hold(demand(limit=4, subject="tenants/back"))
                assert await two.take(late) is not None


async def test_a_call_cancelled_while_it_is_charged_holds_nothing():
    with a_silent_server() as port:
        async with sharing(port) as one:
            hold = a_hold(demand(AT_ONCE, 1))
            taking = asyncio.create_task(one.take(hold))
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait([taking])

            assert taking.cancelled()
            assert [s.hold for s in one._ended] == [hold]
            one._lost(OSError())
            assert await one.take(a_hold(demand(AT_ONCE, 1))) is None


async def test_a_cancellation_that_the_client_loses_is_one_all_the_same():
    class Losing:
        """As `asyncio.wait_for`, where the answer is there in the very moment."""

        def register_script(self, _text):
            async def asked(**_named):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return 0, 0

            return asked

    taking = asyncio.create_task(RedisMeters(Losing()).take(a_hold(demand())))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])

    assert taking.cancelled()
