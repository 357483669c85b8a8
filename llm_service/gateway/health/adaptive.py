"""How many calls this process can bear: a limit that follows the time to first token."""

from llm_service.gateway.health.windows import median

WINDOW_SECONDS = 1.0
LEAST_SAMPLES = 5
"""Of one provider in one window, to say anything."""

QUIET_SECONDS = 5.0
"""After so long without a word of how calls do, the limit grows all the same."""

TOLERANCE = 2.0
"""Times its usual; twice the latency without load is the bar of `reliability` R9."""

LEAST_SHARE = 0.1
GROWTH = 1.05
BACKOFF = 0.5, 0.95


class AdaptiveLimit:
    """A limit on concurrent calls, from a tenth of `most` up to it.

    It falls when calls take longer to their first token than `TOLERANCE` times what is usual for
    their targets (as the gradient of Netflix's concurrency-limits, here by target, since models
    differ by the hundredfold), and grows slowly when they do not. Of several providers the one that
    does best counts: if one is slow, that is its own business; if all are, it is ours.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.least = max(1, int(most * LEAST_SHARE))
        self.value = most
        self._exact = float(most)
        self._since = 0.0
        self._peak = 0
        self._samples: dict[str, list[float]] = {}

    def heard(self, now: float, provider_uid: str, slowness: float, in_flight: int) -> None:
        """An attempt took `slowness` times its target's usual time to first token."""
        self._peak = max(self._peak, in_flight)
        self._samples.setdefault(provider_uid, []).append(slowness)
        if now - self._since >= WINDOW_SECONDS:
            self._conclude(now)

    def look(self, now: float) -> None:
        """Somebody finds no room; where nobody said anything for long, there may be some."""
        if now - self._since >= QUIET_SECONDS:
            self._conclude(now)

    def _conclude(self, now: float) -> None:
        told = [median(of) for of in self._samples.values() if len(of) >= LEAST_SAMPLES]
        if not told and now - self._since < QUIET_SECONDS:
            return  # not enough yet
        slowness = min(told, default=1.0)
        if slowness > TOLERANCE:
            least, most = BACKOFF
            self._exact = min(self._exact, self._peak) * min(max(TOLERANCE / slowness, least), most)
        else:
            self._exact = self._exact * GROWTH + 1
        self._exact = min(max(self._exact, self.least), self.most)
        self.value = int(self._exact)
        self._since, self._peak = now, 0
        self._samples.clear()
