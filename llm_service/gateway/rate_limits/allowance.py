"""What one call may use of its caller's limits."""

from types import TracebackType

from llm_service.domain.rate_limits import Hold
from llm_service.gateway.rate_limits.shared import Meters


class Allowance:
    """Charged when the call began, corrected once it and each of its attempts have ended.

    The block it is the context of is the call.
    """

    __slots__ = ("_hold", "_meters", "_running", "_tokens")

    def __init__(self, meters: Meters, hold: Hold) -> None:
        self._meters = meters
        self._hold = hold
        self._running = 1
        self._tokens = 0

    def __enter__(self) -> "Allowance":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended(0)

    def attempt_begins(self) -> None:
        self._running += 1

    def attempt_ended(self, tokens: int) -> None:
        """Once for each that began, also after the call has ended."""
        self._ended(tokens)

    def _ended(self, tokens: int) -> None:
        self._tokens += tokens
        self._running -= 1
        if not self._running:
            self._meters.settle(self._hold, self._tokens)
