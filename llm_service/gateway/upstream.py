"""The way to a vendor: what is checked, opened and written down around every attempt."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from llm_service.catalog.vocabularies import PACKAGED, Vocabularies
from llm_service.domain.provider import CancelPolicy, UpstreamTimeouts
from llm_service.errors import (
    ContextLengthExceeded,
    CostLimitExceeded,
    GatewayError,
    ProviderCredentialMissing,
    ProviderCredentialRejected,
)
from llm_service.gateway import pricing
from llm_service.gateway.attempts import TrackedAttempt
from llm_service.gateway.call import Call
from llm_service.gateway.drains import DrainLimits, Drains
from llm_service.gateway.gates import Gate
from llm_service.gateway.ledger import Ledger
from llm_service.gateway.manager import Live, ProviderManager
from llm_service.gateway.pace import Pace
from llm_service.gateway.retries import Retries
from llm_service.gateway.targets import Target
from llm_service.gateway.verdicts import Verdicts
from llm_service.providers import base
from llm_service.telemetry import AttemptSpan, Telemetry


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What applies where neither the caller nor the provider says otherwise.

    Seconds; how slowly an answer may come, 0 for any; and of drains.
    """

    total: float = 600.0
    connect: float = 3.0
    first_token: float = 60.0
    idle: float = 30.0
    min_output_tokens_per_second: float = 0.0
    drain: DrainLimits = field(default_factory=DrainLimits)


class Upstream:
    """Makes attempts: each is priced, admitted, traced, and leaves exactly one record."""

    def __init__(  # noqa: PLR0913 - the parts, by name
        self,
        manager: ProviderManager,
        ledger: Ledger,
        telemetry: Telemetry,
        verdicts: Verdicts,
        limits: CallLimits = CallLimits(),
        gates: Sequence[Gate] = (),
        *,
        vocabularies: Vocabularies = PACKAGED,
    ) -> None:
        self.manager = manager
        self.vocabularies = vocabularies
        self.drains = Drains(limits.drain, vocabularies)
        self.limits = limits
        self._ledger = ledger
        self._telemetry = telemetry
        self._verdicts = verdicts
        self._gates = tuple(gates)
        self.retries = Retries()

    def admit(self) -> None:
        """Raise `Overloaded` when another attempt could not be recorded."""
        self._ledger.admit()

    async def settled(self) -> None:
        """Return when what was settled before outlives this process."""
        await self._ledger.settled()

    def attempt(
        self, call: Call[Any], target: Target, *, stream: bool = False
    ) -> AbstractAsyncContextManager[tuple[TrackedAttempt, base.Adapter]]:
        """Everything around one upstream call; leaves one record, however it ends.

        Raises:
            GatewayError: the attempt was not made, or the block raised it.
        """
        return _Attempting(self, call, target, stream=stream)

    async def begin(self, call: Call[Any], target: Target) -> TrackedAttempt:
        """An attempt whose clock runs."""
        await self.load_prices(call, target)
        return TrackedAttempt(call, target, self._ledger, self._telemetry.trace_id())

    async def admit_attempt(self, attempt: TrackedAttempt, call: Call[Any], target: Target) -> Live:
        """What it is made with, if it may be made.

        Raises:
            GatewayError: it may not, or not now.
        """
        call.require(target)
        _require_credential(target)
        self._admit(call, target)
        await attempt.enter(self._gates)
        return await self.manager.open(target.provider, target.credential)

    def span(self, call: Call[Any], target: Target, live: Live, *, stream: bool) -> AttemptSpan:
        """The span of an attempt."""
        return self._telemetry.attempt(
            operation=call.operation.value,
            provider_name=live.telemetry_name,
            model=target.model.provider_model,
            stream=stream,
            server_address=live.address,
            server_port=live.port,
        )

    def settling(
        self, attempt: TrackedAttempt, live: Live
    ) -> AbstractAsyncContextManager[base.Adapter]:
        """Settle by whatever ends the block early, or have more found out for it meanwhile."""
        drains = live.cancel_policy is CancelPolicy.DRAIN
        around = self.drains.around if drains else self.drains.closing
        return around(attempt, live.adapter, live)

    async def succeeded(self, call: Call[Any], target: Target) -> None:
        """Nothing broke it off. Return when what it used outlives this process."""
        await self.settled()
        self._verdicts.hear(target.provider, target.credential, rejected=False)
        self.retries.budgets.succeeded(target, further=call.dials > 1)

    def rejected(self, target: Target) -> None:
        """The provider does not know the credential."""
        self._verdicts.hear(target.provider, target.credential, rejected=True)

    def deadlines(self, call: Call[Any], target: Target) -> base.Deadlines:
        """The smallest of what the caller, the provider and the service allow; never below 0."""
        limits, routing = self.limits, call.request.routing
        timeouts: UpstreamTimeouts = target.provider.timeouts
        total = max(0.0, call.by - call.now)
        for limit in (routing.attempt_timeout, timeouts.attempt):
            if limit is not None:
                total = min(total, limit)
        first_token = routing.first_token_timeout or timeouts.first_token or limits.first_token
        return base.Deadlines(
            connect=min(timeouts.connect or limits.connect, total),
            first_token=min(first_token, total),
            idle=min(timeouts.idle or limits.idle, total),
            total=total,
        )

    def pace(self, call: Call[Any], target: Target) -> Pace:
        """What holds a streamed answer to the least speed that is asked of it."""
        least = call.request.routing.min_output_tokens_per_second
        if least is None:
            least = target.provider.timeouts.min_output_tokens_per_second
        if least is None:
            least = self.limits.min_output_tokens_per_second
        return Pace(least)

    async def load_prices(self, call: Call[Any], target: Target) -> None:
        """Have the target's price at hand; reading the public list blocks."""
        # What is in force then still is later.
        own = pricing.own_price(target.model, call.create_time, target.choice.price)
        if own is None and pricing.needs_loading(target.provider.kind):
            await asyncio.to_thread(pricing.load)

    def _admit(self, call: Call[Any], target: Target) -> None:
        """Raise `CostLimitExceeded` unless the call's estimate is within the caller's limit."""
        limit = call.request.routing.max_cost_nano_usd
        if limit is None:
            return
        most = call.most_cost(target)
        if most is None:
            raise CostLimitExceeded(
                f"what {target.model.name} could cost is not known: "
                "set max_output_tokens or a price"
            )
        if most > limit:
            raise CostLimitExceeded(
                f"{target.model.name} could cost {most} nano-USD, above the limit of {limit}"
            )


