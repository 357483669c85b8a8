"""The JSON text of a call's arguments, written while the values arrive one by one."""

import re
from collections import deque
from dataclasses import dataclass, field

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
_MOST_HELD = 1000  # values that wait for a string to end

Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Container:
    """An object or a list that is still open, and where it lies in the one around it."""

    segment: str | int
    is_list: bool
    count: int = 0
    keys: set[str] = field(default_factory=set)


class ArgumentsText:
    """Turns values at paths into text that, joined, is one JSON object.

    The values come in the order the model wrote them, so that what has been left is closed for
    good: a text that has been passed on cannot be added to. What comes within a string that says
    it will continue waits for its end.
    """

    __slots__ = ("_continues", "_held", "_in_string", "_leaf", "_open")

    def __init__(self) -> None:
        self._open: list[_Container] = []  # outermost first
        self._leaf: Path = ()
        self._in_string = False
        self._continues = False
        self._held: list[tuple[Path, PartialArg]] = []

    def take(self, arg: PartialArg) -> str:
        """The text that one value, or a piece of a string, adds.

        Raises:
            ProviderProtocolError: its place is none, or was left before.
        """
        return self._take_all(deque([(_parse(arg.jsonPath), arg)]))

    def _take_all(self, waiting: "deque[tuple[Path, PartialArg]]") -> str:
        texts: list[str] = []
        while waiting:
            path, arg = waiting.popleft()
            if self._in_string and self._continues and path != self._leaf:
                if len(self._held) >= _MOST_HELD:
                    raise _disorder()
                self._held.append((path, arg))
                continue
            texts.append(self._write(path, arg))
            if not self._continues:
                waiting.extendleft(reversed(self._held))
                self._held.clear()
        return "".join(texts)

    def _write(self, path: Path, arg: PartialArg) -> str:
        is_string = type(arg.stringValue) is str
        self._continues = is_string and arg.willContinue is True
        if self._in_string and path == self._leaf:
            return _string(arg.stringValue)[1:-1] if is_string else ""
        text = self._move_to(path)
        self._leaf = path
        self._in_string = is_string
        return text + (_string(arg.stringValue)[:-1] if is_string else _scalar(arg))

    def finish(self) -> str:
        """The text that closes the object."""
        texts: list[str] = []
        while self._held:  # behind a string that did not end
            self._continues = False
            held = deque(self._held)
            self._held.clear()
            texts.append(self._take_all(held))
        if not self._open:
            return "{}"
        return "".join([*texts, self._close_string(), self._close_to(0)])

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
            if segment in container.keys:
                raise _disorder()
            container.keys.add(str(segment))
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
