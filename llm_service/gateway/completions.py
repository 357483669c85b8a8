"""Completions: resolve a call to targets, try one after another, account for each."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, replace
from time import monotonic

from llm_service.catalog.vocabularies import Uncountable
from llm_service.domain import estimates
from llm_service.domain.completion import (
    Completion,
    CompletionRequest,
    Heartbeat,
    StreamEvent,
)
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.gateway import pricing
from llm_service.gateway.budgets.downgrades import Downgrades
from llm_service.gateway.call import CompletionCall, left_since
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.health.intake import Intake, unlimited
from llm_service.gateway.rate_limits.allowance import Allowance
from llm_service.gateway.rate_limits.limiter import RateLimiter
from llm_service.gateway.resolution import NO_DEFAULT, Asked, DefaultModel, resolve
from llm_service.gateway.routing import Router, load_prices
from llm_service.gateway.targets import Target
from llm_service.gateway.upstream import Upstream
from llm_service.providers import base


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Of one target. None: unknown, which is never free."""

    model: str
    input_tokens: int
    max_output_tokens: int
    expected_nano_usd: int | None
    max_nano_usd: int | None
    price_version: str


@dataclass(frozen=True, slots=True)
class CountedTokens:
    """Of the model that would serve the call first."""

    model: str
    input_tokens: int
    estimated: bool


