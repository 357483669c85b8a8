"""Marks up to where the vendor keeps a prompt."""

from typing import Any

from llm_service.domain.content import CacheControl, Part
from llm_service.providers.dropped import Dropped

MOST_MARKS = 4  # of one request; the API refuses more
_FIVE_MINUTES, _HOUR = 300.0, 3600.0
_NEVER_MARKED = frozenset({"thinking", "redacted_thinking"})


class Marks:
    """Sets `cache_control` on blocks, as often as the API takes it; what is left out is said."""

    def __init__(self, dropped: Dropped, *, able: bool) -> None:
        """`able`: the model's prompts can be kept, as far as is known."""
        self._dropped = dropped
        self._able = able
        self._count = 0

    def put(self, part: Part, block: dict[str, Any] | None, path: str) -> None:
        """Mark the block a part became; None: it became none."""
        wanted = part.cache_control
        if wanted is None:
            return
        if why := self._obstacle(block):
            self._dropped.content(f"{path}.cache_control", "cache_control", why)
        elif block is not None:
            self._count += 1
            block["cache_control"] = self._control(wanted, path)

    def _obstacle(self, block: dict[str, Any] | None) -> str:
        if not self._able:
            return "this model's prompts are not kept"
        if block is None or block["type"] in _NEVER_MARKED:
            return "this part can carry none"
        if self._count == MOST_MARKS:
            return f"the provider takes {MOST_MARKS} in a request"
        return ""

    def _control(self, wanted: CacheControl, path: str) -> dict[str, str]:
        seconds = wanted.ttl_seconds
        if seconds is None:
            return {"type": "ephemeral"}
        if seconds not in (_FIVE_MINUTES, _HOUR):
            self._dropped.content(
                f"{path}.cache_control.ttl",
                f"a ttl of {seconds:g} s",
                "the provider keeps prompts for 5 minutes or an hour, of which the longer was sent"
                if seconds > _FIVE_MINUTES
                else "the provider keeps prompts for 5 minutes or an hour, of which the shorter was"
                " sent",
            )
        return {"type": "ephemeral", "ttl": "1h" if seconds > _FIVE_MINUTES else "5m"}
