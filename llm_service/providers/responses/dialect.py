"""In what the vendors who speak the Responses API differ."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind's variant.

    Attributes:
        kind: the provider kind; stamps provider state.
        allowed_tools: takes a tool choice of several names; else only the tools named are sent.
        breakpoints: takes marks of where to cache, for the models that have them.
        seals_reasoning: gives reasoning encrypted, so that it can come back without being stored.
        vocabulary: its models' tokens are those of OpenAI's vocabularies.
    """

    kind: str
    allowed_tools: bool = True
    breakpoints: bool = True
    seals_reasoning: bool = True
    vocabulary: bool = True
