"""A stream that trickles is given up; one that pauses, or whose reader does, is not."""

from types import SimpleNamespace

import pytest

from llm_service.domain.completion import (
    DeltaKind,
    MidStreamFailure,
    PartDelta,
    RoutingOptions,
)
from llm_service.domain.provider import UpstreamTimeouts
from llm_service.errors import ProviderTimeout, StreamInterrupted
from llm_service.gateway import pace
from llm_service.gateway.pace import WINDOW_SECONDS, Pace
from llm_service.gateway.upstream import CallLimits
from tests.fakes import FakeAdapter, a_request, a_stream
from tests.unit.two_providers import BEGUN, World, text_of


class Stream:
    """A stream on a clock of its own."""

    def __init__(self, least):
        self.time = 0.0
        self.tokens = 1
        self.pace = Pace(least, lambda: self.time)
        self.pace.heard(SimpleNamespace(output_tokens=self.tokens))

    def gives(self, tokens, after, *, reader_took=0.0):
        self.time += reader_took
        self.pace.waits()
        self.time += after
        self.tokens += tokens
        self.pace.heard(SimpleNamespace(output_tokens=self.tokens))


def test_a_trickle_is_given_up_after_a_window():
    stream = Stream(least=5)
    for _ in range(9):
        stream.gives(1, after=1)

    with pytest.raises(ProviderTimeout):
        stream.gives(1, after=1)


def test_a_pause_within_a_window_is_forgiven():
    stream = Stream(least=5)

    for _ in range(20):
        stream.gives(0, after=WINDOW_SECONDS / 2 - 1)
        stream.gives(60, after=WINDOW_SECONDS / 2 + 1)


def test_a_slow_reader_is_not_the_providers_fault():
    stream = Stream(least=5)

    for _ in range(100):
        stream.gives(1, after=0.1, reader_took=60)


def test_without_a_least_speed_nothing_is_too_slow():
    stream = Stream(least=0)

    for _ in range(100):
        stream.gives(0, after=60)


@pytest.mark.parametrize(
    ("routed", "provided", "set_", "least"),
    [
        (None, None, 0.0, 0),
        (None, None, 3.0, 3),
        (None, 2.0, 3.0, 2),
        (None, 0.0, 3.0, 0),
        (1.0, 2.0, 3.0, 1),
        (0.0, 2.0, 3.0, 0),
    ],
)
async def test_the_call_goes_before_the_provider_and_that_before_the_service(
    routed, provided, set_, least
):
    world = World(FakeAdapter(), timeouts=UpstreamTimeouts(min_output_tokens_per_second=provided))
    upstream = world.completions._upstream
    upstream.limits = CallLimits(min_output_tokens_per_second=set_)
    asked = a_request(routing=RoutingOptions(min_output_tokens_per_second=routed))
    call = await world.completions._begin(asked, None, 0.0)

    assert upstream.pace(call, call.targets[0])._least == least


def trickle():
    """A stream that has begun, and then gives nothing but empty words."""
    batches = [*BEGUN, [PartDelta(0, DeltaKind.TEXT, "word ")]]
    return batches + [[PartDelta(0, DeltaKind.TEXT, "")]] * 4


@pytest.fixture
def no_window(monkeypatch):
    monkeypatch.setattr(pace, "WINDOW_SECONDS", 0.0)


SLOW = RoutingOptions(min_output_tokens_per_second=1000)


@pytest.mark.usefixtures("no_window")
async def test_a_trickle_ends_as_a_stream_that_broke():
    world = World(FakeAdapter(trickle()))

    with pytest.raises(StreamInterrupted) as failure:
        await world.stream(routing=SLOW)

    assert failure.value.metadata["cause"] == "PROVIDER_TIMEOUT"
    assert world.outcomes() == [("providers/one", "PROVIDER_TIMEOUT")]
    assert world.ledger.records[0].attempt.usage.output_tokens > 0
    assert world.adapters["one"].streams_closed == 1


@pytest.mark.usefixtures("no_window")
async def test_a_caller_who_can_start_over_gets_another_targets_answer(monkeypatch):
    world = World(FakeAdapter(trickle()), FakeAdapter(a_stream("hi")))
    heard = Pace.heard

    def only_the_first(self, attempt):
        if not world.adapters["two"].calls:
            heard(self, attempt)

    monkeypatch.setattr(Pace, "heard", only_the_first)

    events = await world.stream(routing=SLOW, mid_stream_failure=MidStreamFailure.RESTART)

    assert text_of(events).endswith("hi")
    assert [reason for _, reason in world.outcomes()] == ["PROVIDER_TIMEOUT", ""]
