"""The tokens themselves, where a vendor shows them beside the text they make.

Fireworks and vLLM list those of each piece when asked (`return_token_ids`) and, once, those of what
went in; a piece may hold several, and text may come later than its tokens. Together has one id in a
piece that is a token.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from llm_service.domain.content import Media, Part, ToolResult
from llm_service.providers.base import Accepted, Call, TokensShown
from llm_service.providers.chat import wire
from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.vendor import Reply

# What is not a token a piece, or is billed with what is not shown.
_OF_ANY_SIZE = (
    *("tool_calls", "function_call", "reasoning_details"),
    *("annotations", "audio", "images", "executed_tools"),
)
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
        if self._choice is None or type(choice.index) is not int or choice.index == self._choice:
            self._count_shown(choice)  # before it is read, which may end in the error it tells
        super()._take_choice(choice)

    def _count_shown(self, choice: wire.Choice) -> None:
        if choice.prompt_token_ids:
            self._take_input(choice.prompt_token_ids)
        shown = self._shown
        delta = choice.delta or (None if self.has_content else choice.message)
        if delta is None or not shown.complete:
            return
        tokens = how_many(choice.token_ids) if choice.token_ids else None
        if tokens is None:
            tokens = self._of_one(delta)
        if tokens is None:
            shown.complete = False
        else:
            shown.output_tokens += tokens

    def _of_one(self, delta: wire.Delta) -> int | None:
        """The tokens of a piece without a list of them; None: it does not say."""
        if any(getattr(delta, name) for name in _OF_ANY_SIZE):
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


def may_show(dialect: Dialect, call: Call) -> bool:
    """Whether tokens are to be looked for: some servers of a kind have them, when asked."""
    asked = dialect.shows_tokens_if_asked and "return_token_ids" in call.options_json
    return dialect.shows_tokens or asked


def is_text(call: Call) -> bool:
    """Whether what went in is text alone: what stands for media is not said to be what it costs."""
    return not any(_has_media(said.parts) for said in call.request.messages)


def _has_media(parts: Iterable[Part]) -> bool:
    return any(
        isinstance(part.content, Media)
        or (isinstance(part.content, ToolResult) and _has_media(part.content.content))
        for part in parts
    )
