"""Callers and targets at their rate limits: what is refused, what moves on, what is given back."""

import asyncio
from contextlib import aclosing, contextmanager

import pytest

from llm_service.domain.access import CALLER, Caller, Principal
from llm_service.domain.completion import Attribution, GenerationParams, RoutingOptions, TokenUsage
from llm_service.domain.content import Text
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import RateLimits
from llm_service.domain.rate_limits import Metric, Scope
from llm_service.errors import (
    NoRoute,
    ProviderRejectedRequest,
    ProviderUnavailable,
    RateLimited,
)
from llm_service.gateway.rate_limits.limiter import RateLimiter
from llm_service.gateway.rate_limits.windows import LocalMeters
from llm_service.providers.base import Embeddings
from tests.fakes import FakeAdapter, a_credential, a_provider, a_request, a_stream, an_answer
from tests.unit.two_providers import World

ONE_A_MINUTE = RateLimits(requests_per_minute=1)
ONE_AT_ONCE = RateLimits(concurrent_requests=1)


class Limited(World):
    """`of_tenants`: limits of each tenant. What is refused is in `refused`."""

    def __init__(self, *adapters, of_tenants=RateLimits(), **changes):
        self.now = 1000.0
        self.refused: list[tuple[Scope, Metric]] = []
        limiter = RateLimiter(
            LocalMeters(lambda: self.now), of_tenants, lambda *what: self.refused.append(what)
        )
        super().__init__(*adapters, rate_limiter=limiter, **changes)

    async def is_refused(self, **changes) -> bool:
        try:
            await self.complete(**changes)
        except RateLimited:
            return True
        return False

    async def dialled(self) -> None:
        while not self.adapters["one"].calls:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)


def answering(*answers):
    return FakeAdapter(*(answers or [an_answer() for _ in range(9)]))


@contextmanager
def called_by(name, limits):
    token = CALLER.set(Caller(Principal(name, rate_limits=limits)))
    try:
        yield
    finally:
        CALLER.reset(token)


# --- callers --------------------------------------------------------------------------------------


async def test_a_tenant_at_its_limit_is_refused_until_there_is_room_and_others_are_not():
    world = Limited(answering(), of_tenants=RateLimits(requests_per_minute=2))
    await world.complete()
    world.now += 30
    await world.complete()

    with pytest.raises(RateLimited) as failure:
        await world.complete()

    assert str(failure.value) == "tenants/default is limited to 2 requests per minute"
    assert failure.value.retry_delay == 31.0
    assert not failure.value.falls_back
    assert len(world.ledger.records) == 2
    assert not await world.is_refused(attribution=Attribution("other"))
    world.now += 31
    assert not await world.is_refused()
    assert world.refused == [(Scope.TENANT, Metric.REQUESTS_PER_MINUTE)]


async def test_a_client_key_has_limits_of_its_own():
    world = Limited(answering())
    with called_by("clientKeys/a", ONE_A_MINUTE):
        assert not await world.is_refused()
        assert await world.is_refused()
    with called_by("clientKeys/b", ONE_A_MINUTE):
        assert not await world.is_refused()
    with called_by("jwt:issuer#nobody", RateLimits()):
        assert not await world.is_refused()
    assert world.refused == [(Scope.CLIENT_KEY, Metric.REQUESTS_PER_MINUTE)]


async def test_a_call_that_moves_on_is_charged_to_its_caller_once():
    down = FakeAdapter(*[ProviderUnavailable("x")] * 2)
    world = Limited(down, answering(), of_tenants=RateLimits(requests_per_minute=2))

    await world.complete()
    await world.complete()

    assert len(world.ledger.records) == 4
    assert await world.is_refused()


async def test_a_call_that_cannot_be_routed_is_charged_and_holds_nothing():
    limits = RateLimits(requests_per_minute=2, tokens_per_minute=1000, concurrent_requests=1)
    world = Limited(answering(), of_tenants=limits)

    with pytest.raises(NoRoute):
        await world.complete(model="", params=GenerationParams(max_output_tokens=900))

    assert not await world.is_refused(params=GenerationParams(max_output_tokens=900))
    assert await world.is_refused()


