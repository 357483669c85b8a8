"""The parts of an answer of the Responses API."""

import base64
from typing import Any

from llm_service.domain.completion import DeltaKind, PartStarted
from llm_service.domain.content import Media, Modality, Part, Text, TokenLogprob, ToolCall
from llm_service.providers.lenient import text
from llm_service.providers.responses import calls
from llm_service.providers.responses.items import Item, Items, Json, Piece
from llm_service.providers.responses.texts import TextParts

_IMAGE = "image_generation_call"


class Parts(TextParts):
    """Turns the items of an answer into part events.

    Attributes:
        answer_id: makes the ids of calls that came without one.
        called: a call waits for its caller's answer.
        own_tools: the free-text tools the caller gave; None: not known, so all that are called.
        ran: the calls that the vendor answered itself.
    """

    __slots__ = ("_format_tool", "_items", "answer_id", "called", "own_tools", "ran")

    def __init__(self, provider: str, format_tool: str) -> None:
        """`format_tool`: the name of the tool whose call is the answer itself; "": none is."""
        super().__init__(provider)
        self.answer_id = ""
        self.called = False
        self.own_tools: frozenset[str] | None = None
        self.ran: list[Json] = []
        self._format_tool = format_tool
        self._items = Items()

    def open_item(self, index: Any, said: Json) -> None:  # noqa: ANN401 - as it lies on the wire
        item = self._items.begin(index, said)
        if item is not None and text(said.get("name" if _streams(said) else "type")):
            self._announce(item, said)

    def grow_item(
        self,
        index: Any,  # noqa: ANN401
        item_id: Any,  # noqa: ANN401
        key: tuple[str, Any],
        kind: DeltaKind,
        more: str,
        tokens: tuple[TokenLogprob, ...],
    ) -> None:
        """Add to an item, which need not have been announced; `key` as in `grow`."""
        item = self._items.find(index, item_id) or self._items.add(index, text(item_id), "")
        if item.closed or not (more or tokens):
            return
        if kind is not DeltaKind.ARGUMENTS_JSON:
            self.grow(item, (key[0], _position(key[1])), kind, more, tokens)
        elif item.call is None:
            item.held.append(more)
        else:
            self._grow_call(item.call, more)

    def complete_item(
        self,
        index: Any,  # noqa: ANN401
        item_id: Any,  # noqa: ANN401
        key: tuple[str, Any],
        kind: DeltaKind,
        whole: str,
    ) -> None:
        """Add what of a text its pieces did not bring; `key` as in `grow`."""
        item = self._items.find(index, item_id)
        rest = whole
        if item is not None and kind is DeltaKind.ARGUMENTS_JSON:
            known = item.call or Piece(-1, kind, item.held)
            rest = known.rest_of(whole)
        elif item is not None and (piece := item.pieces.get((key[0], _position(key[1])))):
            rest = piece.rest_of(whole)
        self.grow_item(index, item_id, key, kind, rest, ())

    def cite_item(self, index: Any, item_id: Any, position: Any, annotation: Any) -> None:  # noqa: ANN401
        item = self._items.find(index, item_id)
        if item is not None and not item.closed:
            self.cite(item, _position(position), annotation)

    def close_item(self, index: Any, said: Json) -> None:  # noqa: ANN401
        """Bring an item's parts to what it is when whole, and finish them."""
        kind = text(said.get("type"))
        item = self._items.find(index, said.get("id"))
        if item is None or item.closed:
            item = self._items.add(index, text(said.get("id")), kind)
        item.closed = True
        if calls.is_call(said) and not self._runs_at_caller(said):
            self.ran.append(said)
        if kind == "message":
            self.close_message(item, said)
        elif kind == "reasoning":
            self.close_reasoning(item, index, said)
        elif kind != _IMAGE and calls.is_call(said):
            self._close_call(item, said)
        elif kind != _IMAGE or not self._show_image(said):
            self.keep_to_the_end(Text(""), index, said)

    def close(self, output: list[Any]) -> None:
        """End the answer; `output` is what its end says its items are, [] if nothing."""
        for index, said in enumerate(output):
            if type(said) is dict and self._items.is_news(index, said):
                self.close_item(index, said)
        self.finish_late(output)
        for item in self._items.all:
            self.finish_pieces(item)
            if item.held:
                self._announce(item, {"type": item.type or "function_call"})
            if item.call is not None and not item.closed:
                self.finish(item.call.part)

    def _announce(self, item: Item, said: Json) -> None:
        """Start the part of a call, with what was held back of it."""
        if item.call is not None or not (calls.is_call(said) or item.held) or item.type == _IMAGE:
            return
        if self._format_tool and said.get("name") == self._format_tool:
            item.call = Piece(self.start(Text("")), DeltaKind.TEXT)
        else:
            # A call without an id could not be answered: it gets one that no other turn has.
            call_id = calls.call_id(said) or f"call_{self.answer_id}_{self.count}"
            at_caller = self._runs_at_caller(said)
            call = ToolCall(call_id, calls.name(said), server_side=not at_caller)
            item.call = Piece(self.start(call), DeltaKind.ARGUMENTS_JSON)
            self.called = self.called or at_caller
        held, item.held = "".join(item.held), []
        if held:
            self._grow_call(item.call, held)

    def _grow_call(self, call: Piece, more: str) -> None:
        call.said.append(more)
        self.add(call.part, call.kind, more)

    def _close_call(self, item: Item, said: Json) -> None:
        self._announce(item, said)
        if item.call is None:
            return
        if rest := item.call.rest_of(calls.arguments(said)):
            self._grow_call(item.call, rest)
        if item.call.kind is DeltaKind.TEXT:
            self.finish(item.call.part)
            return
        kept = calls.without_text(said) if self._runs_at_caller(said) else said
        self.finish(item.call.part, self.state("item", kept))

    def _runs_at_caller(self, said: Json) -> bool:
        """By its type; but xAI calls its own searches like free-text tools of the caller."""
        if said.get("type") == "custom_tool_call" and self.own_tools is not None:
            return text(said.get("name")) in self.own_tools
        return calls.runs_at_caller(said)

    def _show_image(self, said: Json) -> bool:
        """Whether the item holds an image; then it is a part."""
        try:
            data = base64.b64decode(text(said.get("result")), validate=True)
        except ValueError:
            return False
        if not data:
            return False
        mime_type = f"image/{text(said.get('output_format')) or 'png'}"
        index = self.count
        self.count = index + 1
        image = Media(Modality.IMAGE, data=data, mime_type=mime_type)
        self.events.append(PartStarted(index, Part(image)))
        rest = {key: value for key, value in said.items() if key != "result"}
        self.finish(index, self.state("item", rest))
        return True


def _streams(said: Json) -> bool:
    return text(said.get("type")) in calls.STREAMED


def _position(said: Any) -> int:  # noqa: ANN401
    return said if type(said) is int else 0
