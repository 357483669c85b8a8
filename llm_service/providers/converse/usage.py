"""Token counts as Converse reports them."""

from collections.abc import Sequence
from typing import Any

from llm_service.domain.completion import TokenUsage
from llm_service.providers import tool_uses
from llm_service.providers.lenient import MOST_TOKENS, count, items, mapping, subset

_AN_HOUR = frozenset({"1h", "T1H"})


def token_usage(said: Any, ran: Sequence[str] = ()) -> TokenUsage | None:  # noqa: ANN401
    """Inclusive totals and their subsets; None when nothing believable was said.

    Converse leaves what was read from the cache and written to it out of its input tokens. `ran`:
    the names of the tools it ran itself, which count where it does not say how often it did.
    """
    usage = mapping(said)
    fresh = count(usage.get("inputTokens"))
    output = count(usage.get("outputTokens"))
    if fresh is None or output is None:
        return None
    read = _cached(usage, "cacheReadInputTokens")
    written = _cached(usage, "cacheWriteInputTokens")
    if fresh + read + written > MOST_TOKENS:
        read = written = 0
    return TokenUsage(
        input_tokens=fresh + read + written,
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        cache_write_1h_input_tokens=subset(written, _for_an_hour(usage)),
        provider_tool_uses=tool_uses.uses(
            tool_uses.reported(mapping(usage.get("serverToolUsage"))) or tool_uses.seen(ran)
        ),
    )


def _cached(usage: dict[str, Any], name: str) -> int:
    for said in (usage.get(name), usage.get(f"{name.removesuffix('s')}Count")):
        if (number := count(said)) is not None:
            return number
    return 0


def _for_an_hour(usage: dict[str, Any]) -> int:
    details = (mapping(detail) for detail in items(usage.get("cacheDetails")))
    return sum(
        count(detail.get("inputTokens")) or 0 for detail in details if detail.get("ttl") in _AN_HOUR
    )