class _Attempting:
    """What `Upstream.attempt` makes. Not two generators within each other: every call has one."""

    __slots__ = (
        "_attempt",
        "_call",
        "_live",
        "_settling",
        "_span",
        "_stream",
        "_target",
        "_upstream",
    )

    def __init__(
        self, upstream: Upstream, call: Call[Any], target: Target, *, stream: bool
    ) -> None:
        self._upstream = upstream
        self._call = call
        self._target = target
        self._stream = stream

    async def __aenter__(self) -> tuple[TrackedAttempt, base.Adapter]:
        upstream, call, target = self._upstream, self._call, self._target
        self._attempt = attempt = await upstream.begin(call, target)
        try:
            self._live = live = await upstream.admit_attempt(attempt, call, target)
            self._span = upstream.span(call, target, live, stream=self._stream)
            return attempt, await self._dialled()
        except BaseException as leaving:
            self._over(leaving)
            raise

    async def _dialled(self) -> base.Adapter:
        self._live.__enter__()
        try:
            self._span.__enter__()
            await self._attempt.open()
            self._attempt.dialled(self._span)
            self._settling = self._upstream.settling(self._attempt, self._live)
            return await self._settling.__aenter__()
        except BaseException as leaving:
            self._closed(leaving)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        leaving: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # No name may keep what is raised here: its traceback has this frame, which has the call.
        try:
            await self._ended(kind, leaving, trace)
            if leaving is None:
                await self._upstream.succeeded(self._call, self._target)
        except BaseException as other:
            self._over(other)
            raise
        if leaving is not None:
            self._over(leaving)

    async def _ended(
        self,
        kind: type[BaseException] | None,
        leaving: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._settling.__aexit__(kind, leaving, trace)
        except BaseException as other:
            self._closed(other)
            raise
        self._closed(leaving)

    def _closed(self, leaving: BaseException | None) -> None:
        # Settled before: the span ends with the reason it was given then.
        try:
            self._span.__exit__(type(leaving) if leaving else None, leaving, None)
        finally:
            self._live.__exit__(None, None, None)

    def _over(self, leaving: BaseException) -> None:
        if not isinstance(leaving, GatewayError):
            self._attempt.gone(leaving)
            return
        _explain(leaving, self._call, self._target)
        if isinstance(leaving, ProviderCredentialRejected):
            self._upstream.rejected(self._target)
        self._attempt.failed(leaving)


def _require_credential(target: Target) -> None:
    """A configured credential is the one to use, or none is."""
    if target.credential is None and (name := target.choice.spec.credential):
        raise ProviderCredentialMissing(
            f"{name} is not there, disabled or expired", metadata={"credential": name}
        )


def _explain(error: GatewayError, call: Call[Any], target: Target) -> None:
    """Add what only the gateway knows."""
    error.metadata.setdefault("provider", target.provider.name)
    error.metadata.setdefault("model", target.model.name)
    if not isinstance(error, ContextLengthExceeded):
        return
    if window := target.model.context_window_tokens:
        error.metadata.setdefault("limitTokens", str(window))
    limit = error.metadata.get("limitTokens", "")
    estimate = call.input_tokens()
    # An estimate below the limit is known to be wrong.
    if limit.isdecimal() and estimate > int(limit):
        error.metadata.setdefault("requestedTokens", str(estimate))
