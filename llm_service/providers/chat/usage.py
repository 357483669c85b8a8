"""Token counts as Chat Completions vendors report them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llm_service.domain.completion import ModalityTokens, TokenUsage
from llm_service.domain.content import Modality, ProviderToolUse
from llm_service.providers import reported_cost, tool_uses
from llm_service.providers.lenient import MOST_TOKENS, count, mapping, subset, text

_MODALITIES = (
    ("text_tokens", Modality.TEXT),
    ("audio_tokens", Modality.AUDIO),
    ("image_tokens", Modality.IMAGE),
)


# What some say beside their objects of counts: xAI's live search by its sources, Perplexity.
_COUNTS = (("num_sources_used", "search-source"), ("num_search_queries", "web-search"))
# OpenAI's models that search the web whatever they are asked.
_SEARCHING = re.compile(r"gpt-[\w.-]*-search-(preview|api)")


def token_usage(said: Any, data: bytes = b"") -> TokenUsage | None:  # noqa: ANN401 - as it lies
    """Inclusive totals and their subsets; None when nothing believable was said.

    `data`: what it is the `usage` of, for fractions to be read exactly.
    """
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
        provider_tool_uses=_tool_uses(said),
        reported_nano_usd=reported_cost.nano_usd(said, data),
    )


def with_tools_seen(
    usage: TokenUsage | None, executed: Sequence[Any], model: str
) -> TokenUsage | None:
    """The usage with what was run and is charged, where the vendor does not count it.

    Args:
        usage: as told; None: it was not.
        executed: what Groq tells of the tools it ran, a tool perhaps more than once.
        model: that answered; some of OpenAI's search for every answer.
    """
    if usage is None or usage.provider_tool_uses:
        return usage
    if not executed and not _SEARCHING.search(model):
        return usage
    ran = {
        tool["index"] if type(tool.get("index")) is int else f"{number}th": _tool_name(tool)
        for number, tool in enumerate(map(mapping, executed))
    }
    counts = tool_uses.seen(ran.values())
    if _SEARCHING.search(model):
        counts.setdefault("web-search", 1)
    if not counts:
        return usage
    return replace(usage, provider_tool_uses=tool_uses.uses(counts))


def _tool_name(tool: dict[str, Any]) -> str:
    kind = text(tool.get("type"))
    return text(tool.get("name")) or kind if kind == "function" else kind


def _tool_uses(said: dict[str, Any]) -> tuple[ProviderToolUse, ...]:
    reported = (
        mapping(said.get("server_side_tool_usage_details"))  # xAI
        or mapping(said.get("server_tool_use"))  # OpenRouter, gateways before Anthropic
    )
    counts = tool_uses.reported(reported) if reported else {}
    counts.pop("mcp", None)  # costs its tokens alone
    for name, meter in _COUNTS:
        if said.get(name) is not None:
            counts.setdefault(meter, count(said[name]) or 0)
    return tool_uses.uses(counts) if counts else ()


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
    if not asked and not answered:
        return ()
    counts = (
        (modality, subset(prompt, asked.get(name)), subset(completion, answered.get(name)))
        for name, modality in _MODALITIES
    )
    return tuple(ModalityTokens(*tokens) for tokens in counts if tokens[1] or tokens[2])
