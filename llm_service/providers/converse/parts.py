"""The parts of a Converse answer, whose blocks begin, grow and end by their index."""

import base64
from dataclasses import dataclass, field
from typing import Any

from llm_service.domain.completion import DeltaKind
from llm_service.domain.content import (
    Citation,
    Content,
    Media,
    Modality,
    ProviderState,
    Text,
    Thinking,
    ToolCall,
)
from llm_service.errors import ProviderProtocolError
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.parts import PartWriter

_EMPTY: dict[DeltaKind, Content] = {DeltaKind.TEXT: Text(""), DeltaKind.THINKING: Thinking("")}
_SERVER_SIDE = "server_tool_use"
_LEAKED = "<|"  # gpt-oss lets the marks of its template slip into names: "json<|channel|>final"


@dataclass(frozen=True, slots=True)
class Names:
    """What the names of tools in an answer mean.

    `json_tool` is the tool by which the format of the answer is brought about, "" if there is none;
    `tools` are the caller's.
    """

    json_tool: str = ""
    tools: frozenset[str] = frozenset()

    def meant(self, said: str) -> str:
        """The tool a name means: itself, or what is left of it without leaked marks."""
        bare = said.partition(_LEAKED)[0]
        known = bare == self.json_tool or bare in self.tools
        return bare if bare and known else said


@dataclass(slots=True)
class _Block:
    """A block that has begun. `kind` is of the text that grows; None: bytes are gathered."""

    part: int
    kind: DeltaKind | None
    length: int = 0  # code points of its text
    server_side: str = ""
    tool_use_id: str = ""
    signature: list[str] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)
    format: str = ""
    encoded: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None


