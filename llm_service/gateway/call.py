"""One call on its way: what was asked, what has failed, what to say when nothing is left."""

import asyncio
from abc import ABC
from datetime import UTC, datetime
from time import monotonic
from typing import ClassVar, Generic, TypeVar

from llm_service.domain import estimates
from llm_service.domain.completion import (
    Attempt,
    CallError,
    CompletionRequest,
    FinishReason,
    GenerationParams,
    MidStreamFailure,
    Timings,
    Warning,
)
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import Price
from llm_service.domain.usage import Operation
from llm_service.errors import (
    CapabilityNotSupported,
    ContentFiltered,
    GatewayError,
    ModelNotFound,
    NoRoute,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    StreamInterrupted,
)
from llm_service.gateway import capabilities, pricing
from llm_service.gateway.failover import DEFAULT_MAX_ATTEMPTS, Failover
from llm_service.gateway.ids import new_id
from llm_service.gateway.rate_limits.allowance import Allowance
from llm_service.gateway.resolution import UNCONFIGURED, Resolution
from llm_service.gateway.retries import Retries
from llm_service.gateway.targets import Target
from llm_service.gateway.totals import summed

R = TypeVar("R", bound=CompletionRequest | EmbeddingRequest)

_OF_RATES = (ProviderRateLimited, RateLimited)
# Of what the caller leaves us, kept for our own part after an attempt: closing it, and writing it
# down. Of a short time, a share.
_RESERVE_SECONDS = 0.05
_RESERVE_SHARE = 0.1
# The timeout is rounded up on the wire, so a client's own clock fires first: by this, and a share.
_CLOCK_SLACK_SECONDS = 0.02
_CLOCK_SLACK_SHARE = 0.01
# For how long after a caller's deadline gRPC is given to say so before we say what we know.
_GRACE_SECONDS = 1.0
# What is expected to be written where nobody set a limit, to compare prices by.
_USUAL_OUTPUT_TOKENS = 1000


