"""What health lets through to a target, and what it learns from how that ends."""

import asyncio
import logging

import pytest

from llm_service.domain.completion import (
    Attribution,
    RoutingOptions,
)
from llm_service.domain.health import CircuitState, TargetKey
from llm_service.domain.model_config import TargetSpec
from llm_service.errors import (
    GatewayError,
    ModelNotFound,
    Overloaded,
    ProviderBusy,
    ProviderCredentialRejected,
    ProviderProtocolError,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnavailable,
    ProviderUnreachable,
)
from llm_service.gateway.health import circuits as module
from llm_service.gateway.health.adaptive import AdaptiveLimit
from llm_service.gateway.health.breaker import RULES
from llm_service.gateway.health.bulkheads import Bulkheads
from llm_service.gateway.health.circuits import Circuits
from llm_service.gateway.health.gate import HealthGate
from llm_service.gateway.health.intake import Intake, unlimited
from llm_service.gateway.health.windows import FIRST_VALUES
from llm_service.gateway.resolution import Choice
from llm_service.gateway.targets import Target
from tests.fakes import FakeAdapter, a_model, a_provider, a_stream, an_answer
from tests.unit.two_providers import World

ONE, TWO = a_provider("one"), a_provider("two")
DOWN = ProviderUnavailable("x", http_status=500)


