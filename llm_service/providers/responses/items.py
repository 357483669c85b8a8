"""The items of an answer while it streams: which of them an event is about."""

from dataclasses import dataclass, field
from typing import Any

from llm_service.domain.completion import DeltaKind
from llm_service.providers.lenient import text

Json = dict[str, Any]


@dataclass(slots=True)
class Piece:
    """A part of ours that grows: its index, which text of it, and what of it callers have."""

    part: int
    kind: DeltaKind
    said: list[str] = field(default_factory=list)
    cited: int = 0

    def rest_of(self, whole: str) -> str:
        """What the whole text has beyond what was said; "" where it contradicts that."""
        said = "".join(self.said)
        return whole[len(said) :] if whole.startswith(said) else ""


@dataclass(slots=True)
class Item:
    """An item of the answer.

    `pieces` are its parts, by which of its lists they are in and where; `call` is the part of a
    call. `held`: text of a call that cannot be announced yet, for want of its name.
    """

    type: str
    id: str
    pieces: dict[tuple[str, int], Piece] = field(default_factory=dict)
    call: Piece | None = None
    held: list[str] = field(default_factory=list)
    closed: bool = False


class Items:
    """Every item so far, in order of appearance."""

    __slots__ = ("_by_id", "_by_index", "all")

    def __init__(self) -> None:
        self.all: list[Item] = []
        self._by_index: dict[int, Item] = {}
        self._by_id: dict[str, Item] = {}

    def begin(self, index: Any, said: Json) -> Item | None:  # noqa: ANN401 - as it lies on the wire
        """The item that begins; None: it had begun already."""
        known = self._at(index)
        item_id = text(said.get("id"))
        if known is not None and not known.closed and item_id and known.id == item_id:
            return None
        return self.add(index, item_id, text(said.get("type")))

    def add(self, index: Any, item_id: str, kind: str) -> Item:  # noqa: ANN401
        item = Item(kind, item_id)
        self.all.append(item)
        if type(index) is int:
            self._by_index[index] = item
        if item_id:
            self._by_id[item_id] = item
        return item

    def find(self, index: Any, item_id: Any) -> Item | None:  # noqa: ANN401
        """By index and id; where they disagree, an id that is known decides.

        Some servers give every item the index 0, some give it another id with every event.
        """
        known = self._at(index)
        if type(item_id) is not str or not item_id:
            return known or (self.all[-1] if self.all and type(index) is not int else None)
        if known is not None and known.id == item_id:
            return known
        return self._by_id.get(item_id) or known

    def is_news(self, index: int, said: Json) -> bool:
        """Whether an item that the end of the answer lists has not come whole before."""
        known = self._at(index)
        if known is not None:
            return not known.closed and known.type in ("", said.get("type"))
        return text(said.get("id")) not in self._by_id

    def _at(self, index: Any) -> Item | None:  # noqa: ANN401
        return self._by_index.get(index) if type(index) is int else None