class Call(ABC, Generic[R]):
    """The state of one call over all its attempts.

    Args:
        request: as the caller made it, its routing as configuration completes it.
        seconds_left: until the caller's deadline; None: it set none.
        limit_seconds: how long any call may take.
        resolution: what configuration makes of the call.
        retries: the policy of the process.

    `allowance` is what the call holds of its caller's rate limits, None if it has none.
    """

    operation: ClassVar[Operation]
    targets: tuple[Target, ...] = ()

    def __init__(
        self,
        request: R,
        seconds_left: float | None,
        limit_seconds: float,
        resolution: Resolution = UNCONFIGURED,
        retries: Retries | None = None,
    ) -> None:
        self.id = request.completion_id or new_id()
        self.request = request
        self.resolution = resolution
        self.create_time = datetime.now(UTC)
        self.started = self.now
        self._caller_by = None if seconds_left is None else self.started + seconds_left
        self._reserve = 0.0
        self.by = self.started + limit_seconds
        if seconds_left is not None and seconds_left < limit_seconds:
            self._reserve = max(0.0, min(_RESERVE_SECONDS, seconds_left * _RESERVE_SHARE))
            self.by = self.started + seconds_left - self._reserve
        self.attempts: list[Attempt] = []
        self.dials = 0
        self.content_sent = False
        self.first_dial: float | None = None
        self.first_content: float | None = None
        self.restart_from: Attempt | None = None
        self.allowance: Allowance | None = None
        self._errors: list[GatewayError] = []
        self._input_tokens: int | None = None
        self._retries = retries or Retries()

    def take(self, targets: tuple[Target, ...]) -> None:
        """Have these targets to ask, first choice first."""
        self.targets = targets
        self._failover = Failover(self, targets, self.request.routing, self._retries)

    @property
    def now(self) -> float:
        """Seconds on a clock of its own: the event loop's may count whole milliseconds only."""
        return monotonic()

    @property
    def left_because(self) -> str:
        """Why a caller who is gone went: its deadline passed, or it cancelled."""
        return "DEADLINE_EXCEEDED" if self.caller_ran_out else "CANCELLED"

    @property
    def caller_ran_out(self) -> bool:
        """The caller's own deadline has passed, whoever noticed first."""
        if self._caller_by is None:
            return False
        slack = _CLOCK_SLACK_SECONDS + _CLOCK_SLACK_SHARE * (self._caller_by - self.started)
        return self.now >= self._caller_by - self._reserve - slack

    async def next_target(self) -> Target | None:
        """Whom to ask now, once any backoff is over; None: nobody any more.

        Where that is because the caller's time is up, gRPC gets the time to say so.
        """
        chosen = self._failover.next()
        if chosen is None:
            if self._caller_by is not None and self.caller_ran_out:
                await asyncio.sleep(self._caller_by + _GRACE_SECONDS - self.now)
            return None
        target, at = chosen
        if (wait := at - self.now) > 0:
            await asyncio.sleep(wait)
        if self.content_sent:
            self.restart_from = self.attempts[-1]
        return target

    def note(self, error: GatewayError) -> None:
        """Note how the attempt at the last target ended."""
        self._errors.append(error)
        self._failover.failed(error)

    def passes_on(self, finish_reason: FinishReason) -> bool:
        """An answer that ended so is given up, because another target is to be asked."""
        return finish_reason is FinishReason.CONTENT_FILTER and self._failover.passes_on()

    def failure(self) -> GatewayError:
        """What to tell the caller, with all attempts in it."""
        error = self._summary()
        error.failure = summed(
            self.id, self.attempts, content_sent=self.content_sent, dials=self.dials
        )
        return error

    def _summary(self) -> GatewayError:
        if not self._errors:
            return ProviderTimeout("no time was left to ask a provider")
        last = self._errors[-1]
        if self.content_sent:
            interrupted = StreamInterrupted(
                "the answer broke off after its first content",
                metadata={"contentSent": "true", "cause": last.reason},
                retry_delay=last.retry_delay,
            )
            interrupted.__cause__ = last
            return interrupted
        retriable = [error for error in self._errors if error.retriable]
        if not retriable:
            # A filter struck only one answer: it does not say why there is none.
            other = (e for e in self._errors if not isinstance(e, ContentFiltered))
            return self._named(next(other, self._errors[0]))
        delays = [error.retry_delay for error in retriable if error.retry_delay is not None]
        outages = (e for e in retriable if not isinstance(e, _OF_RATES))
        chosen = next(outages, retriable[0])
        if isinstance(chosen, _OF_RATES) and len(retriable) < len(self._errors):
            # "Rate limited" is the whole truth only when every target said so.
            chosen = ProviderUnavailable("no target could serve the call", metadata=chosen.metadata)
            chosen.__cause__ = retriable[0]
        chosen.retry_delay = min(delays, default=None)
        return chosen

    def _named(self, error: GatewayError) -> GatewayError:
        """A vendor's "no such model" is the caller's mistake only if the caller named the model."""
        if isinstance(error, ModelNotFound) and not self.request.model:
            route = NoRoute("the provider does not serve the configured model")
            route.__cause__ = error
            return route
        return error

    def warnings(self) -> tuple[Warning, ...]:
        """What this version does differently from what was asked, whichever target serves."""
        return self.resolution.warnings

    @property
    def most_attempts(self) -> int:
        """How many may be made in all."""
        return self.request.routing.max_attempts or DEFAULT_MAX_ATTEMPTS

    @property
    def restarts(self) -> bool:
        """The caller can forget what it was sent, and start over with another target's answer."""
        return False

    @property
    def keeps_content(self) -> bool:
        """A streamed answer is to be put together again for the caller."""
        return False

    def require(self, target: Target) -> None:
        """Refuse a target that is known not to do what is asked.

        Raises:
            CapabilityNotSupported: names the part of the request.
        """
        raise NotImplementedError

    def refuses(self, target: Target) -> bool:
        """It is known not to do what is asked, or not for the money; as `routing.Wanted`."""
        try:
            self.require(target)
        except CapabilityNotSupported:
            return True
        limit = self.request.routing.max_cost_nano_usd
        if limit is None:
            return False
        most = self.most_cost(target)
        return most is None or most > limit

    def most_cost(self, target: Target) -> int | None:
        """What an attempt could cost at most, in nano-USD; None: not known."""
        return self._cost(target, self.most_output_tokens(target))

    def expected_cost(self, target: Target) -> int | None:
        """An estimate to compare targets by, in nano-USD; None: not known."""
        most = self.most_output_tokens(target)
        usual = _USUAL_OUTPUT_TOKENS
        return self._cost(target, usual if most is None else min(most, usual))

    def _cost(self, target: Target, output_tokens: int | None) -> int | None:
        return pricing.estimate(self.price(target), self.input_tokens(), output_tokens)

    def options_json(self, target: Target) -> str:  # noqa: ARG002 - most calls have none
        """What the caller says to the target's kind in its own words; "" is nothing."""
        return ""

    def timings(self) -> Timings:
        """So far."""
        first = self.first_content
        return Timings(
            queue=(self.first_dial or self.started) - self.started,
            first_token=first - self.started if first is not None else None,
            total=self.now - self.started,
        )

    def price(self, target: Target) -> Price | None:
        """What an attempt at the target is charged at; None: that is not known."""
        options, override = self.options_json(target), target.choice.price
        return pricing.price_of(
            target.provider.kind, target.model, self.create_time, options, override
        )

    def input_tokens(self) -> int:
        """An estimate, made once: every attempt needs it, and a prompt may be megabytes."""
        if self._input_tokens is None:
            self._input_tokens = self._estimated_input()
        return self._input_tokens

    def _estimated_input(self) -> int:
        raise NotImplementedError

    def most_output_tokens(self, target: Target) -> int | None:
        """None: nobody set a limit."""
        raise NotImplementedError

    def asked_output_tokens(self, target: Target) -> int | None:  # noqa: ARG002
        """The most that the caller or the configuration asks for. None: they leave it open."""
        return None


