"""A call's time runs from when its caller came, whatever it then waits for."""

import time

import pytest

from llm_service.domain.completion import Attribution
from llm_service.domain.content import Text
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.gateway import call, completions, embeddings
from llm_service.gateway.rate_limits.limiter import RateLimiter
from llm_service.providers.base import Embeddings
from tests.fakes import USAGE, FakeAdapter, an_answer
from tests.unit.two_providers import World


@pytest.fixture
def slow(monkeypatch):
    """A limiter that takes three seconds to let a call in, by the clock of calls."""
    waited = 0.0

    class Slow(RateLimiter):
        async def admit(self, tenant, tokens):
            nonlocal waited
            waited += 3
            return await super().admit(tenant, tokens)

    for module in (call, completions, embeddings):
        monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + waited)
    return Slow()


async def test_what_a_completion_waits_for_its_place_is_taken_off_its_deadline(slow):
    world = World(FakeAdapter(an_answer()), rate_limiter=slow)

    await world.complete(seconds_left=10)

    [asked] = world.adapters["one"].calls
    assert 5 < asked.deadlines.total <= 6.95


async def test_what_embeddings_wait_for_their_place_is_taken_off_their_deadline(slow):
    world = World(FakeAdapter(Embeddings(([0.5],), USAGE, "m")), rate_limiter=slow)
    request = EmbeddingRequest("m", (Text("a"),), attribution=Attribution("default"))

    await world.embeddings.embed(request, 10)

    [asked] = world.adapters["one"].calls
    assert 5 < asked.deadlines.total <= 6.95


async def test_a_caller_without_a_deadline_has_the_services_own(slow):
    world = World(FakeAdapter(an_answer()), rate_limiter=slow)

    await world.complete()

    [asked] = world.adapters["one"].calls
    assert 29 < asked.deadlines.total <= 30