async def test_the_tokens_of_all_attempts_take_the_place_of_the_estimate():
    partly = ProviderUnavailable("x")
    partly.used_tokens = 40
    world = Limited(
        FakeAdapter(partly, an_answer()),
        answering(an_answer(usage=TokenUsage(30, 20))),
        of_tenants=RateLimits(tokens_per_minute=100),
    )

    await world.complete(params=GenerationParams(max_output_tokens=90))

    used = sum(
        r.attempt.usage.input_tokens + r.attempt.usage.output_tokens
        for r in world.ledger.records
        if r.attempt.usage
    )
    assert 50 <= used <= 92
    fits = 100 - used - 2
    assert await world.is_refused(params=GenerationParams(max_output_tokens=fits + 1))
    assert not await world.is_refused(params=GenerationParams(max_output_tokens=fits))


async def test_a_call_above_the_whole_limit_is_told_that_it_is():
    world = Limited(answering(), of_tenants=RateLimits(tokens_per_day=100))

    with pytest.raises(RateLimited, match="100 tokens per day, and the call needs 202") as failure:
        await world.complete(params=GenerationParams(max_output_tokens=200))

    assert not failure.value.retriable


async def test_an_output_that_nobody_bounds_is_not_estimated_by_what_the_model_could_write():
    world = Limited(answering(), of_tenants=RateLimits(tokens_per_minute=50))

    assert not await world.is_refused()


async def test_a_call_in_progress_keeps_the_next_one_out_and_lets_it_in_when_it_ends():
    arrived = asyncio.Event()
    world = Limited(FakeAdapter(arrived, an_answer(), an_answer()), of_tenants=ONE_AT_ONCE)
    first = asyncio.create_task(world.complete())
    await world.dialled()

    assert await world.is_refused()
    arrived.set()
    await first

    assert not await world.is_refused()


@pytest.mark.parametrize("limits", ["of_tenants", "rate_limits"])
async def test_a_cancelled_call_holds_nothing_any_more(limits):
    world = Limited(FakeAdapter(asyncio.Event(), an_answer()), **{limits: ONE_AT_ONCE})
    call = asyncio.create_task(world.complete())
    await world.dialled()
    call.cancel()
    await asyncio.wait([call])

    assert call.cancelled()
    assert not await world.is_refused()


@pytest.mark.parametrize("limits", ["of_tenants", "rate_limits"])
async def test_a_stream_that_its_caller_leaves_holds_nothing_any_more(limits):
    world = Limited(FakeAdapter(a_stream("a", "b"), an_answer()), **{limits: ONE_AT_ONCE})
    async with aclosing(world.completions.stream(a_request(), None)) as batches:
        async for _ in batches:
            assert await world.is_refused(routing=RoutingOptions(disable_fallback=True))
            break

    assert not await world.is_refused()


@pytest.mark.parametrize("limits", ["of_tenants", "rate_limits"])
async def test_a_failed_call_holds_nothing_any_more(limits):
    refusing = FakeAdapter(ProviderRejectedRequest("x", http_status=400), an_answer())
    world = Limited(refusing, **{limits: ONE_AT_ONCE})
    with pytest.raises(ProviderRejectedRequest):
        await world.complete()

    assert not await world.is_refused()


async def test_starting_and_leaving_does_not_get_around_a_limit():
    world = Limited(
        FakeAdapter(*[asyncio.Event()] * 9), of_tenants=RateLimits(requests_per_minute=3)
    )
    for _ in range(9):
        call = asyncio.create_task(world.complete())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])

    assert len(world.adapters["one"].calls) <= 3
    assert await world.is_refused()


# --- targets --------------------------------------------------------------------------------------


