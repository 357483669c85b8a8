"""The circuit breaker of one target: when it opens, for how long, and what closes it again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from llm_service.domain.health import CircuitState
from llm_service.gateway.health.windows import Window


@dataclass(frozen=True, slots=True)
class Rules:
    """When a circuit opens. Times in seconds.

    It opens once at least `volume` attempts of the last `window` say something, and `ratio` of them
    failed. The first time it stays open for `ejection`, then twice as long each time, up to
    `longest`; a fifth of each is jitter, so that replicas do not come back together. Once it was
    closed for `forgiving`, it starts anew.

    Envoy and gRPC (gRFC A50) eject on rate and volume with growing times and count by the hundred;
    calls of language models are few and dear, so that five must do, as in LiteLLM. A target is
    tried again at the latest after `longest`, which keeps a recovery below 30 seconds.
    """

    window: float = 30.0
    volume: int = 5
    ratio: float = 0.5
    ejection: float = 4.0
    longest: float = 20.0
    forgiving: float = 60.0
    probe_patience: float = 30.0
    """For so long a probe without a sign of life keeps others from being made."""


RULES = Rules()
JITTER = 0.2


class Outcome(Enum):
    """What an attempt says of its target."""

    SERVED = auto()
    FAILED = auto()
    SILENT = auto()
    """Nothing: it was refused for what it asked, left by its caller, or never dialled."""


class Change(Enum):
    """What became of a circuit."""

    OPENED = auto()
    CLOSED = auto()


class Probe:
    """The attempt that shows whether an open circuit's target works again.

    `answering`: whether content comes; then it no longer keeps others from trying, however long its
    answer takes, and still only its end can close the circuit.
    """

    __slots__ = ("answering", "epoch", "since")

    def __init__(self, since: float, epoch: int, answering: Callable[[], bool]) -> None:
        self.since = since
        self.epoch = epoch
        self.answering = answering


class Breaker:
    """One target's circuit. Each method is told the time, on a clock that never goes back.

    `epoch` grows with each opening and closing: an attempt that was let in before says nothing of
    what has been since, however late and well it ends.
    """

    __slots__ = (
        "_closed_at",
        "_draw",
        "_open_until",
        "_probe",
        "_rules",
        "by_hearsay",
        "ejections",
        "epoch",
        "limited_until",
        "opened",
        "reason",
        "window",
    )

    def __init__(self, rules: Rules = RULES, draw: Callable[[], float] = random.random) -> None:
        self._rules = rules
        self._draw = draw
        self.window = Window(rules.window)
        self.opened = False
        self.by_hearsay = False
        self.ejections = 0
        self.epoch = 0
        self.reason = ""
        self.limited_until = 0.0
        self._open_until = 0.0
        self._closed_at = 0.0
        self._probe: Probe | None = None

    def ejected(self, now: float) -> bool:
        """It is to be passed over while another can serve."""
        if now < self.limited_until:
            return True
        return self.opened and (now < self._open_until or self._probed(now))

    def until(self, now: float) -> float | None:
        """When it is tried again, None: it is not passed over, or its probe is on the way."""
        until = max(self.limited_until, self._open_until if self.opened else 0.0)
        return until if until > now else None

    def state(self, now: float) -> CircuitState:
        if self.opened:
            return CircuitState.OPEN if now < self._open_until else CircuitState.HALF_OPEN
        return CircuitState.LIMITED if now < self.limited_until else CircuitState.CLOSED

    def probe(self, now: float, answering: Callable[[], bool]) -> Probe | None:
        """The place of the one attempt that tries; None: it is not time, or another does."""
        if not self.opened or now < self._open_until or self._probed(now):
            return None
        self._probe = Probe(now, self.epoch, answering)
        return self._probe

    def settled(
        self, now: float, outcome: Outcome, epoch: int, probe: Probe | None = None, reason: str = ""
    ) -> Change | None:
        """An attempt has ended that was let in at `epoch`, as a `probe` or not."""
        if probe is not None:
            return self._probe_settled(now, outcome, probe, reason)
        if self.opened or epoch != self.epoch or outcome is Outcome.SILENT:
            return None
        failed = outcome is Outcome.FAILED
        self.window.add(now, failed=failed)
        window, rules = self.window, self._rules
        if failed and window.total >= rules.volume and window.ratio >= rules.ratio:
            return self._open(now, reason)
        return None

    def limit(self, now: float, seconds: float) -> None:
        """It said that it takes no more for so long."""
        self.limited_until = max(self.limited_until, now + seconds)

    def reset(self, now: float) -> bool:
        """As if nothing had happened; whether anything had."""
        had = self.opened or now < self.limited_until
        if self.opened:
            self._close(now)
        self.ejections = 0
        self.limited_until = 0.0
        self.epoch += 1
        self.window.clear()
        return had

    def told_open(self, now: float, seconds: float, reason: str, ejections: int) -> bool:
        """Another replica's opened, for so long yet; whether this one follows.

        It does not where its own window says that the target works.
        """
        window, rules = self.window, self._rules
        window.turn(now)
        works = window.total >= rules.volume and window.ratio < rules.ratio
        if self.opened or works or seconds <= 0:
            return False
        self._open(now, reason)
        self._open_until = now + min(seconds, rules.longest)
        self.ejections = max(self.ejections, ejections)
        self.by_hearsay = True
        return True

    def told_closed(self, now: float) -> bool:
        """Another replica's probe was served; whether that closes this one.

        One that opened by what was seen here sees for itself, now.
        """
        if not self.opened:
            return False
        if self.by_hearsay:
            self._close(now)
            return True
        self._open_until = min(self._open_until, now)
        return False

    def _probed(self, now: float) -> bool:
        probe = self._probe
        if probe is None or now - probe.since >= self._rules.probe_patience:
            return False
        return not probe.answering()

    def _probe_settled(
        self, now: float, outcome: Outcome, probe: Probe, reason: str
    ) -> Change | None:
        if self._probe is probe:
            self._probe = None
        if not self.opened or probe.epoch != self.epoch:
            return None
        if outcome is Outcome.SERVED:
            return self._close(now)
        return self._open(now, reason) if outcome is Outcome.FAILED else None

    def _open(self, now: float, reason: str) -> Change:
        rules = self._rules
        if not self.opened and now - self._closed_at >= rules.forgiving:
            self.ejections = 0
        length = min(rules.ejection * 2.0 ** min(self.ejections, 16), rules.longest)
        self._open_until = now + length * (1 - JITTER * self._draw())
        self.ejections += 1
        self.opened, self.by_hearsay = True, False
        self.reason = reason
        self._turn_over()
        return Change.OPENED

    def _close(self, now: float) -> Change:
        self.opened = self.by_hearsay = False
        self.reason = ""
        self._closed_at = now
        self._turn_over()
        return Change.CLOSED

    def _turn_over(self) -> None:
        self.epoch += 1
        self._probe = None
        self.window.clear()
