"""What monitors have counted of usage records, and up to which: each is to be read once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from llm_service.domain.monitor import AttemptCounts, Look, ProviderWindow, UnpricedModel

_Windows = Mapping[tuple[str, datetime], ProviderWindow]
_Attempts = Mapping[tuple[str, datetime], int]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of the windows that are still looked at, of all their records before `cursor`.

    They are by provider, and of unpriced attempts by model, and the start of the window. A `cursor`
    of "": nothing is counted.
    """

    cursor: str = ""
    windows: _Windows = field(default_factory=dict)
    unpriced: _Attempts = field(default_factory=dict)

    def with_(self, found: Iterable[AttemptCounts], look: Look) -> "Tally":
        """With what the look has found, and without the windows it does not look at any more."""
        windows = {key: one for key, one in self.windows.items() if key[1] >= look.start}
        unpriced = {key: one for key, one in self.unpriced.items() if key[1] >= look.start}
        for one in found:
            start = one.window_start_time
            of, model = (one.provider, start), (one.model, start)
            if one.served or one.failed:
                windows[of] = _sum(windows.get(of) or ProviderWindow(*of), one)
            if one.unpriced:
                unpriced[model] = unpriced.get(model, 0) + one.unpriced
        return Tally(look.end, windows, unpriced)

    def unpriced_models(self) -> tuple[UnpricedModel, ...]:
        """Over all windows."""
        attempts: dict[str, int] = {}
        for (model, _), count in self.unpriced.items():
            attempts[model] = attempts.get(model, 0) + count
        return tuple(UnpricedModel(model, count) for model, count in attempts.items())


def _sum(of: ProviderWindow, found: AttemptCounts) -> ProviderWindow:
    return replace(
        of,
        served=of.served + found.served,
        failed=of.failed + found.failed,
        slow=of.slow + found.slow,
    )