class Completions:
    """What `CompletionService` does."""

    def __init__(  # noqa: PLR0913 - the parts, by name
        self,
        configuration: Configuration,
        upstream: Upstream,
        *,
        default_model: DefaultModel = NO_DEFAULT,
        rate_limiter: RateLimiter | None = None,
        router: Router | None = None,
        intake: Intake | None = None,
        downgrades: Downgrades | None = None,
    ) -> None:
        self._configuration = configuration
        self._upstream = upstream
        self._default_model = default_model
        self._rate_limiter = rate_limiter or RateLimiter()
        self._router = router or Router()
        self._intake = intake or unlimited()
        self._downgrades = downgrades

    async def complete(self, request: CompletionRequest, seconds_left: float | None) -> Completion:
        """Answer whole. `seconds_left` until the caller's deadline, None if it set none.

        Raises:
            GatewayError: every target was tried; all attempts are in its `failure`.
        """
        came = monotonic()
        async with self._intake:
            with await self._admit(request) as allowance:
                call = await self._begin(request, seconds_left, came)
                call.allowance = allowance
                return await self._complete(call)

    async def stream(
        self, request: CompletionRequest, seconds_left: float | None
    ) -> AsyncGenerator[Sequence[StreamEvent]]:
        """Answer piece by piece, in batches of what had arrived; see the contract for their order.

        The last batch ends with `CompletionFinished`; a stream that cannot get there raises.
        """
        came = monotonic()
        async with self._intake:
            with await self._admit(request) as allowance:
                call = await self._begin(request, seconds_left, came)
                call.allowance = allowance
                events = self._events(call)
                if request.heartbeat_seconds is not None:
                    events = _with_heartbeats(events, request.heartbeat_seconds)
                async with aclosing(events):
                    async for batch in events:
                        yield batch

    async def count_tokens(
        self, request: CompletionRequest, seconds_left: float | None
    ) -> CountedTokens:
        """Count the input for the target that would be tried first."""
        came = monotonic()
        async with self._intake:
            call = await self._begin(request, seconds_left, came)
            target = call.targets[0]
            count = await self._count(call, target)
        return CountedTokens(target.model.name, count.input_tokens, count.estimated)

    async def estimate_cost(
        self,
        request: CompletionRequest,
        seconds_left: float | None,
        *,
        expected_output_tokens: int | None,
        all_targets: bool,
    ) -> tuple[CostEstimate, ...]:
        """What the call would cost on its first target, or on each one of its chain.

        Of a chain, a target that cannot count now is priced by our own estimate of the input.
        """
        came = monotonic()
        async with self._intake:
            call = await self._begin(request, seconds_left, came)
            if not all_targets:
                return (await self._estimate(call, call.targets[0], expected_output_tokens),)
            chain = call.targets[: call.most_attempts]
            return tuple([await self._estimated(call, t, expected_output_tokens) for t in chain])

    async def _admit(self, request: CompletionRequest) -> Allowance | nullcontext[None]:
        """As `RateLimiter.admit`. Counting and estimating are not charged: vendors do it free."""
        return await self._rate_limiter.admit(
            request.attribution.tenant,
            lambda: estimates.input_tokens(request) + (request.params.max_output_tokens or 0),
        )

    async def _begin(
        self, request: CompletionRequest, seconds_left: float | None, came: float
    ) -> CompletionCall:
        self._upstream.admit()
        view = await self._configuration.view(request.attribution.tenant)
        asked = Asked(request.attribution, request.model, request.params, request.routing)
        resolution = resolve(view, asked, self._default_model)
        if resolution.matched:
            request = replace(request, routing=resolution.routing)
        upstream = self._upstream
        left = left_since(seconds_left, came)
        call = CompletionCall(request, left, upstream.limits.total, resolution, upstream.retries)
        await load_prices(view, resolution.routing)
        targets = self._router.targets(view, resolution, call)
        if self._downgrades is not None:
            call.resolution, targets = self._downgrades.apply(view, call, targets)
        call.take(targets)
        return call

    async def _complete(self, call: CompletionCall) -> Completion:
        while (target := await call.next_target()) is not None:
            try:
                async with self._upstream.attempt(call, target) as (attempt, adapter):
                    return attempt.answered(await adapter.complete(self._asked(call, target)))
            except GatewayError as error:
                call.note(error)
        raise call.failure()

    async def _events(self, call: CompletionCall) -> AsyncGenerator[Sequence[StreamEvent]]:
        while (target := await call.next_target()) is not None:
            try:
                async with self._upstream.attempt(call, target, stream=True) as (attempt, adapter):
                    attempt.asked = self._asked(call, target)
                    async with aclosing(adapter.stream(attempt.asked)) as batches:
                        pace = self._upstream.pace(call, target)
                        async for batch in batches:
                            pace.heard(attempt)
                            if out := attempt.pass_on(batch):
                                if attempt.settled:
                                    await self._upstream.settled()
                                yield out
                            pace.waits()
                    if not attempt.settled:
                        raise ProviderProtocolError("the provider's stream stopped without an end")
                    return
            except GatewayError as error:
                call.note(error)
        raise call.failure()

    def _asked(self, call: CompletionCall, target: Target) -> base.Call:
        request = call.request
        return base.Call(
            request,
            target.model.provider_model,
            call.params(target),
            target.model.capabilities,
            self._upstream.deadlines(call, target),
            call.options_json(target),
        )

    async def _count(self, call: CompletionCall, target: Target) -> base.TokenCount:
        live = await self._upstream.manager.open(target.provider, target.credential)
        with live as adapter:
            count = await adapter.count_tokens(self._asked(call, target))
        kind, model = target.provider.kind, target.model.provider_model
        vocabularies = self._upstream.vocabularies
        if count.estimated and vocabularies.given(kind, model) is not None:
            with suppress(Uncountable):
                by_it = await asyncio.to_thread(
                    vocabularies.input_tokens, kind, model, call.request
                )
                return base.TokenCount(by_it, estimated=True)
        return count

    async def _estimate(
        self, call: CompletionCall, target: Target, expected_output_tokens: int | None
    ) -> CostEstimate:
        await self._upstream.load_prices(call, target)
        count = await self._count(call, target)
        return self._priced(call, target, count.input_tokens, expected_output_tokens)

    async def _estimated(
        self, call: CompletionCall, target: Target, expected_output_tokens: int | None
    ) -> CostEstimate:
        try:
            return await self._estimate(call, target, expected_output_tokens)
        except GatewayError as error:
            if not error.falls_back:
                raise
        return self._priced(call, target, call.input_tokens(), expected_output_tokens)

    def _priced(
        self,
        call: CompletionCall,
        target: Target,
        input_tokens: int,
        expected_output_tokens: int | None,
    ) -> CostEstimate:
        most = call.most_output_tokens(target)
        price = call.price(target)
        return CostEstimate(
            target.model.name,
            input_tokens,
            most or 0,
            pricing.estimate(price, input_tokens, expected_output_tokens),
            pricing.estimate(price, input_tokens, most),
            price.version if price else "",
        )


async def _with_heartbeats(
    events: AsyncGenerator[Sequence[StreamEvent]], seconds: float
) -> AsyncGenerator[Sequence[StreamEvent]]:
    """Say "still here" whenever nothing has come for so long."""
    waiting: asyncio.Task[Sequence[StreamEvent] | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events, None))
            done, _ = await asyncio.wait({waiting}, timeout=seconds)
            if not done:
                yield [Heartbeat()]
                continue
            batch, waiting = waiting.result(), None
            if batch is None:
                return
            yield batch
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await events.aclose()
