"""What was used lately, counted in memory."""

from collections.abc import Callable, Sequence
from time import monotonic

from llm_service.domain.rate_limits import SPANS, TOKENS, Demand, Hold, Metric, Refusal, Span

_MOST_IDLE = 10_000  # meters with nothing on them, before they are cleared away


class Window:
    """The sum of what was used within the last `span`, and the slice it begins in.

    A slice counts until all of it is out of the window: never more than the limit fits into any
    window, and what was used before the window and its first slice is never held against anyone.
    """

    __slots__ = ("_slices", "_span", "total")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._slices: dict[int, int] = {}
        self.total = 0

    def used(self, now: float) -> int:
        oldest = int(now // self._span.slice) - self._span.slices
        slices = self._slices
        while slices and (first := next(iter(slices))) < oldest:
            self.total -= slices.pop(first)
        return self.total

    def add(self, amount: int, now: float) -> None:
        this = int(now // self._span.slice)
        if this not in self._slices:
            self.used(now)  # what is only ever added to must not grow for ever
            self._slices[this] = 0
        self._slices[this] += amount
        self.total += amount

    def give_back(self, amount: int, at: float) -> None:
        """Take off again what was used `at`, if it still counts."""
        then = int(at // self._span.slice)
        if then in self._slices:
            self._slices[then] -= amount
            self.total -= amount

    def seconds_until(self, room: int, now: float) -> float:
        """When at most `room` of what is used now still counts."""
        left = self.total
        for then, amount in self._slices.items():
            left -= amount
            if left <= room:
                return (then + self._span.slices + 1) * self._span.slice - now
        return 0.0


class LocalMeters:
    """Meters of this process alone.

    All demands of a call are met together, or none is.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, Metric], Window] = {}
        self._held: dict[tuple[str, Metric], int] = {}
        self._sweep_at = _MOST_IDLE

    async def take(self, hold: Hold) -> Refusal | None:
        """Charge all that `hold` demands, if there is room for all of it."""
        refusal = self._refusal(hold.demands)
        if refusal is None:
            self.charge(hold)
        return refusal

    def charge(self, hold: Hold) -> None:
        """Charge it, whether there is room or not."""
        hold.at = now = self._clock()
        for demand in hold.demands:
            if demand.metric is Metric.CONCURRENT_REQUESTS:
                self._held[demand.key] = self._held.get(demand.key, 0) + demand.amount
            else:
                self._window(demand).add(demand.amount, now)

    def settle(self, hold: Hold, tokens: int) -> None:
        """Its end: `tokens` were used. Never waits."""
        if hold.at is None:
            return
        for demand in hold.demands:
            if demand.metric is Metric.CONCURRENT_REQUESTS:
                self._release(demand)
            elif demand.metric in TOKENS and tokens < demand.amount:
                self._window(demand).give_back(demand.amount - tokens, hold.at)
            elif demand.metric in TOKENS and tokens > demand.amount:
                self._window(demand).add(tokens - demand.amount, self._clock())
        hold.at = None

    def _refusal(self, demands: Sequence[Demand]) -> Refusal | None:
        """The one that lasts longest: when it is over, so are the others."""
        now = self._clock()
        worst: Refusal | None = None
        for demand in demands:
            room = demand.limit - demand.amount
            if demand.metric is Metric.CONCURRENT_REQUESTS:
                if self._held.get(demand.key, 0) > room:
                    worst = worst or Refusal(demand, None)
                continue
            window = self._window(demand)
            if window.used(now) > room:
                seconds = window.seconds_until(room, now)
                if worst is None or seconds > (worst.seconds or 0.0):
                    worst = Refusal(demand, seconds)
        return worst

    def _window(self, demand: Demand) -> Window:
        key = demand.key
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._sweep()
            window = self._windows[key] = Window(SPANS[demand.metric])
        return window

    def _sweep(self) -> None:
        """Forget who has used nothing lately: names come and go."""
        now = self._clock()
        for key in [key for key, window in self._windows.items() if not window.used(now)]:
            del self._windows[key]
        self._sweep_at = max(_MOST_IDLE, 2 * len(self._windows))

    def _release(self, demand: Demand) -> None:
        left = self._held[demand.key] - demand.amount
        if left:
            self._held[demand.key] = left
        else:
            del self._held[demand.key]
