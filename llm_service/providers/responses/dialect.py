"""In what the vendors who speak the Responses API differ."""

from collections.abc import Callable
from dataclasses import dataclass

from llm_service.domain.completion import Effort


def _as_it_is(effort: Effort, model: str) -> str:  # noqa: ARG001
    return effort.value


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind's variant.

    Attributes:
        kind: the provider kind; stamps provider state.
        allowed_tools: takes a tool choice of several names; else only the tools named are sent.
        breakpoints: takes marks of where to cache, for the models that have them.
        vocabulary: its models' tokens are those of OpenAI's vocabularies.
        effort: its word for how hard a model is to think.
        logprobs_flag: probabilities are asked for by a flag; else by naming what to include.
    """

    kind: str
    allowed_tools: bool = True
    breakpoints: bool = True
    vocabulary: bool = True
    effort: Callable[[Effort, str], str] = _as_it_is
    logprobs_flag: bool = False
