"""What monitors measure of providers, and from where on it is worth an alert."""

from datetime import datetime, timedelta

from llm_service.domain.value import value


@value
class Look:
    """Which records a look reads: of the window from `start` and the next, by their create_time.

    Of these cursor <= record_id < end; a `cursor` of "": all before `end`.
    """

    start: datetime
    cursor: str
    end: str


@value
class AttemptCounts:
    """One model's attempts whose records' create_time is within one window, as a look found them.

    `served` and `failed` are those that say something of the provider: not what a caller broke off
    or asked wrongly. Of what served, `slow` waited for the first content, or for the whole answer
    where that came at once, as long as is slow. `unpriced` attempts have no whole price.
    """

    provider: str
    model: str
    window_start_time: datetime
    served: int
    failed: int
    slow: int
    unpriced: int


@value
class ProviderWindow:
    """One provider's attempts of one window, whatever their models; as in `AttemptCounts`."""

    provider: str
    window_start_time: datetime
    served: int = 0
    failed: int = 0
    slow: int = 0


@value
class UnpricedModel:
    """A model whose attempts have no price, or not a whole one, and how many they are."""

    model: str
    attempts: int


@value
class Thresholds:
    """From where on a provider's window is worth an alert; 0: never.

    `min_attempts`: of fewer, a share or a percentile says nothing.
    """

    window: timedelta = timedelta(minutes=5)
    min_attempts: int = 20
    error_rate_percent: int = 10
    slow_seconds: float = 30.0
    unavailable_attempts: int = 5
    unpriced: bool = True
