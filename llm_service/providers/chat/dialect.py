"""In what the vendors who speak Chat Completions differ."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind's variant.

    Attributes:
        kind: the provider kind; stamps provider state.
        system_role: the role that carries instructions: "system" or "developer".
        max_tokens_field: the body's name for `max_output_tokens`.
        include_usage: a stream tells usage only when asked; some vendors refuse to be asked.
        allowed_tools: takes a tool choice of several names; else only the tools named are sent.
    """

    kind: str
    system_role: str = "system"
    max_tokens_field: str = "max_tokens"
    include_usage: bool = True
    allowed_tools: bool = False
