"""Token counts as the Responses API reports them."""

from typing import Any

from llm_service.domain.completion import TokenUsage
from llm_service.providers.lenient import MOST_TOKENS, count, mapping, subset


def token_usage(said: Any) -> TokenUsage | None:  # noqa: ANN401 - as it lies on the wire
    """Inclusive totals and their subsets; None when nothing believable was said."""
    if type(said) is not dict:
        return None
    asked, answered = count(said.get("input_tokens")), count(said.get("output_tokens"))
    if asked is None or answered is None:
        return None
    of_input = mapping(said.get("input_tokens_details"))
    of_output = mapping(said.get("output_tokens_details"))
    reasoning = count(of_output.get("reasoning_tokens")) or 0
    if _is_left_out(reasoning, asked, answered, said.get("total_tokens")):
        answered += reasoning
    return TokenUsage(
        input_tokens=asked,
        output_tokens=answered,
        cache_read_input_tokens=subset(asked, of_input.get("cached_tokens")),
        cache_write_input_tokens=subset(asked, of_input.get("cache_write_tokens")),
        reasoning_output_tokens=subset(answered, reasoning),
    )


def _is_left_out(reasoning: int, asked: int, answered: int, total: Any) -> bool:  # noqa: ANN401
    """Whether the output lacks the reasoning, as only the total tells."""
    if not reasoning or answered + reasoning > MOST_TOKENS:
        return False
    return reasoning > answered or count(total) == asked + answered + reasoning
