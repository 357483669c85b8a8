"""Where a call goes after a failure: to another target, to one again after a while, or nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from weakref import proxy

from llm_service.domain.completion import RoutingOptions
from llm_service.errors import (
    CapabilityNotSupported,
    ContentFiltered,
    ContextLengthExceeded,
    CostLimitExceeded,
    GatewayError,
    ModelNotFound,
    ProviderCredentialMissing,
    ProviderCredentialRejected,
    ProviderCredentialUnreadable,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    RateLimited,
)
from llm_service.gateway.resolution import REQUEST
from llm_service.gateway.retries import Retries
from llm_service.gateway.targets import Target

DEFAULT_MAX_ATTEMPTS = 3

LEAST_SECONDS = 0.25
"""With less time left no further attempt begins: TCP and TLS to a far vendor take three round
trips, of some 80 ms each."""

_OF_THE_KEY = (
    ProviderCredentialMissing,
    ProviderCredentialRejected,
    ProviderCredentialUnreadable,
    ProviderQuotaExhausted,
    ProviderRateLimited,
)
_OF_THE_REQUEST = (CapabilityNotSupported, CostLimitExceeded, ContextLengthExceeded)


class UnderWay(Protocol):
    """What of a call its failover looks at. Times are on the call's own clock, in seconds."""

    by: float
    dials: int
    content_sent: bool

    @property
    def now(self) -> float: ...

    @property
    def caller_ran_out(self) -> bool: ...

    @property
    def restarts(self) -> bool: ...

    def input_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Failed:
    """A target that may be asked again from `ready` on."""

    target: Target
    ready: float


class Failover:
    """Chooses the targets of one call, one after another.

    Other targets come first, each once and at once; then those whose trouble may have passed, after
    a backoff. Whatever follows a provider's failure draws on the budget of whom it asks.
    """

    def __init__(
        self, call: UnderWay, targets: Sequence[Target], options: RoutingOptions, retries: Retries
    ) -> None:
        # The call owns this: with a reference back, what was asked would stay until a collection.
        self._call: UnderWay = proxy(call)
        self._left = list(targets)
        self._most = options.max_attempts or DEFAULT_MAX_ATTEMPTS
        self._only_one = bool(options.disable_fallback)
        self._retries = retries
        self._current: Target | None = None
        self._error: GatewayError | None = None
        self._dials = 0
        self._least_window = 0
        self._again: dict[str, _Failed] = {}
        self._failures: dict[str, int] = {}

    def next(self) -> tuple[Target, float] | None:
        """Whom to ask, and when; None: nobody any more."""
        call = self._call
        if self._error is None:
            if call.now >= call.by:
                return None
            return self._take(self._left.pop(0), call.now)
        if not self._may_go_on():
            return None
        if self._moves(self._error) and (others := self._others()):
            chosen = self._affordable(others)
            if chosen is None:
                return None
            self._left.remove(chosen)
            return self._take(chosen, call.now)
        return None if call.content_sent else self._once_more()

    def failed(self, error: GatewayError) -> None:
        """Note how the attempt at the last target ended."""
        target, call = self._current, self._call
        assert target is not None  # noqa: S101 - there was an attempt
        self._error = error
        if isinstance(error, ContextLengthExceeded):
            self._least_window = max(self._least_window, self._window(target, error) + 1)
        if _of_the_key(error) and target.other_credentials:
            key, *rest = target.other_credentials
            self._left.insert(0, replace(target, credential=key, other_credentials=tuple(rest)))
        if call.dials == self._dials:  # it was refused before anybody was asked
            return
        if _of_the_provider(error):
            self._retries.budgets.failed(target)
        asked = target.key
        self._failures[asked] = self._failures.get(asked, 0) + 1
        wait = self._retries.wait(error, self._failures[asked])
        self._again.pop(asked, None)
        if wait is not None:
            self._again[asked] = _Failed(target, call.now + wait)

    def passes_on(self) -> bool:
        """An answer that a filter struck is given up for another target's: only where asked for."""
        asked = self._current is not None and ContentFiltered.reason in _reasons(self._current)
        if not asked or self._call.content_sent:
            return False
        return self._may_go_on() and bool(self._others())

    def _take(self, target: Target, at: float) -> tuple[Target, float]:
        self._current = target
        self._dials = self._call.dials
        return target, at

    def _may_go_on(self) -> bool:
        call = self._call
        if self._only_one or call.dials >= self._most or (call.content_sent and not call.restarts):
            return False
        return not call.caller_ran_out and call.now + LEAST_SECONDS <= call.by

    def _moves(self, error: GatewayError) -> bool:
        """Another target may be asked after this failure."""
        assert self._current is not None  # noqa: S101 - it failed
        reasons = _reasons(self._current)
        if reasons:
            return error.reason in reasons
        if isinstance(error, ContextLengthExceeded):
            return True  # but only to a larger window
        if isinstance(error, ModelNotFound):
            return self._current.choice.origin != REQUEST
        return error.falls_back

    def _others(self) -> list[Target]:
        return [target for target in self._left if self._holds(target)]

    def _holds(self, target: Target) -> bool:
        """It is not known, or to be feared, that the request is too long for it."""
        least = self._least_window
        return not least or target.model.context_window_tokens >= least

    def _once_more(self) -> tuple[Target, float] | None:
        """The first to be ready of those that may be asked again."""
        assert self._error is not None  # noqa: S101 - somebody failed
        assert self._current is not None  # noqa: S101
        found = list(self._again.values())
        if not self._moves(self._error):
            found = [one for one in found if one.target is self._current]
        by = self._call.by - LEAST_SECONDS
        found = [one for one in found if one.ready <= by and self._holds(one.target)]
        found.sort(key=lambda one: one.ready)
        chosen = self._affordable([one.target for one in found])
        if chosen is None:
            return None
        return self._take(chosen, self._again.pop(chosen.key).ready)

    def _affordable(self, targets: Sequence[Target]) -> Target | None:
        """The first that has a budget; or one without, for every tenth call."""
        if self._error is None or not self._call.dials or not _of_the_provider(self._error):
            return next(iter(targets), None)
        budgets = self._retries.budgets
        without = False
        for target in targets:
            if budgets.has_left(target):
                return target
            if not without and budgets.try_anyway(target):
                return target
            without = True
        return None

    def _window(self, target: Target, error: GatewayError) -> int:
        """Tokens that are known to be too few: the vendor's word or ours, whichever is less."""
        said = error.metadata.get("limitTokens", "")
        known = {int(said) if said.isdecimal() else 0, target.model.context_window_tokens} - {0}
        return min(known, default=self._call.input_tokens())


def _reasons(target: Target) -> tuple[str, ...]:
    return target.choice.spec.fallback_reasons


def _of_the_key(error: GatewayError) -> bool:
    """Another key of the provider may do."""
    if isinstance(error, RateLimited):
        return error.of_credential
    return isinstance(error, _OF_THE_KEY)


def _of_the_provider(error: GatewayError) -> bool:
    """It says something about whoever was asked, not about what was asked."""
    return error.falls_back and not isinstance(error, _OF_THE_REQUEST)
