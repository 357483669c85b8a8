"""Sixty seconds of an outage, on a clock that jumps to whatever is waited for next."""

import asyncio
import random

import pytest

from llm_service.errors import ProviderRateLimited, ProviderTimeout, ProviderUnavailable
from llm_service.gateway.call import CompletionCall
from llm_service.gateway.retries import Retries
from llm_service.gateway.targets import Target
from tests.fakes import a_model, a_provider, a_request

PER_SECOND, SECONDS, WARM_UP = 20, 60, 5


class Simulated(asyncio.SelectorEventLoop):
    """Time passes only while nothing is to be done, and then at once."""

    def __init__(self):
        super().__init__()
        self.passed = 0.0
        select = self._selector.select

        def jump(timeout=None):
            self.passed += timeout or 0.0
            return select(0)

        self._selector.select = jump

    def time(self):
        return self.passed


def outage(error, latency, providers):
    """When each attempt was made of calls that all fail, after `latency` seconds each."""
    loop, at = Simulated(), []
    retries = Retries(random.Random(7).random)  # noqa: S311
    targets = tuple(Target(p, a_model(p), None) for p in providers)

    class Timed(CompletionCall):
        @property
        def now(self):
            return loop.time()

    async def one(number):
        await asyncio.sleep(number / PER_SECOND)
        call = Timed(a_request(), 30.0, 600.0, retries=retries)
        call.take(targets)
        while (await call.next_target()) is not None:
            at.append(loop.time())
            call.dials += 1
            await asyncio.sleep(latency)
            call.note(error("x"))
        assert loop.time() < call.by

    async def all_of_them():
        await asyncio.gather(*map(one, range(PER_SECOND * SECONDS)))

    try:
        loop.run_until_complete(all_of_them())
    finally:
        loop.close()
    return at


@pytest.mark.parametrize("providers", [1, 3])
@pytest.mark.parametrize("latency", [0.01, 1.0])
@pytest.mark.parametrize("error", [ProviderUnavailable, ProviderRateLimited, ProviderTimeout])
def test_an_outage_of_everybody_is_not_made_worse(error, latency, providers):
    at = outage(error, latency, [a_provider(f"p{n}") for n in range(providers)])

    late = [moment for moment in at if WARM_UP <= moment < SECONDS]
    assert len(late) <= 1.15 * PER_SECOND * (SECONDS - WARM_UP)
