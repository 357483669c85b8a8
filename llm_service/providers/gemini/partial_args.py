"""The JSON text of a call's arguments, written while the values arrive one by one."""

import re
from dataclasses import dataclass

import msgspec

from llm_service.errors import ProviderProtocolError
from llm_service.providers.gemini.wire import PartialArg

_SEGMENT = re.compile(
    r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,6})\]"
    r"|\['(?P<single>(?:[^'\\]|\\.)*)'\]|\[\"(?P<double>(?:[^\"\\]|\\.)*)\"\]"
)
_ESCAPED = re.compile(r"\\(.)")
_MOST_DEPTH = 64
_MOST_SKIPPED = 1000  # items of a list that never came

Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Container:
    """An object or a list that is still open, and where it lies in the one around it."""

    segment: str | int
    is_list: bool
    count: int = 0


class ArgumentsText:
    """Turns values at paths into text that, joined, is one JSON object.

    The values come in the order the model wrote them, so that what has been left is closed for
    good.
    """

    __slots__ = ("_in_string", "_leaf", "_open")

    def __init__(self) -> None:
        self._open: list[_Container] = []  # outermost first
        self._leaf: Path = ()
        self._in_string = False

    def take(self, arg: PartialArg) -> str:
        """The text that one value, or a piece of a string, adds.

        Raises:
            ProviderProtocolError: its place is none, or was left before.
        """
        path = _parse(arg.jsonPath)
        is_string = type(arg.stringValue) is str
        if self._in_string and path == self._leaf:
            return _string(arg.stringValue)[1:-1] if is_string else ""
        text = self._move_to(path)
        self._leaf = path
        self._in_string = is_string
        return text + (_string(arg.stringValue)[:-1] if is_string else _scalar(arg))

    def finish(self) -> str:
        """The text that closes the object."""
        if not self._open:
            return "{}"
        return self._close_string() + self._close_to(0)

    def _move_to(self, path: Path) -> str:
        text = self._close_string()
        if not self._open:
            self._open.append(_Container("", is_list=False))
            text += "{"
        shared = 1
        for container, segment in zip(self._open[1:], path[:-1], strict=False):
            if container.segment != segment:
                break
            shared += 1
        text += self._close_to(shared)
        for depth in range(shared - 1, len(path) - 1):
            text += self._place(path[depth])
            is_list = type(path[depth + 1]) is int
            self._open.append(_Container(path[depth], is_list))
            text += "[" if is_list else "{"
        return text + self._place(path[-1])

    def _place(self, segment: str | int) -> str:
        """The comma and key before a new value of the innermost container."""
        container = self._open[-1]
        if container.is_list is not (type(segment) is int):
            raise _disorder()
        comma = "," if container.count else ""
        if type(segment) is not int:
            container.count += 1
            return f"{comma}{_string(str(segment))}:"
        skipped = segment - container.count
        if not 0 <= skipped <= _MOST_SKIPPED:
            raise _disorder()
        container.count = segment + 1
        return comma + "null," * skipped

    def _close_to(self, depth: int) -> str:
        text = ""
        while len(self._open) > depth:
            text += "]" if self._open.pop().is_list else "}"
        return text

    def _close_string(self) -> str:
        text = '"' if self._in_string else ""
        self._in_string = False
        return text


def _parse(said: object) -> Path:
    if type(said) is not str or not said.startswith("$"):
        raise _disorder()
    path: list[str | int] = []
    at = 1
    while at < len(said):
        match = _SEGMENT.match(said, at)
        if match is None or len(path) >= _MOST_DEPTH:
            raise _disorder()
        at = match.end()
        if match["index"] is not None:
            path.append(int(match["index"]))
        else:
            quoted = match["single"] if match["double"] is None else match["double"]
            path.append(match["name"] or _ESCAPED.sub(r"\1", quoted or ""))
    if not path or type(path[0]) is int:
        raise _disorder()
    return tuple(path)


def _string(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _scalar(arg: PartialArg) -> str:
    if type(arg.numberValue) in (int, float):
        return msgspec.json.encode(arg.numberValue).decode()
    if type(arg.boolValue) is bool:
        return "true" if arg.boolValue else "false"
    return "null"


def _disorder() -> ProviderProtocolError:
    return ProviderProtocolError("the provider streamed arguments that do not fit together")