async def test_a_provider_at_its_limit_is_passed_over_for_the_next():
    world = Limited(answering(), answering(), rate_limits=ONE_A_MINUTE)
    await world.complete()

    completion = await world.complete()

    assert completion.served_by.provider == "providers/two"
    assert [a.error.reason for a in completion.attempts[:-1]] == ["RATE_LIMITED"]
    assert len(world.adapters["one"].calls) == 1


async def test_where_every_target_is_at_its_limit_the_caller_is_told_when_the_first_has_room():
    world = Limited(answering(), answering(), rate_limits=ONE_A_MINUTE)
    await world.complete()
    world.now += 20
    await world.complete()

    with pytest.raises(RateLimited) as failure:
        await world.complete()

    assert failure.value.retry_delay == 41.0
    assert failure.value.metadata["provider"] == "providers/one"
    assert [a.error.reason for a in failure.value.failure.attempts] == ["RATE_LIMITED"] * 2
    assert world.refused[-1] == (Scope.PROVIDER, Metric.REQUESTS_PER_MINUTE)


async def test_beside_another_failure_a_limit_is_not_the_whole_truth():
    world = Limited(
        answering(), FakeAdapter(an_answer(), ProviderUnavailable("x")), rate_limits=ONE_A_MINUTE
    )
    await world.complete()
    world.adapters["two"].script = [ProviderUnavailable("x")]

    with pytest.raises(ProviderUnavailable):
        await world.complete()


async def test_a_models_own_limit_counts_besides_the_providers():
    world = Limited(answering(), answering(), model={"rate_limits": ONE_A_MINUTE})
    await world.complete()

    assert (await world.complete()).served_by.provider == "providers/two"
    assert world.refused == [(Scope.MODEL, Metric.REQUESTS_PER_MINUTE)]


async def test_a_credential_at_its_limit_gives_way_to_the_providers_other_one():
    one = a_provider("one")
    keys = (
        a_credential(one, "a", weight=1, rate_limits=ONE_A_MINUTE),
        a_credential(one, "b", weight=0),
    )
    world = Limited(answering(), credentials={one.uid: keys})
    await world.complete()

    completion = await world.complete()

    assert completion.served_by.credential == "providers/one/credentials/b"
    assert world.refused == [(Scope.CREDENTIAL, Metric.REQUESTS_PER_MINUTE)]


async def test_an_attempt_is_corrected_to_what_it_used_also_when_it_failed():
    one = answering(ProviderRejectedRequest("x", http_status=400), an_answer())
    world = Limited(one, rate_limits=RateLimits(tokens_per_minute=100))
    wide = GenerationParams(max_output_tokens=90)
    with pytest.raises(ProviderRejectedRequest):
        await world.complete(params=wide)

    assert not await world.is_refused(params=wide)


async def test_embeddings_are_held_to_the_same_limits():
    vectors = [Embeddings(((1.0, 2.0),), TokenUsage(3)) for _ in range(3)]
    limits = RateLimits(requests_per_minute=2, concurrent_requests=1, tokens_per_minute=1000)
    world = Limited(
        FakeAdapter(*vectors),
        FakeAdapter(*vectors),
        of_tenants=limits,
        rate_limits=ONE_A_MINUTE,
    )
    request = EmbeddingRequest("m", (Text("hello"),), Attribution("default"))

    await world.embeddings.embed(request, None)
    second = await world.embeddings.embed(request, None)
    with pytest.raises(RateLimited):
        await world.embeddings.embed(request, None)

    assert second.served_by.provider == "providers/two"
    assert world.refused == [
        (Scope.PROVIDER, Metric.REQUESTS_PER_MINUTE),
        (Scope.TENANT, Metric.REQUESTS_PER_MINUTE),
    ]


async def test_counting_and_estimating_are_not_charged():
    world = Limited(answering(), of_tenants=ONE_A_MINUTE)
    await world.completions.count_tokens(a_request(), None)

    assert not await world.is_refused()
    await world.completions.count_tokens(a_request(), None)


async def test_where_nothing_is_limited_nothing_is_held():
    world = Limited(answering())

    await world.complete()

    assert world.completions._rate_limiter._meters._windows == {}
