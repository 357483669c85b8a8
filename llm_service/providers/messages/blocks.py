"""The blocks of an answer as they open, grow and close, turned into parts."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from llm_service.domain.completion import DeltaKind
from llm_service.domain.content import Content, ProviderState, Refusal, Text, Thinking, ToolCall
from llm_service.errors import ProviderProtocolError
from llm_service.providers import states
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.messages import wire
from llm_service.providers.messages.citations import citation
from llm_service.providers.parts import PartWriter

_CALLS = frozenset({"server_tool_use", "mcp_tool_use"})
_OF_A_CALL = frozenset({"type", "id", "name", "input"})


@dataclass(slots=True)
class _Open:
    """A block that grows.

    `takes`: the deltas that add to its part; None: it is kept as `block`, whole, whose texts grow
    by the pieces in `texts`.
    """

    raw: msgspec.Raw
    part: int
    takes: DeltaKind | None = None
    writes: DeltaKind | None = None
    input: bytes = b""
    own_call: bool = False
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    citations: list[Any] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    block: dict[str, Any] | None = None
    texts: dict[str, list[str]] = field(default_factory=dict)
    strangers: list[Any] = field(default_factory=list)


class Blocks(PartWriter):
    """Turns blocks into part events; each has an index of the vendor's while it is open.

    What the vendor ran itself is a server-side call, or is kept as the state of an empty part.

    Attributes:
        calls: the caller's tool calls so far.
        malformed: the arguments of one of them are no JSON object.
        formatted: the answer came as a call of the tool that brings its format about.
        model: who took over the answer, when another model did.
        answer_id: the vendor's id of the answer, for calls that have none.
        ran: the names of the tools that the vendor ran, one for each time.
    """

    __slots__ = (
        "_format_tool",
        "_kind",
        "_open",
        "answer_id",
        "calls",
        "formatted",
        "malformed",
        "model",
        "ran",
    )

    def __init__(self, kind: str, format_tool: str = "") -> None:
        """`kind` stamps provider state; calls of `format_tool` are the answer's text."""
        super().__init__(kind)
        self.calls = 0
        self.malformed = False
        self.formatted = False
        self.model = ""
        self.answer_id = ""
        self.ran: list[str] = []
        self._kind = kind
        self._format_tool = format_tool
        self._open: dict[int | None, _Open] = {}

    def begin(self, index: Any, raw: msgspec.Raw) -> None:  # noqa: ANN401 - as it lies on the wire
        """Open a block. One that is still open at the index ends, unless this only repeats it."""
        index = _index(index)
        if (before := self._open.get(index)) is not None:
            if before.raw == raw and not before.pieces and not before.length:
                return
            self.end(index)
        self._open[index] = self._opened(raw)

    def grow(self, index: Any, delta: wire.Delta, data: bytes) -> None:  # noqa: ANN401
        """Add to an open block. `data`: the event the delta is of.

        Raises:
            ProviderProtocolError: no such block is open, or it is of another kind.
        """
        block = self._open.get(_index(index))
        if block is None:
            raise ProviderProtocolError("the provider continued a block that is not open")
        kind = delta.type
        if block.block is not None:
            _merge(block.block, block.texts, wire.read_delta(data))
        elif kind == "text_delta":
            self._append(block, DeltaKind.TEXT, delta.text)
        elif kind == "input_json_delta":
            self._append(block, DeltaKind.ARGUMENTS_JSON, delta.partial_json)
        elif kind == "thinking_delta":
            self._append(block, DeltaKind.THINKING, delta.thinking)
        else:
            _note(block, delta, data)

    def end(self, index: Any) -> None:  # noqa: ANN401
        """Close a block; one that is not open has been closed before."""
        block = self._open.pop(_index(index), None)
        if block is None:
            return
        if block.block is not None:
            grown = {name: "".join(pieces) for name, pieces in block.texts.items()}
            self.finish(block.part, self.state("block", block.block | grown))
            return
        if block.takes is DeltaKind.ARGUMENTS_JSON:
            self._end_call(block)
        for said in block.citations:
            self.cite_in(block.part, citation(said, block.length))
        if block.citations:
            block.state["citations"] = block.citations
        if block.strangers:
            block.state["deltas"] = block.strangers
        self.finish(block.part, self._issued(block.state))

    def whole(self, raw: msgspec.Raw) -> None:
        """Take a block that came in one piece."""
        self.begin(None, raw)
        self.end(None)

    def refuse(self, details: dict[str, Any]) -> None:
        """Write the vendor's explanation of why it declined, or keep what there is of it."""
        explanation = text(details.get("explanation"))
        if not explanation:
            self.keep("stop_details", details)
            return
        part = self.start(Refusal(""))
        self.add(part, DeltaKind.REFUSAL, explanation)
        self.finish(part, self.state("stop_details", details))

    def close(self) -> None:
        """Close every block the vendor left open."""
        for index in list(self._open):
            self.end(index)

    def _opened(self, raw: msgspec.Raw) -> _Open:
        said = wire.read_block(raw)
        kind = said.type if type(said.type) is str else ""
        if kind == "text":
            return self._writing(raw, Text(""), DeltaKind.TEXT, said.text, items(said.citations))
        if kind == "thinking":
            block = self._writing(raw, Thinking(""), DeltaKind.THINKING, said.thinking)
            if signature := text(said.signature):
                block.state["signature"] = signature
            return block
        if kind == "redacted_thinking":
            part = self.start(Thinking("", redacted=True))
            return _Open(raw, part, DeltaKind.THINKING, state={"data": text(said.data)})
        if kind == "tool_use" or kind in _CALLS:
            return self._calling(raw, said, kind)
        if kind == "fallback":
            self.model = text(mapping(said.to).get("model")) or self.model
        kept = wire.read_object(raw)
        return _Open(raw, self.start(Text("")), block=kept)

    def _writing(
        self,
        raw: msgspec.Raw,
        content: Content,
        kind: DeltaKind,
        begun: Any,  # noqa: ANN401
        citations: list[Any] | None = None,
    ) -> _Open:
        block = _Open(raw, self.start(content), kind, kind, citations=list(citations or ()))
        self._append(block, kind, begun)
        return block

    def _calling(self, raw: msgspec.Raw, said: wire.Block, kind: str) -> _Open:
        arguments = DeltaKind.ARGUMENTS_JSON
        name = text(said.name)
        if kind == "tool_use" and name == self._format_tool and name:
            self.formatted = True
            return _Open(raw, self.start(Text("")), arguments, DeltaKind.TEXT, bytes(said.input))
        own = kind == "tool_use"
        # A call without an id could not be answered.
        call_id = text(said.id) or "_".join(
            filter(None, ("toolu", self.answer_id, str(self.count)))
        )
        part = self.start(ToolCall(call_id, name, server_side=not own))
        block = _Open(raw, part, arguments, arguments, bytes(said.input), own)
        self.calls += own
        fields = wire.read_object(raw)
        if not own:
            self.ran.append(name)
            fields.pop("input", None)
            block.state["call"] = fields
        elif beside := {key: fields[key] for key in fields if key not in _OF_A_CALL}:
            block.state["call"] = beside
        return block

    def _append(self, block: _Open, kind: DeltaKind, said: Any) -> None:  # noqa: ANN401
        if not said or type(said) is not str:
            return
        if block.takes is not kind or block.writes is None:
            raise ProviderProtocolError("the provider continued a block with another kind of text")
        if kind is DeltaKind.ARGUMENTS_JSON:
            block.pieces.append(said)
        block.length += len(said)
        self.add(block.part, block.writes, said)

    def _end_call(self, block: _Open) -> None:
        """Arguments that did not come in pieces came with the start; none are an empty object."""
        if not block.pieces:
            given = block.input.decode(errors="replace")
            self._append(block, DeltaKind.ARGUMENTS_JSON, "{}" if given in ("", "null") else given)
        if block.own_call and not _is_object(block.pieces):
            self.malformed = True

    def _issued(self, state: dict[str, Any]) -> ProviderState | None:
        return states.issue(self._kind, state) if state else None


def _index(said: Any) -> int | None:  # noqa: ANN401
    return said if type(said) is int else None


def _is_object(pieces: list[str]) -> bool:
    try:
        msgspec.json.decode("".join(pieces), type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return True


def _note(block: _Open, delta: wire.Delta, data: bytes) -> None:
    """Take what adds no text; a delta we do not know is kept as it is."""
    if delta.type == "signature_delta":
        block.state["signature"] = text(delta.signature)
    elif delta.type == "citations_delta":
        block.citations.append(delta.citation)
    elif stranger := wire.read_delta(data):
        block.strangers.append(stranger)


def _merge(block: dict[str, Any], texts: dict[str, list[str]], delta: dict[str, Any]) -> None:
    """Add a delta to a block that is kept: a compaction's replaces, any other's text appends."""
    appends = delta.pop("type", None) != "compaction_delta"
    for name, said in delta.items():
        before = block.get(name)
        if appends and type(said) is str and type(before) is str:
            texts.setdefault(name, [before]).append(said)
        else:
            texts.pop(name, None)
            block[name] = said
