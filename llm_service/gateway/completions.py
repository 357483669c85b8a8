"""Completions: resolve a call to targets, try one after another, account for each."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from llm_service.domain import estimates
from llm_service.domain.completion import (
    Completion,
    CompletionRequest,
    Heartbeat,
    StreamEvent,
)
from llm_service.domain.provider import UpstreamTimeouts
from llm_service.errors import (
    CostLimitExceeded,
    GatewayError,
    ProviderProtocolError,
)
from llm_service.gateway import pricing, routing
from llm_service.gateway.attempts import TrackedAttempt
from llm_service.gateway.call import Call, merged_params
from llm_service.gateway.configuration import Configuration, View
from llm_service.gateway.ledger import Ledger
from llm_service.gateway.manager import ProviderManager
from llm_service.gateway.routing import Target
from llm_service.providers import base
from llm_service.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Seconds. What applies where neither the caller nor the provider says otherwise."""

    total: float = 600.0
    connect: float = 3.0
    first_token: float = 60.0
    idle: float = 30.0


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

    def __init__(
        self,
        configuration: Configuration,
        manager: ProviderManager,
        ledger: Ledger,
        telemetry: Telemetry,
        *,
        limits: CallLimits = CallLimits(),
        default_model: str = "",
    ) -> None:
        self._configuration = configuration
        self._manager = manager
        self._ledger = ledger
        self._telemetry = telemetry
        self._limits = limits
        self._default_model = default_model

    async def complete(self, request: CompletionRequest, seconds_left: float | None) -> Completion:
        """Answer whole. `seconds_left` until the caller's deadline, None if it set none.

        Raises:
            GatewayError: every target was tried; all attempts are in its `failure`.
        """
        call = await self._begin(request, seconds_left)
        for target in call.targets:
            try:
                async with self._attempt(call, target, stream=False) as (attempt, adapter, asked):
                    return attempt.answered(await adapter.complete(asked))
            except GatewayError as error:
                if not call.goes_on(error):
                    break
        raise call.failure()

    async def stream(
        self, request: CompletionRequest, seconds_left: float | None
    ) -> AsyncGenerator[Sequence[StreamEvent]]:
        """Answer piece by piece, in batches of what had arrived; see the contract for their order.

        The last batch ends with `CompletionFinished`; a stream that cannot get there raises.
        """
        call = await self._begin(request, seconds_left)
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
        call = await self._begin(request, seconds_left)
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
        """What the call would cost on its first target, or on each one of its chain."""
        call = await self._begin(request, seconds_left)
        targets = call.targets if all_targets else call.targets[:1]
        return tuple([await self._estimate(call, t, expected_output_tokens) for t in targets])

    async def _begin(self, request: CompletionRequest, seconds_left: float | None) -> Call:
        self._ledger.admit()
        view = await self._configuration.view(request.attribution.tenant)
        return self._routed(view, request, seconds_left)

    def _routed(self, view: View, request: CompletionRequest, seconds_left: float | None) -> Call:
        targets = routing.targets(view, request, self._default_model)
        return Call(request, targets, seconds_left, self._limits.total)

    async def _events(self, call: Call) -> AsyncGenerator[Sequence[StreamEvent]]:
        for target in call.targets:
            try:
                async with self._attempt(call, target, stream=True) as (attempt, adapter, asked):
                    async with aclosing(adapter.stream(asked)) as batches:
                        async for batch in batches:
                            if out := attempt.pass_on(batch):
                                yield out
                    if not attempt.settled:
                        raise ProviderProtocolError("the provider's stream stopped without an end")
                    return
            except GatewayError as error:
                if not call.goes_on(error):
                    break
        raise call.failure()

    @asynccontextmanager
    async def _attempt(
        self, call: Call, target: Target, *, stream: bool
    ) -> AsyncIterator[tuple[TrackedAttempt, base.Adapter, base.Call]]:
        """Everything around one upstream call; leaves exactly one record, however it ends."""
        attempt = TrackedAttempt(call, target, self._ledger, self._telemetry.trace_id())
        try:
            await self._admit(call, target)
            live = await self._manager.open(target.provider, target.credential)
            span = self._telemetry.attempt(
                operation="chat",
                provider_name=live.telemetry_name,
                model=target.model.provider_model,
                stream=stream,
                server_address=live.address,
                server_port=live.port,
            )
            with self._manager.lease(live) as adapter, span:
                attempt.dialled(span)
                # Within the span, which ends with the reason it has been given.
                with attempt.settled_by():
                    yield attempt, adapter, self._asked(call, target)
        except GatewayError as error:
            error.metadata.setdefault("provider", target.provider.name)
            error.metadata.setdefault("model", target.model.name)
            attempt.failed(error)
            raise
        except BaseException as leaving:
            attempt.gone(leaving)
            raise

    async def _admit(self, call: Call, target: Target) -> None:
        """Have prices at hand before the call is made, and its estimate within the limit."""
        if target.model.price is None and pricing.needs_loading(target.provider.kind):
            await asyncio.to_thread(pricing.load)
        limit = call.request.routing.max_cost_nano_usd
        if limit is None:
            return
        estimate = self._priced(call, target, estimates.input_tokens(call.request), None)
        if estimate.max_nano_usd is None:
            raise CostLimitExceeded(
                f"what {target.model.name} could cost is not known: "
                "set max_output_tokens or a price"
            )
        if estimate.max_nano_usd > limit:
            raise CostLimitExceeded(
                f"{target.model.name} could cost {estimate.max_nano_usd} nano-USD, "
                f"above the limit of {limit}"
            )

    def _asked(self, call: Call, target: Target) -> base.Call:
        request = call.request
        return base.Call(
            request,
            target.model.provider_model,
            merged_params(request.params, target.model.default_params),
            target.model.capabilities,
            self._deadlines(call, target.provider.timeouts),
            request.provider_options_json.get(target.provider.kind, ""),
        )

    def _deadlines(self, call: Call, timeouts: UpstreamTimeouts) -> base.Deadlines:
        limits, routing_options = self._limits, call.request.routing
        total = call.by - call.now
        for limit in (routing_options.attempt_timeout, timeouts.attempt):
            if limit is not None:
                total = min(total, limit)
        first_token = (
            routing_options.first_token_timeout or timeouts.first_token or limits.first_token
        )
        return base.Deadlines(
            connect=min(timeouts.connect or limits.connect, total),
            first_token=min(first_token, total),
            idle=min(timeouts.idle or limits.idle, total),
            total=total,
        )

    async def _count(self, call: Call, target: Target) -> base.TokenCount:
        live = await self._manager.open(target.provider, target.credential)
        with self._manager.lease(live) as adapter:
            return await adapter.count_tokens(self._asked(call, target))

    async def _estimate(
        self, call: Call, target: Target, expected_output_tokens: int | None
    ) -> CostEstimate:
        if target.model.price is None and pricing.needs_loading(target.provider.kind):
            await asyncio.to_thread(pricing.load)
        count = await self._count(call, target)
        return self._priced(call, target, count.input_tokens, expected_output_tokens)

    def _priced(
        self, call: Call, target: Target, input_tokens: int, expected_output_tokens: int | None
    ) -> CostEstimate:
        params = merged_params(call.request.params, target.model.default_params)
        most = params.max_output_tokens or target.model.max_output_tokens
        price = pricing.price_of(target.provider.kind, target.model, call.create_time)
        return CostEstimate(
            target.model.name,
            input_tokens,
            most,
            pricing.estimate(price, input_tokens, expected_output_tokens),
            pricing.estimate(price, input_tokens, most or None),
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
