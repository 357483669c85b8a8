"""How soon, and how often, a target that failed may be asked again."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from llm_service.errors import GatewayError, ProviderRateLimited, ProviderTimeout
from llm_service.gateway.targets import Target

# Token bucket of gRFC A6: 10 tokens, one lost by a failure, a tenth won by a success, and further
# attempts while more than half are left. Counted in tenths, which add up exactly.
_MOST_TENTHS = 100
_FAILURE_TENTHS = 10
_SUCCESS_TENTHS = 1
_HALF_TENTHS = 50

MOST_BUCKETS = 10_000
"""Callers may name models as they like; beyond it the oldest bucket counts as full again."""

FIRST_BACKOFF_SECONDS = 0.2
"""As the first one that clients are told to use: `proto/service_config.json`."""

MOST_BACKOFF_SECONDS = 3.0
"""As theirs."""

RATE_LIMIT_BACKOFF_SECONDS = 1.0
"""The first one after a rate limit of unknown length: vendors' shortest windows are of a second."""

MOST_WAIT_SECONDS = 60.0
"""A longer Retry-After goes to the caller instead; vendors' own clients wait as long at most."""


@dataclass(slots=True)
class _Bucket:
    tenths: int = _MOST_TENTHS
    denied: int = 0


class RetryBudgets:
    """For each target, whether calls may ask it beside or after another attempt of theirs.

    One that fails loses its budget, and calls that failed elsewhere, or there, are no longer sent
    to it; but for every tenth, without which nobody would see that it is well again.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}  # only of targets whose bucket is not full

    def failed(self, target: Target) -> None:
        """An attempt failed there."""
        bucket = self._bucket(target)
        bucket.tenths = max(0, bucket.tenths - _FAILURE_TENTHS)

    def succeeded(self, target: Target, *, further: bool) -> None:
        """An attempt was served; `further`: it was not its call's first."""
        if not self._buckets:
            return
        bucket = self._buckets.get(target.key)
        if bucket is None:
            return
        bucket.tenths += _SUCCESS_TENTHS
        if further and bucket.tenths <= _HALF_TENTHS:
            bucket.tenths = _HALF_TENTHS + _FAILURE_TENTHS
        if bucket.tenths >= _MOST_TENTHS:
            del self._buckets[target.key]

    def has_left(self, target: Target) -> bool:
        bucket = self._buckets.get(target.key)
        return bucket is None or bucket.tenths > _HALF_TENTHS

    def try_anyway(self, target: Target) -> bool:
        """Whether this is the tenth call that wants to go to a target without a budget."""
        bucket = self._bucket(target)
        bucket.denied = (bucket.denied + 1) % (_MOST_TENTHS // _FAILURE_TENTHS)
        return bucket.denied == 0

    def _bucket(self, target: Target) -> _Bucket:
        found = self._buckets.get(target.key)
        if found is None:
            if len(self._buckets) >= MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
            found = self._buckets[target.key] = _Bucket()
        return found


class Retries:
    """The policy of this process: one layer, above adapters that never try again by themselves."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance`: numbers from 0 to 1, for jitter."""
        self.budgets = RetryBudgets()
        self._chance = chance

    def wait(self, error: GatewayError, failures: int) -> float | None:
        """Seconds before the target may be asked again; None: this call has nothing to gain there.

        Args:
            error: how its attempt ended.
            failures: of the target in this call, this one included.
        """
        silent = isinstance(error, ProviderTimeout) and not error.http_status
        if not error.retriable or silent:  # whoever was silent once is so again, for as long
            return None
        growth: float = 2 ** (failures - 1)
        longest = min(MOST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * growth)
        floor = error.retry_delay
        if floor is not None:
            # A number that is none compares as false.
            return floor + self._chance() * longest if 0 <= floor <= MOST_WAIT_SECONDS else None
        if isinstance(error, ProviderRateLimited):
            longest = min(MOST_BACKOFF_SECONDS, RATE_LIMIT_BACKOFF_SECONDS * growth)
            return longest * (1 + self._chance()) / 2
        return longest * self._chance()
