"""Token counts as Chat Completions vendors report them."""

from typing import Any

from llm_service.domain.completion import ModalityTokens, TokenUsage
from llm_service.domain.content import Modality
from llm_service.providers.lenient import MOST_TOKENS, count, subset

_MODALITIES = (
    ("text_tokens", Modality.TEXT),
    ("audio_tokens", Modality.AUDIO),
    ("image_tokens", Modality.IMAGE),
)


def token_usage(said: Any) -> TokenUsage | None:  # noqa: ANN401 - as it lies on the wire
    """Inclusive totals and their subsets; None when nothing believable was said."""
    if type(said) is not dict:
        return None
    prompt = count(said.get("prompt_tokens"))
    completion = count(said.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    asked = _details(said, "prompt_tokens_details")
    answered = _details(said, "completion_tokens_details")
    reasoning = count(answered.get("reasoning_tokens")) or 0
    if _is_left_out(reasoning, prompt, completion, said.get("total_tokens")):
        completion += reasoning
    return TokenUsage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_input_tokens=subset(prompt, _cached(said, asked)),
        cache_write_input_tokens=subset(prompt, _written(said, asked)),
        reasoning_output_tokens=subset(completion, reasoning),
        modality_tokens=_modalities(prompt, asked, completion, answered),
    )


def _is_left_out(reasoning: int, prompt: int, completion: int, total: Any) -> bool:  # noqa: ANN401
    """Whether `completion` lacks the reasoning; xAI leaves it out, and bills it as output."""
    if not reasoning or completion + reasoning > MOST_TOKENS:
        return False
    return reasoning > completion or count(total) == prompt + completion + reasoning


def _details(said: dict[str, Any], name: str) -> dict[str, Any]:
    details = said.get(name)
    return details if type(details) is dict else {}


def _cached(said: dict[str, Any], asked: dict[str, Any]) -> Any:  # noqa: ANN401
    for where, name in (
        (asked, "cached_tokens"),
        (said, "prompt_cache_hit_tokens"),  # DeepSeek
        (said, "cached_tokens"),  # Moonshot, Together
        (said, "num_cached_tokens"),  # Mistral
    ):
        if where.get(name) is not None:
            return where[name]
    return None


def _written(said: dict[str, Any], asked: dict[str, Any]) -> Any:  # noqa: ANN401
    for where, name in (
        (asked, "cache_write_tokens"),  # OpenRouter
        (asked, "cache_creation_tokens"),  # gateways before Anthropic
        (said, "cache_creation_input_tokens"),
    ):
        if where.get(name) is not None:
            return where[name]
    return None


def _modalities(
    prompt: int, asked: dict[str, Any], completion: int, answered: dict[str, Any]
) -> tuple[ModalityTokens, ...]:
    counts = (
        (modality, subset(prompt, asked.get(name)), subset(completion, answered.get(name)))
        for name, modality in _MODALITIES
    )
    return tuple(ModalityTokens(*tokens) for tokens in counts if tokens[1] or tokens[2])
