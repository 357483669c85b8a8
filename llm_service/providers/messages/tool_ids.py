"""Which result answers which call, under ids the API takes."""

import hashlib
import re

from llm_service.errors import InvalidField, Violation

_GOOD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BAD_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 128


class ToolIds:
    """Pairs calls with results turn by turn.

    Ids other vendors made are shaped into ones this API takes, always the same way; one used before
    in the conversation gets a number.
    """

    def __init__(self) -> None:
        self._used: dict[str, int] = {}  # with how often each was wanted
        self._open: dict[str, list[tuple[str, str]]] = {}  # by the caller's id: ours and the path
        self._answerable: dict[str, list[str]] = {}

    def call(self, call_id: str, path: str, *, must: bool = True) -> str:
        """The id to send for a call; `must`: it needs a result in the next turn."""
        sent = self._unique(shaped(call_id))
        if must:
            self._open.setdefault(call_id, []).append((sent, path))
        else:
            self._answerable.setdefault(call_id, []).append(sent)
        return sent

    def result(self, call_id: str, path: str) -> str:
        """The id to send for a result.

        Raises:
            InvalidField: no call of the turn before has the id, or it has been answered.
        """
        if waiting := self._open.get(call_id):
            sent, _ = waiting.pop(0)
            return sent
        if others := self._answerable.get(call_id):
            return others.pop(0)
        raise InvalidField(
            Violation(f"{path}.tool_result.tool_call_id", "answers no call of the turn before it")
        )

    def end_of_turn(self) -> None:
        """Forget the turn's calls.

        Raises:
            InvalidField: names each call that has no result.
        """
        missing = [path for waiting in self._open.values() for _, path in waiting]
        if missing:
            raise InvalidField(
                *(Violation(f"{path}.tool_call.id", "has no result after it") for path in missing)
            )
        self._open.clear()
        self._answerable.clear()

    def _unique(self, wanted: str) -> str:
        sent, number = wanted, self._used.get(wanted, 0)
        while sent in self._used:
            number += 1
            sent = f"{wanted[:56]}_{number}"
        self._used[wanted] = max(number, 1)
        self._used.setdefault(sent, 1)
        return sent


def shaped(call_id: str) -> str:
    """The id itself where the API takes it."""
    if _GOOD.fullmatch(call_id):
        return call_id
    return f"toolu_{hashlib.sha256(call_id.encode(errors='replace')).hexdigest()[:24]}"


def shaped_name(name: str) -> str:
    """A tool's name as a past call may have it; other vendors take dots."""
    return _BAD_IN_NAMES.sub("_", name)[:_LONGEST_NAME] or "_"
