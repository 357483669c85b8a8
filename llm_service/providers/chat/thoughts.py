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


class Details:
    """The pieces of `reasoning_details` of one part: those of one index grow into one."""

    __slots__ = ("_grown", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[Json] = []
        self._grown: list[list[str]] = []  # the text of each, in the bits it came in

    def add(self, details: list[Any]) -> None:
        for piece in details:
            if type(piece) is not dict:
                continue
            grown = text(piece.get(_grows(piece)))
            if self._pieces and _goes_on(self._pieces[-1], piece):
                self._pieces[-1].update({k: v for k, v in piece.items() if v is not None})
                self._grown[-1].append(grown)
            else:
                self._pieces.append(dict(piece))
                self._grown.append([grown])

    def state(self) -> Json:
        """What a part's state keeps of them."""
        whole = [
            {**piece, _grows(piece): "".join(grown)} if len(grown) > 1 else piece
            for piece, grown in zip(self._pieces, self._grown, strict=True)
        ]
        return {_DETAILS: whole} if whole else {}


def text_of(details: list[Any]) -> str:
    """What may be read of the pieces."""
    return "".join(text(piece.get(_grows(piece))) for piece in details if type(piece) is dict)


def _goes_on(last: Json, piece: Json) -> bool:
    return (
        _grows(piece) != ""
        and last.get("type") == piece.get("type")
        and last.get("index") == piece.get("index")
    )


def _grows(piece: Json) -> str:
    """The field in which the piece's text grows; "": it does not."""
    return _GROWS.get(text(piece.get("type")), "")
