"""Which of an answer's tool calls a piece belongs to.

Vendors mark the pieces in many ways: an index and, once, an id (OpenAI); an id on every piece; an
index of 0 on every call; no index; no id; the name once or on every piece.
"""

from dataclasses import dataclass, field

import msgspec

from llm_service.domain.completion import DeltaKind


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

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: list[OpenCall] = []

    def take(self, piece: Piece) -> OpenCall:
        """The call the piece belongs to, new or known, with what the piece says taken in."""
        call = self._find(piece)
        if call is None:
            call = OpenCall(piece.index, piece.id, piece.name)
            self.calls.append(call)
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        if piece.arguments:
            call.arguments.append(piece.arguments)
        return call

    def _find(self, piece: Piece) -> OpenCall | None:
        if piece.index is None:
            return self._by_id(piece) if piece.id else self._last(piece)
        call = next((call for call in reversed(self.calls) if call.index == piece.index), None)
        if call is None or (piece.id and call.id and call.id != piece.id):
            return self._by_id(piece) if piece.id else None
        if not piece.id and _starts_another(call, piece):
            return None
        return call

    def _by_id(self, piece: Piece) -> OpenCall | None:
        for call in reversed(self.calls):
            if call.id == piece.id:
                other_index = None not in (call.index, piece.index) and call.index != piece.index
                return None if other_index and piece.name else call
        return None

    def _last(self, piece: Piece) -> OpenCall | None:
        if not self.calls or _starts_another(self.calls[-1], piece):
            return None
        return self.calls[-1]


def _starts_another(call: OpenCall, piece: Piece) -> bool:
    """Without an id, a name starts another call unless it repeats that of one still growing."""
    return bool(piece.name and call.name) and _is_whole(call.arguments)


def _is_whole(arguments: list[str]) -> bool:
    if not arguments or not arguments[-1].rstrip().endswith("}"):
        return False
    try:
        msgspec.json.decode("".join(arguments), type=dict)
    except (ValueError, RecursionError):
        return False
    return True