class Clock:
    """Its own time, which the test moves."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


class Watched(World):
    """Two providers behind the gate of health, on a clock that the test moves."""

    def __init__(
        self, first, second=None, *, per_provider=100, per_tenant=100, intake=None, **rest
    ):
        self.clock = Clock()
        self.circuits = Circuits(now=self.clock, draw=lambda: 0.0)
        self.shed: list[str] = []
        self.bulkheads = Bulkheads(per_provider, per_tenant, self.shed.append)
        gate = HealthGate(self.circuits, self.bulkheads, intake or unlimited())
        super().__init__(first, second, gates=[gate], **rest)

    def state(self, provider="one", model="m"):
        record = self.circuits.of_provider(f"uid-{provider}")
        known = record.targets.get(TargetKey(f"uid-{provider}", "", model)) if record else None
        return known.breaker.state(self.clock.time) if known else None

    async def fail(self, times=RULES.volume, **asked):
        for _ in range(times):
            with pytest.raises(GatewayError):
                await self.complete(routing=RoutingOptions(disable_fallback=True), **asked)


def target(provider=ONE, model="m", **changes):
    return Target(provider, a_model(provider, model), None, **changes)


async def test_a_target_that_fails_is_passed_over_while_another_serves():
    world = Watched(FakeAdapter(*[DOWN] * RULES.volume), FakeAdapter(an_answer()))
    await world.fail()

    completion = await world.complete()

    assert completion.served_by.provider == "providers/two"
    assert len(world.adapters["one"].calls) == RULES.volume
    assert world.circuits.ejected(target(ONE))
    assert not world.circuits.ejected(target(TWO))


async def test_never_everything_at_once_a_target_is_tried_all_the_same_where_no_other_is_left():
    both = [FakeAdapter(*[DOWN] * RULES.volume, an_answer()) for _ in "12"]
    world = Watched(*both)
    await world.fail()
    await world.fail(model="providers/two/models/m")
    assert world.state("one") is world.state("two") is CircuitState.OPEN

    completion = await world.complete()
    alone = FakeAdapter(*[DOWN] * RULES.volume, an_answer())
    only = Watched(alone)
    await only.fail()
    served = await only.complete(routing=RoutingOptions(disable_fallback=True))

    assert completion.served_by.provider == "providers/one"
    assert served.served_by.provider == "providers/one"


async def test_one_bad_model_does_not_eject_its_siblings():
    world = Watched(FakeAdapter(*[DOWN] * RULES.volume, an_answer()))

    await world.fail(model="providers/one/models/bad")
    await world.complete(model="providers/one/models/good")

    assert world.circuits.ejected(target(ONE, "bad"))
    assert not world.circuits.ejected(target(ONE, "good"))


async def test_a_circuit_closes_by_the_one_call_that_tries():
    world = Watched(FakeAdapter(*[DOWN] * RULES.volume, an_answer()), FakeAdapter(an_answer()))
    await world.fail()
    world.clock.time += RULES.ejection
    assert world.state() is CircuitState.HALF_OPEN

    completion = await world.complete()

    assert completion.served_by.provider == "providers/one"
    assert world.state() is CircuitState.CLOSED


async def test_while_one_call_tries_the_others_go_elsewhere():
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(FakeAdapter):
        async def complete(self, call):
            if len(self.calls) >= RULES.volume:
                asked.set()
                await answer.wait()
            return await super().complete(call)

    world = Watched(Slow(*[DOWN] * RULES.volume, an_answer()), FakeAdapter(an_answer()))
    await world.fail()
    world.clock.time += RULES.ejection
    trying = asyncio.create_task(world.complete())
    await asked.wait()

    other = await world.complete()
    answer.set()
    tried = await trying

    assert other.served_by.provider == "providers/two"
    assert tried.served_by.provider == "providers/one"


async def test_a_call_that_leaves_while_it_tries_frees_the_place():
    asked = asyncio.Event()

    class Stuck(FakeAdapter):
        async def complete(self, call):
            if len(self.calls) == RULES.volume:
                self.calls.append(call)
                asked.set()
                await asyncio.Event().wait()
            return await super().complete(call)

    world = Watched(Stuck(*[DOWN] * RULES.volume, an_answer()), FakeAdapter())
    await world.fail()
    world.clock.time += RULES.ejection
    trying = asyncio.create_task(world.complete())
    await asked.wait()
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)

    completion = await world.complete()

    assert completion.served_by.provider == "providers/one"
    assert world.state() is CircuitState.CLOSED
    assert world.bulkheads.of_provider == world.bulkheads.of_tenant == {}


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (ProviderUnavailable("x", http_status=503), True),
        (ProviderTimeout("x"), True),
        (ProviderUnreachable("x"), True),
        (ProviderProtocolError("x"), True),
        (ProviderRejectedRequest("x", http_status=400), False),
        (ProviderRateLimited("x", http_status=429, retry_delay=0.0), False),
        (ProviderCredentialRejected("x", http_status=401), False),
        (ModelNotFound("x", http_status=404), False),
    ],
    ids=lambda value: value.reason if isinstance(value, Exception) else "",
)
async def test_only_failures_that_speak_about_the_target_open_its_circuit(error, counts):
    world = Watched(FakeAdapter(*[error] * RULES.volume))

    await world.fail()

    assert world.circuits.ejected(target(ONE)) is counts


async def test_a_callers_own_hurry_opens_nothing():
    hurried = {"routing": RoutingOptions(disable_fallback=True, first_token_timeout=0.0)}
    world = Watched(FakeAdapter(*[ProviderTimeout("x")] * 20))

    for _ in range(20):
        with pytest.raises(ProviderTimeout):
            await world.complete(**hurried)

    assert not world.circuits.ejected(target(ONE))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ProviderRateLimited("x", http_status=429, retry_delay=17.0), 17.0),
        (ProviderRateLimited("x", http_status=429), 5.0),
        (ProviderRateLimited("x", http_status=429, retry_delay=86_400.0), 300.0),
        (ProviderQuotaExhausted("x", http_status=429), 60.0),
    ],
)
async def test_a_target_that_takes_no_more_leaves_the_pool_until_it_said(error, seconds):
    world = Watched(FakeAdapter(error, an_answer()), FakeAdapter(an_answer(), an_answer()))

    await world.complete()
    elsewhere = await world.complete()
    assert world.state() is CircuitState.LIMITED
    world.clock.time += seconds
    back = await world.complete()

    assert elsewhere.served_by.provider == "providers/two"
    assert back.served_by.provider == "providers/one"


async def test_a_refusal_that_does_not_fall_back_is_not_made():
    world = Watched(FakeAdapter())
    breaker = world.circuits.known(TargetKey("uid-one", "", "m"), "", "one").breaker
    breaker.told_open(world.clock.time, 10, "PROVIDER_UNAVAILABLE", 1)
    strict = Choice(TargetSpec("m", fallback_reasons=("PROVIDER_TIMEOUT",)))
    call = type("Call", (), {"first_content": None})()

    for choice, refused in ((strict, False), (Choice(TargetSpec("m")), True)):
        one = target(ONE, choice=choice)
        call.targets = (one, target(TWO))
        try:
            world.circuits.enter(TargetKey("uid-one", "", "m"), one, call)
        except ProviderUnavailable:
            assert refused
        else:
            assert not refused


async def test_a_full_provider_gives_way_to_the_next_and_a_full_tenant_to_nobody():
    world = Watched(
        FakeAdapter(an_answer()), FakeAdapter(an_answer()), per_provider=1, per_tenant=2
    )
    world.bulkheads.take("uid-one", "other")

    completion = await world.complete()
    assert completion.served_by.provider == "providers/two"
    assert completion.attempts[0].error.reason == "OVERLOADED"

    world.bulkheads.take("uid-three", "default")
    world.bulkheads.take("uid-three", "default")
    with pytest.raises(Overloaded):
        await world.complete()
    world.bulkheads.leave("uid-three", "default")
    await world.fail(1)
    assert world.shed == ["provider", "tenant", "provider"]


async def test_a_stalled_provider_takes_only_its_own_room():
    asked = asyncio.Event()

    class Stalled(FakeAdapter):
        async def complete(self, call):
            self.calls.append(call)
            if len(self.calls) == 3:
                asked.set()
            await asyncio.Event().wait()

    world = Watched(Stalled(), FakeAdapter(*[an_answer()] * 50), per_provider=3)
    stuck = [asyncio.create_task(world.complete()) for _ in range(3)]
    await asked.wait()

    served = [(await world.complete()).served_by.provider for _ in range(50)]

    assert set(served) == {"providers/two"}
    for one in stuck:
        one.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    assert world.bulkheads.of_provider == {}


def test_a_busy_provider_is_an_overload_that_falls_back():
    assert ProviderBusy.reason == Overloaded.reason
    assert ProviderBusy.falls_back
    assert not Overloaded.falls_back


async def test_routing_can_read_averages_of_what_streams_met():
    intake = Intake(AdaptiveLimit(10), 0)
    world = Watched(FakeAdapter(*[a_stream("a", "b")] * 3, an_answer()), intake=intake)
    one = target(ONE)
    assert world.circuits.first_token_seconds(one) is None

    for _ in range(3):
        await world.stream()
    await world.complete()

    assert world.circuits.first_token_seconds(one) >= 0
    assert world.circuits.tokens_per_second(one) is None  # all came at once
    assert world.circuits.first_token_seconds(target(TWO)) is None


async def test_the_log_tells_what_opened_and_not_what_callers_call_models(caplog):
    caplog.set_level(logging.INFO)
    adapter = FakeAdapter(*[DOWN] * RULES.volume * 2, an_answer())
    world = Watched(adapter)

    await world.fail()
    await world.fail(model="providers/one/models/my secret question")
    world.clock.time += RULES.ejection
    await world.complete()

    told = [record.getMessage() for record in caplog.records if "circuit" in record.getMessage()]
    assert told == [
        "the circuit of providers/one/models/m is open for 4.0 s: PROVIDER_UNAVAILABLE",
        "the circuit of providers/one/models/(unlisted) is open for 4.0 s: PROVIDER_UNAVAILABLE",
        "the circuit of providers/one/models/m is closed again",
    ]
    assert world.circuits.count() == {("openai-compatible", "half_open"): 1}


async def test_the_least_used_target_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "KEPT_TARGETS", 3)
    world = Watched(FakeAdapter(*[an_answer()] * 5))

    for number in range(5):
        await world.complete(model=f"providers/one/models/m{number}")

    kept = world.circuits.of_provider("uid-one").targets
    assert [key.model_id for key in kept] == ["m2", "m3", "m4"]


async def test_models_that_do_not_exist_leave_nothing_behind():
    world = Watched(FakeAdapter(*[ModelNotFound("x", http_status=404)] * 3))

    for number in range(3):
        await world.fail(1, model=f"providers/one/models/m{number}")

    assert world.circuits.of_provider("uid-one") is None


async def test_providers_that_only_refused_keys_are_forgotten_too(monkeypatch):
    monkeypatch.setattr(module, "KEPT_PROVIDERS", 1)
    refusal = ProviderCredentialRejected("x", http_status=401)
    world = Watched(FakeAdapter(refusal), FakeAdapter(refusal))

    await world.fail(1, model="providers/one/models/m")
    await world.fail(1, model="providers/two/models/m")

    assert world.circuits.of_provider("uid-one") is None
    assert world.circuits.of_provider("uid-two").last_error.reason == refusal.reason


async def test_each_tenant_has_its_own_room():
    world = Watched(FakeAdapter(an_answer()), per_tenant=1)
    world.bulkheads.take("uid-two", "default")

    with pytest.raises(Overloaded):
        await world.complete()
    world.bulkheads.leave("uid-two", "default")
    world.bulkheads.take("uid-two", "other")
    served = await world.complete(attribution=Attribution("default"))

    assert served.served_by.provider == "providers/one"


async def test_the_intake_hears_how_slow_streams_are_once_it_is_known_what_is_usual(monkeypatch):
    intake, heard = Intake(AdaptiveLimit(10), 0), []
    monkeypatch.setattr(intake, "heard", lambda *told: heard.append(told))
    world = Watched(FakeAdapter(*[a_stream("a")] * (FIRST_VALUES + 2)), intake=intake)

    for _ in range(FIRST_VALUES + 2):
        await world.stream()

    assert [provider for provider, _ in heard] == ["uid-one"] * 2
    assert all(slowness > 0 for _, slowness in heard)
