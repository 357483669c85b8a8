"""The tokens themselves, where a vendor shows them beside the text they make.

Fireworks and vLLM list those of each piece when asked (`return_token_ids`) and, once, those of what
went in; a piece may hold several, and text may come later than its tokens. Together has one id in a
piece that is a token.
"""

from typing import Any

import msgspec

from llm_service.domain.content import Media
from llm_service.providers.base import Accepted, Call, TokensShown
from llm_service.providers.chat import wire
from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.vendor import Reply

_OF_NUMBERS = b"0123456789, \t\r\n"


class ShowingDecoder(ChatDecoder):
    """Reads a stream that may show its tokens, and counts them."""

    __slots__ = ("_one_each", "_reads_input", "_shown")

    def __init__(self, kind: str, reply: Reply, *, reads_input: bool, **more: Any) -> None:  # noqa: ANN401
        """Start an answer, as `ChatDecoder`.

        `reads_input`: what is shown of what went in is what is billed.
        """
        super().__init__(kind, reply, **more)
        self._reads_input = reads_input
        self._shown = TokensShown()
        self._one_each = False  # Together: it has shown an id

    def _accept(self) -> None:
        super()._accept()
        accepted = self._parts.events[-1]
        if isinstance(accepted, Accepted):
            accepted.shown = self._shown

    def _take(self, chunk: wire.Chunk, data: bytes) -> None:
        if chunk.prompt_token_ids:
            self._take_input(chunk.prompt_token_ids)
        super()._take(chunk, data)

    def _take_input(self, ids: msgspec.Raw) -> None:
        if self._reads_input:
            self._shown.input_tokens = how_many(ids) or self._shown.input_tokens

    def _take_choice(self, choice: wire.Choice) -> None:
        super()._take_choice(choice)
        if type(choice.index) is int and choice.index != self._choice:
            return
        if choice.prompt_token_ids:
            self._take_input(choice.prompt_token_ids)
        if choice.delta is not None and self._shown.complete:
            self._count_shown(choice, choice.delta)

    def _count_shown(self, choice: wire.Choice, delta: wire.Delta) -> None:
        shown = self._shown
        tokens = how_many(choice.token_ids) if choice.token_ids else None
        if tokens is None:
            tokens = self._of_one(delta)
        if tokens is None:
            shown.complete = False
        else:
            shown.output_tokens += tokens

    def _of_one(self, delta: wire.Delta) -> int | None:
        """The tokens of a piece without a list of them; None: it does not say."""
        if delta.tool_calls or delta.function_call is not None:
            return None
        if type(delta.token_id) is int and delta.token_id >= 0:
            self._one_each = True
            return 1
        if not (delta.content or delta.reasoning or delta.reasoning_content or delta.refusal):
            return 0
        # A token that was guessed ahead has no id; the first of an answer never is.
        return 1 if self._one_each else None


def how_many(ids: msgspec.Raw) -> int | None:
    """How long a list of ids is; None: it is anything else, if JSON. Nothing is made of it."""
    said = bytes(ids)
    if said.translate(None, _OF_NUMBERS) != b"[]":
        return None
    return said.count(b",") + 1 if said.strip(b"[] \t\r\n") else 0


def is_asked(call: Call) -> bool:
    """Whether the model's options may have its server list them: not all that can are of a kind."""
    return "return_token_ids" in call.options_json


def is_text(call: Call) -> bool:
    """Whether what went in is text alone: what stands for media is not said to be what it costs."""
    messages = call.request.messages
    return not any(isinstance(part.content, Media) for said in messages for part in said.parts)
