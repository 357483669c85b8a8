"""What several attempts used and cost together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from llm_service.domain.completion import (
    Attempt,
    Cost,
    CostItem,
    FailedCompletion,
    ModalityTokens,
    TokenUsage,
)
from llm_service.domain.content import Modality, ProviderToolUse
from llm_service.gateway.pricing import MOST_NANO_USD
from llm_service.providers.lenient import MOST_TOKENS

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
)


def sum_usage(usages: Sequence[TokenUsage]) -> TokenUsage:
    """At most what the contract holds of each, whatever vendors claim."""
    counts = {name: min(sum(getattr(u, name) for u in usages), MOST_TOKENS) for name in _COUNTS}
    modalities: dict[Modality, ModalityTokens] = {}
    for one in (tokens for usage in usages for tokens in usage.modality_tokens):
        so_far = modalities.get(one.modality, ModalityTokens(one.modality))
        modalities[one.modality] = ModalityTokens(
            one.modality,
            min(so_far.input_tokens + one.input_tokens, MOST_TOKENS),
            min(so_far.output_tokens + one.output_tokens, MOST_TOKENS),
        )
    tools: Counter[str] = Counter()
    for use in (use for usage in usages for use in usage.provider_tool_uses):
        tools[use.meter] += use.count
    return TokenUsage(
        **counts,
        modality_tokens=tuple(modalities.values()),
        estimated=any(u.estimated for u in usages),
        provider_tool_uses=tuple(
            ProviderToolUse(meter, min(count, MOST_TOKENS)) for meter, count in tools.items()
        ),
    )


def total_cost(attempts: Sequence[Attempt]) -> Cost:
    """Of a call that was served, failed attempts included; the version is of its last price."""
    costs = [a.cost for a in attempts if a.cost is not None]
    return costs[0] if len(costs) == 1 else sum_cost(costs)


def sum_cost(costs: Sequence[Cost]) -> Cost:
    """Item by item; the version is of the last price."""
    priced = next((cost for cost in reversed(costs) if cost.price_version), None)
    reported = [cost.reported_nano_usd for cost in costs]
    items: dict[tuple[str, str], CostItem] = {}
    for item in (item for cost in costs for item in cost.items):
        key = item.meter, item.price_version
        so_far = items.get(key, replace(item, quantity=0, nano_usd=0))
        items[key] = replace(
            item,
            quantity=so_far.quantity + item.quantity,
            nano_usd=min(so_far.nano_usd + item.nano_usd, MOST_NANO_USD),
        )
    return Cost(
        min(sum(c.total_nano_usd for c in costs), MOST_NANO_USD),
        tuple(items.values()),
        price_version=priced.price_version if priced else "",
        estimated=any(c.estimated for c in costs),
        incomplete=any(c.incomplete for c in costs),
        reported_nano_usd=None if None in reported else sum(filter(None, reported)),
        price_effective_time=priced.price_effective_time if priced else None,
    )


def summed(
    completion_id: str, attempts: Sequence[Attempt], *, content_sent: bool, dials: int
) -> FailedCompletion:
    """What is known of a call that has no answer for its caller, after `dials` of a provider."""
    usages = [a.usage for a in attempts if a.usage is not None]
    costs = [a.cost for a in attempts if a.cost is not None]
    return FailedCompletion(
        completion_id,
        tuple(attempts),
        sum_usage(usages) if usages else None,
        sum_cost(costs) if costs else None,
        content_sent,
        dials,
    )
