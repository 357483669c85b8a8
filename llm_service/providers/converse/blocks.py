"""The blocks of a Converse answer, as they are streamed and as they come whole."""

from collections.abc import Callable
from typing import Any

import msgspec

from llm_service.providers.converse import wire
from llm_service.providers.converse.parts import Parts
from llm_service.providers.lenient import items, mapping, text

_HIGHEST = 2**31 - 1


def index_of(said: dict[str, Any]) -> int:
    """Where a streamed block stands; a vendor that does not say has but one."""
    index = said.get("contentBlockIndex")
    return index if type(index) is int and 0 <= index <= _HIGHEST else 0


def take_start(parts: Parts, said: dict[str, Any]) -> None:
    """A block begins. Of text and thinking the first piece tells as much."""
    index = index_of(said)
    for name, start in mapping(said.get("start")).items():
        match name:
            case "toolUse":
                parts.call(index, mapping(start))
            case "toolResult":
                parts.result(index, mapping(start))
            case "image":
                parts.image(index, mapping(start))
            case _ if type(start) is dict:
                parts.opaque(index, {name: start})


def take_delta(parts: Parts, said: dict[str, Any]) -> None:
    """A block grows."""
    index = index_of(said)
    for name, delta in mapping(said.get("delta")).items():
        if (take := _DELTAS.get(name)) is not None:
            take(parts, index, delta)
        elif type(delta) in (dict, list):
            parts.opaque(index, {name: delta})


def take_whole(parts: Parts, index: int, block: dict[str, msgspec.Raw]) -> None:
    """A block of an answer that came in one piece."""
    for name, raw in block.items():
        if name == "toolUse":
            _whole_call(parts, index, raw)
        elif (take := _WHOLE.get(name)) is not None:
            take(parts, index, wire.read(raw))
        elif name != "type":  # some models name the kind of a block a second time
            parts.opaque(index, {name: wire.read(raw)})
    parts.stop(index)


def _whole_call(parts: Parts, index: int, raw: msgspec.Raw) -> None:
    said = wire.read_tool_use(raw)
    parts.call(index, {"toolUseId": said.toolUseId, "name": said.name, "type": said.type})
    parts.arguments(index, wire.exact(said.input))


def _text(parts: Parts, index: int, said: Any) -> None:  # noqa: ANN401 - as it lies on the wire
    parts.text(index, text(said))


def _arguments(parts: Parts, index: int, said: Any) -> None:  # noqa: ANN401
    parts.arguments(index, text(mapping(said).get("input")))


def _thinking(parts: Parts, index: int, said: Any) -> None:  # noqa: ANN401
    """A piece, or the whole of it one level down."""
    piece = mapping(said)
    whole = mapping(piece.get("reasoningText"))
    parts.thinking(index, text(whole.get("text")) or text(piece.get("text")))
    parts.sign(index, text(whole.get("signature")) or text(piece.get("signature")))
    if redacted := text(piece.get("redactedContent")):
        parts.redacted(index, redacted)


def _cited(parts: Parts, index: int, said: Any) -> None:  # noqa: ANN401
    for piece in items(mapping(said).get("content")):
        parts.text(index, text(mapping(piece).get("text")))
    for cited in items(mapping(said).get("citations")):
        parts.cite(index, mapping(cited))


def _citation(parts: Parts, index: int, said: Any) -> None:  # noqa: ANN401
    parts.cite(index, mapping(said))


def _result(parts: Parts, index: int, said: Any) -> None:  # noqa: ANN401
    parts.result(index, mapping(said) or items(said))


def _image(parts: Parts, index: int, said: Any) -> None:  # noqa: ANN401
    parts.image(index, mapping(said))


_Take = Callable[[Parts, int, Any], None]
_WHOLE: dict[str, _Take] = {
    "text": _text,
    "reasoningContent": _thinking,
    "citationsContent": _cited,
    "toolResult": _result,
    "image": _image,
}
_DELTAS: dict[str, _Take] = {
    "text": _text,
    "toolUse": _arguments,
    "reasoningContent": _thinking,
    "citation": _citation,
    "toolResult": _result,
    "image": _image,
}