class Parts(PartWriter):
    """Turns blocks into part events.

    Attributes:
        calls: how many calls the caller has to answer.
        answered_by_tool: the answer's format was brought about by its tool.
        ran: the names of the tools that the vendor ran, one for each time.
    """

    __slots__ = ("_answer_id", "_family", "_names", "_open", "answered_by_tool", "calls", "ran")

    def __init__(self, provider: str, family: str, names: Names, answer_id: str) -> None:
        """`family` of models stamps thinking, which no other family takes back."""
        super().__init__(provider)
        self.calls = 0
        self.answered_by_tool = False
        self.ran: list[str] = []
        self._family = family
        self._names = names
        self._answer_id = answer_id
        self._open: dict[int, _Block] = {}

    def text(self, index: int, more: str) -> None:
        if more:
            self._grow(index, DeltaKind.TEXT, more)

    def thinking(self, index: int, more: str) -> None:
        if more:
            self._grow(index, DeltaKind.THINKING, more)

    def sign(self, index: int, signature: str) -> None:
        """A signature, which may come without any thinking to see, and in pieces."""
        if signature:
            self._turn(index, DeltaKind.THINKING).signature.append(signature)

    def redacted(self, index: int, data: str) -> None:
        self.stop(index)
        state = {"redacted": data, "family": self._family}
        self.finish(self.start(Thinking("", redacted=True)), self.state("thinking", state))

    def call(self, index: int, said: dict[str, Any]) -> None:
        """A call begins; one that is repeated before it has grown is the same."""
        call_id = text(said.get("toolUseId"))
        block = self._open.get(index)
        if block is not None and call_id and block.tool_use_id == call_id and not block.length:
            return
        self.stop(index)
        name = self._names.meant(text(said.get("name")))
        if name and name == self._names.json_tool:
            self.answered_by_tool = True
            self._open[index] = _Block(
                self.start(Text("")), DeltaKind.TEXT, tool_use_id=call_id or name
            )
            return
        kind = text(said.get("type"))
        server_side = kind if kind == _SERVER_SIDE else ""
        if server_side:
            self.ran.append(name)
        else:
            self.calls += 1
        call_id = call_id or "_".join(filter(None, ("call", self._answer_id, str(self.count))))
        part = self.start(ToolCall(call_id, name, server_side=bool(server_side)))
        self._open[index] = _Block(part, DeltaKind.ARGUMENTS_JSON, 0, server_side, call_id)

    def arguments(self, index: int, more: str) -> None:
        """A piece of a call's arguments; one whose call did not begin belongs to the last that did.

        Raises:
            ProviderProtocolError: no call has begun.
        """
        block = self._open.get(index)
        if block is None or not block.tool_use_id:
            calls = [other for other in self._open.values() if other.tool_use_id]
            if not calls:
                raise ProviderProtocolError("the provider sent arguments of a call it did not make")
            block = calls[-1]
        if more and block.kind is not None:
            block.length += len(more)
            self.add(block.part, block.kind, more)

    def cite(self, index: int, said: dict[str, Any]) -> None:
        """A citation of the block's whole text, which may still grow."""
        self._turn(index, DeltaKind.TEXT).citations.append(said)

    def image(self, index: int, said: dict[str, Any]) -> None:
        """An image begins, or a piece of one."""
        block = self._open.get(index)
        if block is None or block.kind is not None or block.result is not None:
            self.stop(index)
            block = self._open[index] = _Block(-1, None)
        block.format = text(said.get("format")) or block.format
        if encoded := text(mapping(said.get("source")).get("bytes")):
            block.encoded.append(encoded)

    def result(self, index: int, said: dict[str, Any] | list[Any]) -> None:
        """What a tool that the vendor ran gave: kept, for the vendor to get back."""
        block = self._open.get(index)
        if block is None or block.result is None:
            self.stop(index)
            block = self._open[index] = _Block(-1, None, result={})
        kept = block.result if block.result is not None else {}
        if isinstance(said, dict):
            kept.update(said)
        else:
            kept.setdefault("content", []).extend(said)

    def opaque(self, index: int, said: object) -> None:
        """Keep a block the contract has no place for as the state of a part without text."""
        self.stop(index)
        self.keep("block", said)

    def stop(self, index: int) -> None:
        """End the block, if it has begun."""
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.result is not None:
            self.keep("block", {"toolResult": block.result})
        elif block.kind is None:
            self._finish_image(block)
        else:
            for said in block.citations:
                self.cite_in(block.part, citation(said, block.length))
            self.finish(block.part, self._state_of(block))

    def close(self) -> None:
        """End every block that has not ended."""
        for index in tuple(self._open):
            self.stop(index)

    def _grow(self, index: int, kind: DeltaKind, more: str) -> None:
        block = self._turn(index, kind)
        block.length += len(more)
        self.add(block.part, kind, more)

    def _turn(self, index: int, kind: DeltaKind) -> _Block:
        """The block at the index; another kind of block there ends."""
        block = self._open.get(index)
        if block is None or block.kind is not kind or block.tool_use_id:
            self.stop(index)
            block = self._open[index] = _Block(self.start(_EMPTY[kind]), kind)
        return block

    def _state_of(self, block: _Block) -> ProviderState | None:
        if block.signature:
            said = {"signature": "".join(block.signature), "family": self._family}
            return self.state("thinking", said)
        if block.server_side:
            return self.state("tool_use", {"type": block.server_side})
        if block.citations:
            return self.state("citations", block.citations)
        return None

    def _finish_image(self, block: _Block) -> None:
        try:
            data = base64.b64decode("".join(block.encoded), validate=True)
        except ValueError as error:
            raise ProviderProtocolError("the provider sent an image that is not base64") from error
        if data:
            mime_type = f"image/{block.format}" if block.format else ""
            self.finish(self.start(Media(Modality.IMAGE, data=data, mime_type=mime_type)))
        else:
            self.keep("block", {"image": {"format": block.format}})


def citation(said: dict[str, Any], length: int) -> Citation:
    """The citation of a text of so many code points."""
    location = mapping(said.get("location"))
    source = text(said.get("source"))
    uri = text(mapping(location.get("web")).get("url")) or (source if "://" in source else "")
    title = text(said.get("title")) or text(mapping(location.get("web")).get("domain"))
    pieces = (text(mapping(piece).get("text")) for piece in items(said.get("sourceContent")))
    return Citation(uri, title, "".join(pieces), 0, length)
