"""What calls have lately met at a target, as routing reads it."""

from typing import Protocol

from llm_service.gateway.targets import Target


class Signals(Protocol):
    """Averages that follow what was seen; None where nothing was."""

    def first_token_seconds(self, target: Target) -> float | None:
        """From dialling to the first content."""
        ...

    def tokens_per_second(self, target: Target) -> float | None:
        """Of output, from the first content on."""
        ...

    def ejected(self, target: Target) -> bool:
        """Its circuit is open: it is to be passed over while another can serve."""
        ...


class NoSignals:
    """Nothing is known of any target."""

    def first_token_seconds(self, target: Target) -> float | None:  # noqa: ARG002
        return None

    def tokens_per_second(self, target: Target) -> float | None:  # noqa: ARG002
        return None

    def ejected(self, target: Target) -> bool:  # noqa: ARG002
        return False
