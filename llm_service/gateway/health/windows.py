"""What was seen lately: counts over a sliding window, and averages that follow."""

from collections.abc import Sequence

BUCKETS = 10
FORGOTTEN_SECONDS = 300.0
"""After so long an average is nobody's knowledge any more: the target is worth another look."""

USUAL_SECONDS = 600.0
FIRST_VALUES = 20


class Window:
    """How many attempts failed of how many, over the last `seconds`, in tenths of them."""

    __slots__ = ("_at", "_counts", "_width", "failed", "total")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        self._counts = [(0, 0)] * BUCKETS
        self._at = 0
        self.total = 0
        self.failed = 0

    def add(self, now: float, *, failed: bool) -> None:
        """`now`: seconds of a clock that never goes back."""
        self.turn(now)
        place = self._at % BUCKETS
        total, bad = self._counts[place]
        self._counts[place] = (total + 1, bad + failed)
        self.total += 1
        self.failed += failed

    def turn(self, now: float) -> None:
        """Forget what is older than the window."""
        at = int(now / self._width)
        if at == self._at:
            return
        for step in range(min(at - self._at, BUCKETS)):
            place = (self._at + 1 + step) % BUCKETS
            total, bad = self._counts[place]
            self._counts[place] = (0, 0)
            self.total -= total
            self.failed -= bad
        self._at = at

    def clear(self) -> None:
        self._counts = [(0, 0)] * BUCKETS
        self.total = self.failed = 0

    @property
    def ratio(self) -> float:
        """Of failures, 0 to 1; of what `turn` left."""
        return self.failed / self.total if self.total else 0.0


class Average:
    """An exponentially weighted mean: each value counts `weight`, the first ones as many as are."""

    __slots__ = ("_at", "_count", "_value", "_weight")

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._value = 0.0
        self._count = 0
        self._at = 0.0

    def add(self, now: float, value: float) -> None:
        self._count += 1
        self._value += max(self._weight, 1 / self._count) * (value - self._value)
        self._at = now

    def read(self, now: float) -> float | None:
        """None: nothing was seen for `FORGOTTEN_SECONDS`."""
        if not self._count:
            return None
        if now - self._at > FORGOTTEN_SECONDS:
            self._count = 0
            return None
        return self._value


class Usual:
    """What is usual: a mean over some ten minutes, however many values come in that time.

    So it does not follow a load that slows everything down within seconds.
    """

    __slots__ = ("_at", "_count", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._count = 0
        self._at = 0.0

    def add(self, now: float, value: float) -> None:
        self._count += 1
        weight = min(1.0, (now - self._at) / USUAL_SECONDS)
        if self._count <= FIRST_VALUES:
            weight = max(weight, 1 / self._count)
        self._value += weight * (value - self._value)
        self._at = now

    @property
    def value(self) -> float | None:
        """None: too little was seen to say."""
        return self._value if self._count >= FIRST_VALUES else None


def median(values: Sequence[float]) -> float:
    """As `statistics.median`, whose module every server would carry for this alone."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
