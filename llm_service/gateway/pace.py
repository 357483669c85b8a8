"""How fast an answer comes, against providers that trickle just enough to keep timers quiet."""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from llm_service.errors import ProviderTimeout

WINDOW_SECONDS = 10.0
"""Of waiting for the provider, over which its speed is looked at: a pause in it is forgiven."""


class Produced(Protocol):
    """An attempt, as far as it has come."""

    @property
    def output_tokens(self) -> int:
        """Of what has come over, estimated."""
        ...


class Pace:
    """Gives an answer up that comes too slowly after its first content.

    Only time spent waiting for the provider counts: a caller who reads slowly holds us up too.
    """

    def __init__(self, least: float, clock: Callable[[], float] = monotonic) -> None:
        """`least`: output tokens per second; 0: any. `clock`: seconds."""
        self._least = least
        self._clock = clock
        self._since = 0.0
        self._waited = 0.0
        self._tokens = 0

    def heard(self, attempt: Produced) -> None:
        """Something has come.

        Raises:
            ProviderTimeout: of late there was too little.
        """
        if not self._least:
            return
        tokens = attempt.output_tokens
        if not self._tokens:  # its first content; the time to it has a timer of its own
            self._tokens = tokens
            return
        self._waited += self._clock() - self._since
        if self._waited < WINDOW_SECONDS:
            return
        if tokens - self._tokens < self._least * self._waited:
            raise ProviderTimeout("the answer came too slowly")
        self._tokens, self._waited = tokens, 0.0

    def waits(self) -> None:
        """The provider is waited for from now on."""
        if self._least:
            self._since = self._clock()
