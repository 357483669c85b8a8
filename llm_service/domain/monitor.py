"""What monitors measure of providers, and from where on it is worth an alert."""

from datetime import datetime, timedelta

from llm_service.domain.value import value


@value
class ProviderWindow:
    """One provider's attempts whose records were stored within one window.

    Only what served and what failed through the provider counts; what a caller broke off or asked
    wrongly says nothing of it. `slow_seconds` is the 95th percentile of the time to the first
    content, or to the whole answer where that came at once; None: it is below what is slow.
    """

    provider: str
    window_start_time: datetime
    served: int
    failed: int
    slow_seconds: float | None


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
