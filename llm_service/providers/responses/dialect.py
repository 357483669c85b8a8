"""In what the vendors who speak the Responses API differ."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind's variant.

    Attributes:
        kind: the provider kind; stamps provider state.
        allowed_tools: takes a tool choice of several names; else only the tools named are sent.
        breakpoints: takes marks of where to cache, for the models that have them.
        vocabulary: its models' tokens are those of OpenAI's vocabularies.
    """

    kind: str
    allowed_tools: bool = True
    breakpoints: bool = True
    vocabulary: bool = True
