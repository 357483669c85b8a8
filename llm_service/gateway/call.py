"""One call on its way: what was asked, what has failed, what to say when nothing is left."""

from abc import ABC
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from time import monotonic
from typing import ClassVar, Generic, TypeVar

from llm_service.domain import estimates
from llm_service.domain.completion import (
    Attempt,
    CallError,
    CompletionRequest,
    Cost,
    CostItem,
    FailedCompletion,
    GenerationParams,
    MidStreamFailure,
    ModalityTokens,
    Preference,
    Timings,
    TokenUsage,
    Warning,
)
from llm_service.domain.content import Modality, ProviderToolUse
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import Price
from llm_service.domain.usage import Operation
from llm_service.errors import (
    GatewayError,
    ModelNotFound,
    NoRoute,
    ProviderCredentialMissing,
    ProviderCredentialRejected,
    ProviderCredentialUnreadable,
    ProviderRateLimited,
    ProviderUnavailable,
    StreamInterrupted,
)
from llm_service.gateway import capabilities, pricing
from llm_service.gateway.ids import new_id
from llm_service.gateway.resolution import UNCONFIGURED, Resolution
from llm_service.gateway.routing import DEFAULT_MAX_ATTEMPTS, Target
from llm_service.providers.lenient import MOST_TOKENS

R = TypeVar("R", bound=CompletionRequest | EmbeddingRequest)

_OF_THE_KEY = (
    ProviderCredentialMissing,
    ProviderCredentialRejected,
    ProviderCredentialUnreadable,
)
_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
)
# A caller's own deadline cancels us; until it has, an attempt may run this much longer.
_GRACE_SECONDS = 1.0
# The timeout is rounded up on the wire, so a client's own clock fires first: by this, and a share.
_CLOCK_SLACK_SECONDS = 0.02
_CLOCK_SLACK_SHARE = 0.01


class Call(ABC, Generic[R]):
    """The state of one call over all its attempts.

    Args:
        request: as the caller made it, its routing as configuration completes it.
        targets: the chain to try.
        seconds_left: until the caller's deadline; None: it set none.
        limit_seconds: how long any call may take.
        resolution: what configuration makes of the call.
    """

    operation: ClassVar[Operation]

    def __init__(
        self,
        request: R,
        targets: tuple[Target, ...],
        seconds_left: float | None,
        limit_seconds: float,
        resolution: Resolution = UNCONFIGURED,
    ) -> None:
        self.id = new_id()
        self.request = request
        self.targets = targets
        self.resolution = resolution
        self.create_time = datetime.now(UTC)
        self.started = self.now
        self._caller_by = None if seconds_left is None else self.started + seconds_left
        self.by = self.started + limit_seconds
        if seconds_left is not None and seconds_left < limit_seconds:
            self.by = self.started + seconds_left + _GRACE_SECONDS
        self.attempts: list[Attempt] = []
        self.content_sent = False
        self.first_dial: float | None = None
        self.first_content: float | None = None
        self.restart_from: Attempt | None = None
        self._errors: list[GatewayError] = []

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
        return self.now >= self._caller_by - slack

    def chain(self) -> Iterator[Target]:
        """The target to try next, again and again: what failed may have added some."""
        while len(self._errors) < len(self.targets):
            yield self.targets[len(self._errors)]

    def goes_on(self, error: GatewayError) -> bool:
        """Note the failure of an attempt; may the next target be tried?"""
        reasons = self.targets[len(self._errors)].choice.spec.fallback_reasons
        if isinstance(error, _OF_THE_KEY):
            self._try_another_key()
        self._errors.append(error)
        falls_back = error.reason in reasons if reasons else error.falls_back
        if not falls_back or len(self._errors) >= len(self.targets):
            return False
        if self.now >= self.by or self.caller_ran_out:
            return False
        if not self.content_sent:
            return True
        self.restart_from = self.attempts[-1]
        return self.restarts

    def _try_another_key(self) -> None:
        """Have the provider's next key follow the one that failed, within the same number."""
        routing = self.request.routing
        tried = len(self._errors)
        target = self.targets[tried]
        if not target.other_credentials or routing.disable_fallback:
            return
        first, *rest = target.other_credentials
        again = replace(target, credential=first, other_credentials=tuple(rest))
        chain = (*self.targets[: tried + 1], again, *self.targets[tried + 1 :])
        self.targets = chain[: routing.max_attempts or DEFAULT_MAX_ATTEMPTS]

    def failure(self) -> GatewayError:
        """What to tell the caller, with all attempts in it."""
        error = self._summary()
        usages = [a.usage for a in self.attempts if a.usage is not None]
        costs = [a.cost for a in self.attempts if a.cost is not None]
        error.failure = FailedCompletion(
            self.id,
            tuple(self.attempts),
            _sum_usage(usages) if usages else None,
            _sum_cost(costs) if costs else None,
            self.content_sent,
        )
        return error

    def _summary(self) -> GatewayError:
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
            return self._named(self._errors[0])
        delays = [error.retry_delay for error in retriable if error.retry_delay is not None]
        other = (e for e in retriable if not isinstance(e, ProviderRateLimited))
        chosen = next(other, retriable[0])
        if isinstance(chosen, ProviderRateLimited) and len(retriable) < len(self._errors):
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
        lowered = self.resolution.warnings
        if self.request.routing.preference in (None, Preference.PRIORITY):
            return lowered
        ignored = Warning("OPTION_IGNORED", "routing.preference", "targets are ordered by priority")
        return (*lowered, ignored)

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
        """An estimate."""
        return self._input_tokens

    @cached_property
    def _input_tokens(self) -> int:
        # Every attempt is opened with it, and a prompt may be megabytes.
        return self._estimated_input()

    def _estimated_input(self) -> int:
        raise NotImplementedError

    def most_output_tokens(self, target: Target) -> int | None:
        """None: nobody set a limit."""
        raise NotImplementedError


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
        return self.params(target).max_output_tokens or target.model.max_output_tokens or None


