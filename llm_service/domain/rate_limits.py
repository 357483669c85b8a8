"""Rate limits at work: what a call or an attempt asks of them, and what it was charged."""

from dataclasses import dataclass
from enum import StrEnum, auto

from llm_service.domain.value import value


class Scope(StrEnum):
    """Whose limit it is. The first two are the caller's own, the others of where a call goes."""

    TENANT = auto()
    CLIENT_KEY = auto()
    PROVIDER = auto()
    CREDENTIAL = auto()
    MODEL = auto()


class Metric(StrEnum):
    """What is limited, by the names of `RateLimits`."""

    REQUESTS_PER_MINUTE = auto()
    TOKENS_PER_MINUTE = auto()
    REQUESTS_PER_DAY = auto()
    TOKENS_PER_DAY = auto()
    CONCURRENT_REQUESTS = auto()


@value
class Span:
    """The time a limit is over, in seconds: `length`, counted in slices of `slice`."""

    length: int
    slice: int

    @property
    def slices(self) -> int:
        return self.length // self.slice


_MINUTE, _DAY = Span(60, 1), Span(86_400, 600)

SPANS: dict[Metric, Span] = {
    Metric.REQUESTS_PER_MINUTE: _MINUTE,
    Metric.TOKENS_PER_MINUTE: _MINUTE,
    Metric.REQUESTS_PER_DAY: _DAY,
    Metric.TOKENS_PER_DAY: _DAY,
}
"""Of every metric but the one that is over no time."""

TOKENS = frozenset({Metric.TOKENS_PER_MINUTE, Metric.TOKENS_PER_DAY})


@value
class Demand:
    """`amount` of what one limit of `subject` (a resource's name) leaves."""

    scope: Scope
    subject: str
    metric: Metric
    limit: int
    amount: int

    @property
    def key(self) -> tuple[str, Metric]:
        """What is counted together. A limit that is changed goes on with what was counted."""
        return self.subject, self.metric


@value
class Refusal:
    """`demand` finds no room. `seconds` until there is some; None: when another one ends."""

    demand: Demand
    seconds: float | None


@dataclass(slots=True)
class Hold:
    """What one call or attempt was charged. `id` is unique.

    `at` is when, on the clock of the meters that did it; `shared_at` the same of those that all
    replicas share. None: they did not.
    """

    id: str
    demands: tuple[Demand, ...]
    at: float | None = None
    shared_at: float | None = None
