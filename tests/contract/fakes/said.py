"""What a fake vendor is told to say, in terms every vendor has."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from llm_service.catalog import tokenizers

_OWN_TOKEN = re.compile(r"\s?\S{1,3}|\s")


class Finish(StrEnum):
    """Why the fake's model stops."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"


@dataclass(frozen=True)
class Call:
    """A tool call. The fake streams `arguments` in at least three pieces if it is long enough."""

    id: str
    name: str
    arguments: str = "{}"


@dataclass(frozen=True)
class Tokens:
    """What the fake reports: inclusive totals and subsets, said in the vendor's way."""

    input: int = 11
    output: int = 7
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Said:
    """A scripted answer. Empty fields are not said.

    `thinking` comes first, with the vendor's form of `signature` where it has one; then `text`, in
    `pieces` pieces when streamed, 0 for a piece a token; then `calls`; `refusal` instead of text.
    """

    text: str = ""
    thinking: str = ""
    signature: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    finish: Finish = Finish.STOP
    tokens: Tokens = field(default_factory=Tokens)
    model: str = "served-model"
    pieces: int = 3


def own_tokens(text: str) -> int:
    """How many tokens a text is by a vocabulary that is nobody's else: of three letters at most."""
    return len(_OWN_TOKEN.findall(text))


def cut(text: str, pieces: int) -> list[str]:
    """The text in so many pieces, none empty; 0: in tokens, of OpenAI's vocabulary."""
    if pieces == 0:
        encoding = tokenizers.load("o200k_base")
        return [encoding.decode([token]) for token in encoding.encode_ordinary(text)]
    size = max(1, -(-len(text) // pieces))
    return [text[at : at + size] for at in range(0, len(text), size)]
