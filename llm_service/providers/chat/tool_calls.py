"""Which of an answer's tool calls a piece belongs to.

Vendors mark the pieces in many ways: an index and, once, an id (OpenAI); an id on every piece; an
index of 0 on every call; no index; no id; the name once or on every piece.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from llm_service.domain.completion import DeltaKind
from llm_service.errors import ProviderProtocolError
from llm_service.providers.lenient import text

_MARKS = re.compile(r"\\[\s\S]|[\\\"{}]")  # an escape is one mark; a lone backslash waits for more


def written(said: Any) -> str:  # noqa: ANN401 - as it lies on the wire
    """Arguments as text; some servers send the object itself.

    Raises:
        ProviderProtocolError: it is nested too deep.
    """
    if type(said) is not dict:
        return text(said)
    try:
        return msgspec.json.encode(said).decode()
    except RecursionError as error:
        raise ProviderProtocolError("the provider's answer is nested too deep") from error


class Extent:
    """Watches for the end of the object that a call's arguments are, each piece looked at once."""

    __slots__ = ("_depth", "_escaped", "_opened", "_quoted", "_seen", "_told")

    def __init__(self) -> None:
        self._seen = 0  # pieces
        self._depth = 0
        self._opened = False
        self._quoted = False
        self._escaped = False  # the last piece ended with a backslash
        self._told: bool | None = None  # None: the object goes on

    def is_whole(self, pieces: list[str]) -> bool:
        if self._told is None:
            for piece in pieces[self._seen :]:
                self._look_at(piece)
            self._seen = len(pieces)
            if self._opened and self._depth == 0:
                self._told = _is_object("".join(pieces))
        return self._told is True

    def _look_at(self, piece: str) -> None:
        marks = _MARKS.findall(piece, 1 if self._escaped else 0)
        self._escaped = marks[-1:] == ["\\"]
        for mark in marks:
            if mark == '"':
                self._quoted = not self._quoted
            elif not self._quoted and mark in ("{", "}"):
                self._opened = True
                self._depth += 1 if mark == "{" else -1


@dataclass(slots=True)
class OpenCall:
    """A call some of whose pieces have come.

    `part` -1: callers have not heard of it. `grows`: as what they hear its arguments; text when it
    only stands for an answer's format.
    """

    index: int | None
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    extent: Extent = field(default_factory=Extent)
    part: int = -1
    grows: DeltaKind = DeltaKind.ARGUMENTS_JSON

    @property
    def emulated(self) -> bool:
        return self.grows is DeltaKind.TEXT


@dataclass(slots=True)
class Piece:
    """What one delta says of one call; "" and None: nothing."""

    index: int | None
    id: str
    name: str
    arguments: str


class OpenCalls:
    """The calls of one answer, in order of appearance."""

    __slots__ = ("_by_id", "_by_index", "calls")

    def __init__(self) -> None:
        self.calls: list[OpenCall] = []
        self._by_index: dict[int, OpenCall] = {}  # the last of each index
        self._by_id: dict[str, OpenCall] = {}

    def take(self, piece: Piece) -> OpenCall:
        """The call the piece belongs to, new or known, with what the piece says taken in."""
        call = self._find(piece)
        if call is None:
            call = OpenCall(piece.index, piece.id, piece.name)
            self.calls.append(call)
            if piece.index is not None:
                self._by_index[piece.index] = call
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        if call.id:
            self._by_id[call.id] = call
        if piece.arguments:
            call.arguments.append(piece.arguments)
        return call

    def _find(self, piece: Piece) -> OpenCall | None:
        if piece.index is None:
            return self._of_id(piece) if piece.id else self._last(piece)
        call = self._by_index.get(piece.index)
        if call is None or (piece.id and call.id and call.id != piece.id):
            return self._of_id(piece) if piece.id else None
        if not piece.id and _starts_another(call, piece):
            return None
        return call

    def _of_id(self, piece: Piece) -> OpenCall | None:
        call = self._by_id.get(piece.id)
        if call is None:
            return None
        other_index = None not in (call.index, piece.index) and call.index != piece.index
        return None if other_index and piece.name else call

    def _last(self, piece: Piece) -> OpenCall | None:
        if not self.calls or _starts_another(self.calls[-1], piece):
            return None
        return self.calls[-1]


def _starts_another(call: OpenCall, piece: Piece) -> bool:
    """Without an id, a name starts another call unless it repeats that of one still growing."""
    return bool(piece.name and call.name) and call.extent.is_whole(call.arguments)


def _is_object(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments, type=dict)
    except (ValueError, RecursionError):
        return False
    return True
