"""Thinking as the vendors send it in pieces, keep it, and want it back."""

from typing import Any

from llm_service.domain.content import Thinking
from llm_service.providers.chat.dialect import Thoughts
from llm_service.providers.lenient import items, mapping, text

Json = dict[str, Any]

# The name of the state of a part of thinking; its value is what the text alone does not say.
STATE = "thinking"
_DETAILS = "details"
# Where the text of a piece of OpenRouter's `reasoning_details` grows.
_GROWS = {"reasoning.text": "text", "reasoning.summary": "summary"}


def put(form: Thoughts, thinking: Thinking, state: Json, shaped: Json, blocks: list[Json]) -> None:
    """Put a part of thinking into the assistant's message it was of."""
    more = mapping(state.get(STATE))
    if form is Thoughts.DETAILS:
        if details := items(more.get(_DETAILS)):
            shaped.setdefault("reasoning_details", []).extend(details)
        elif thinking.text:
            shaped["reasoning"] = shaped.get("reasoning", "") + thinking.text
    elif form is Thoughts.BLOCKS:
        inside = [{"type": "text", "text": thinking.text}]
        blocks.append({**more, "type": "thinking", "thinking": inside})
    else:
        shaped[form.value] = shaped.get(form.value, "") + thinking.text


def add_details(kept: Json, details: list[Any]) -> None:
    """Take pieces of `reasoning_details`: those of one index grow into one."""
    merged: list[Json] = kept.setdefault(_DETAILS, [])
    for piece in details:
        if type(piece) is not dict:
            continue
        last = merged[-1] if merged else None
        if last is not None and _goes_on(last, piece):
            _grow(last, piece)
        else:
            merged.append(dict(piece))


def text_of(details: list[Any]) -> str:
    """What may be read of the pieces."""
    return "".join(
        text(piece.get(_GROWS[piece["type"]]))
        for piece in details
        if type(piece) is dict and piece.get("type") in _GROWS
    )


def _goes_on(last: Json, piece: Json) -> bool:
    return (
        piece.get("type") in _GROWS
        and last.get("type") == piece.get("type")
        and last.get("index") == piece.get("index")
    )


def _grow(last: Json, piece: Json) -> None:
    grows = _GROWS[piece["type"]]
    grown = text(last.get(grows)) + text(piece.get(grows))
    last.update({name: value for name, value in piece.items() if value is not None})
    last[grows] = grown