class EmbeddingCall(Call[EmbeddingRequest]):
    """Embeddings on their way."""

    operation = Operation.EMBEDDINGS

    def require(self, target: Target) -> None:
        capabilities.require_embedding(self.request, target.model)

    def _estimated_input(self) -> int:
        return estimates.embedded_tokens(self.request.inputs)

    def most_output_tokens(self, target: Target) -> int | None:  # noqa: ARG002 - vectors are free
        return 0


def call_error(error: GatewayError) -> CallError:
    """The failure as data."""
    return CallError(
        error.reason,
        str(error),
        error.retry_delay if error.retriable else None,
        error.http_status,
        error.provider_code,
    )


def _sum_usage(usages: list[TokenUsage]) -> TokenUsage:
    """At most what the contract holds of each, whatever vendors claim."""
    counts = {name: min(sum(getattr(u, name) for u in usages), MOST_TOKENS) for name in _COUNTS}
    modalities: dict[Modality, ModalityTokens] = {}
    for one in (tokens for usage in usages for tokens in usage.modality_tokens):
        so_far = modalities.get(one.modality, ModalityTokens(one.modality))
        modalities[one.modality] = ModalityTokens(
            one.modality,
            min(so_far.input_tokens + one.input_tokens, MOST_TOKENS),
            min(so_far.output_tokens + one.output_tokens, MOST_TOKENS),
        )
    tools: Counter[str] = Counter()
    for use in (use for usage in usages for use in usage.provider_tool_uses):
        tools[use.meter] += use.count
    return TokenUsage(
        **counts,
        modality_tokens=tuple(modalities.values()),
        estimated=any(u.estimated for u in usages),
        provider_tool_uses=tuple(
            ProviderToolUse(meter, min(count, MOST_TOKENS)) for meter, count in tools.items()
        ),
    )


def total_cost(attempts: Sequence[Attempt]) -> Cost:
    """Of a call that was served, failed attempts included; the version is of its last price."""
    costs = [a.cost for a in attempts if a.cost is not None]
    return costs[0] if len(costs) == 1 else _sum_cost(costs)


def _sum_cost(costs: Sequence[Cost]) -> Cost:
    priced = next((cost for cost in reversed(costs) if cost.price_version), None)
    reported = [cost.reported_nano_usd for cost in costs]
    items: dict[tuple[str, str], CostItem] = {}
    for item in (item for cost in costs for item in cost.items):
        key = item.meter, item.price_version
        so_far = items.get(key, replace(item, quantity=0, nano_usd=0))
        items[key] = replace(
            item,
            quantity=so_far.quantity + item.quantity,
            nano_usd=so_far.nano_usd + item.nano_usd,
        )
    return Cost(
        sum(c.total_nano_usd for c in costs),
        tuple(items.values()),
        price_version=priced.price_version if priced else "",
        estimated=any(c.estimated for c in costs),
        incomplete=any(c.incomplete for c in costs),
        reported_nano_usd=None if None in reported else sum(filter(None, reported)),
        price_effective_time=priced.price_effective_time if priced else None,
    )
