"""The parts of an answer that are text: what is said, declined and thought."""

from typing import Any

from llm_service.domain.completion import DeltaKind
from llm_service.domain.content import Content, Refusal, Text, Thinking, TokenLogprob
from llm_service.providers import lenient, states
from llm_service.providers.chat.extras import logprobs
from llm_service.providers.lenient import mapping, text
from llm_service.providers.parts import PartWriter
from llm_service.providers.responses.citations import citation
from llm_service.providers.responses.items import Item, Json, Piece

_EMPTY: dict[DeltaKind, Content] = {
    DeltaKind.TEXT: Text(""),
    DeltaKind.THINKING: Thinking(""),
    DeltaKind.REFUSAL: Refusal(""),
}
# What of an item's content is text, by its type: the kind it grows and the field it is in.
_TEXTS = {
    "output_text": (DeltaKind.TEXT, "text"),
    "text": (DeltaKind.TEXT, "text"),
    "refusal": (DeltaKind.REFUSAL, "refusal"),
    "reasoning_text": (DeltaKind.THINKING, "text"),
}


class TextParts(PartWriter):
    """Turns messages and reasoning into part events.

    Attributes:
        refused: one of the parts is a refusal.
    """

    __slots__ = ("_late", "refused")

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        self.refused = False
        # These stay open to the end of the answer, which may seal their content anew.
        self._late: list[tuple[int, Any, Json]] = []

    def grow(
        self,
        item: Item,
        key: tuple[str, int],
        kind: DeltaKind,
        more: str,
        tokens: tuple[TokenLogprob, ...] = (),
    ) -> None:
        """Add text to an item; `key` is the list in it and the position there."""
        piece = self._piece(item, key, kind)
        piece.said.append(more)
        self.add(piece.part, kind, more, tokens)

    def cite(self, item: Item, position: int, annotation: Any) -> None:  # noqa: ANN401
        self._cite(self._piece(item, ("content", position), DeltaKind.TEXT), annotation)

    def close_message(self, item: Item, said: Json) -> None:
        about = {key: value for key, value in said.items() if key != "content"}
        for position, block in enumerate(lenient.items(said.get("content"))):
            content = mapping(block)
            kind, name = _TEXTS.get(text(content.get("type")), (None, ""))
            if kind is None:
                state = {"message": about, "content": block}
                self.finish(self.start(Text("")), states.issue(self._provider, state))
                continue
            piece = self._piece(item, ("content", position), kind)
            self._catch_up(piece, content, name)
            rest = {k: v for k, v in content.items() if k not in (name, "logprobs")}
            state = {"message": about, "content": rest}
            self.finish(piece.part, states.issue(self._provider, state))
            del item.pieces["content", position]
        self.finish_pieces(item)

    def close_reasoning(self, item: Item, index: Any, said: Json) -> None:  # noqa: ANN401
        for where in ("summary", "content"):
            for position, block in enumerate(lenient.items(said.get(where))):
                content = mapping(block)
                if text(content.get("text")) or (where, position) in item.pieces:
                    piece = self._piece(item, (where, position), DeltaKind.THINKING)
                    self._catch_up(piece, content, "text")
        if not item.pieces:
            self.keep_to_the_end(Thinking("", redacted=True), index, said)
            return
        first, *others = sorted(piece.part for piece in item.pieces.values())
        item.pieces.clear()
        self._late.append((first, index, said))
        for part in others:
            self.finish(part, self.state("rest_of", text(said.get("id")) or "reasoning"))

    def keep_to_the_end(self, content: Content, index: Any, said: Json) -> None:  # noqa: ANN401
        """Begin a part whose only substance is its state, which the end of the answer decides."""
        self._late.append((self.start(content), index, said))

    def finish_late(self, output: list[Any]) -> None:
        """Finish those parts; `output` is what the end of the answer says its items are."""
        by_id: dict[str, Json] = {}
        for item in map(mapping, output):
            by_id.setdefault(text(item.get("id")), item)
        for part, index, said in self._late:
            self.finish(part, self.state("item", _last_word(index, said, output, by_id)))
        self._late.clear()

    def finish_pieces(self, item: Item) -> None:
        for piece in item.pieces.values():
            self.finish(piece.part)
        item.pieces.clear()

    def _piece(self, item: Item, key: tuple[str, int], kind: DeltaKind) -> Piece:
        piece = item.pieces.get(key)
        if piece is None:
            piece = item.pieces[key] = Piece(self.start(_EMPTY[kind]), kind)
            self.refused = self.refused or kind is DeltaKind.REFUSAL
        return piece

    def _catch_up(self, piece: Piece, said: Json, name: str) -> None:
        """Add what the whole has and the pieces did not bring."""
        whole = text(said.get(name))
        rest = piece.rest_of(whole)
        tokens = () if piece.said else logprobs({"content": said.get("logprobs")}, "content")
        if rest or tokens:
            self.add(piece.part, piece.kind, rest, tokens)
        for annotation in lenient.items(said.get("annotations"))[piece.cited :]:
            self._cite(piece, annotation)

    def _cite(self, piece: Piece, annotation: Any) -> None:  # noqa: ANN401
        piece.cited += 1
        if (known := citation(annotation)) is not None:
            self.cite_in(piece.part, known)


def _last_word(index: Any, said: Json, output: list[Any], by_id: dict[str, Json]) -> Json:  # noqa: ANN401
    """The same item at the end: by its id, or by its place where ids change."""
    item_id = text(said.get("id"))
    if item_id and item_id in by_id:
        return by_id[item_id]
    known = type(index) is int and 0 <= index < len(output)
    last = mapping(output[index]) if known else {}
    return last if last.get("type") == said.get("type") else said