class CompletionCall(Call[CompletionRequest]):
    """A completion on its way."""

    operation = Operation.CHAT

    def warnings(self) -> tuple[Warning, ...]:
        common = super().warnings()
        if not self.request.response_cache:
            return common
        return (
            *common,
            Warning("OPTION_IGNORED", "response_cache", "there is no response cache"),
        )

    @property
    def restarts(self) -> bool:
        return self.request.mid_stream_failure is MidStreamFailure.RESTART

    @property
    def keeps_content(self) -> bool:
        return self.request.include_completion

    def require(self, target: Target) -> None:
        capabilities.require(self.request, target.model)

    def options_json(self, target: Target) -> str:
        return self.request.provider_options_json.get(target.provider.kind, "")

    def _estimated_input(self) -> int:
        return estimates.input_tokens(self.request)

    def params(self, target: Target) -> GenerationParams:
        """What the target is sent."""
        return self.resolution.params(self.request.params, target.choice, target.model)

    def most_output_tokens(self, target: Target) -> int | None:
        return self.asked_output_tokens(target) or target.model.max_output_tokens or None

    def asked_output_tokens(self, target: Target) -> int | None:
        return self.params(target).max_output_tokens


class EmbeddingCall(Call[EmbeddingRequest]):
    """Embeddings on their way."""

    operation = Operation.EMBEDDINGS

    def require(self, target: Target) -> None:
        capabilities.require_embedding(self.request, target.model)

    def _estimated_input(self) -> int:
        return estimates.embedded_tokens(self.request.inputs)

    def most_output_tokens(self, target: Target) -> int | None:  # noqa: ARG002 - vectors are free
        return 0


def left_since(seconds_left: float | None, came: float) -> float | None:
    """What is left now of what a caller had when it came: it may have waited for its place."""
    return None if seconds_left is None else seconds_left - (monotonic() - came)


def call_error(error: GatewayError) -> CallError:
    """The failure as data."""
    return CallError(
        error.reason,
        str(error),
        error.retry_delay if error.retriable else None,
        error.http_status,
        error.provider_code,
    )
