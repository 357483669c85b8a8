"""What a call costs: prices in integer nano-USD per million units, rounded once per attempt."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec

from llm_service.domain.completion import Cost, CostItem, TokenUsage
from llm_service.domain.content import Modality
from llm_service.domain.provider import Model, Price, PriceItem

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice

MILLION = 1_000_000
MOST_NANO_USD = 2**63 - 1
"""The most that the contract, the journal and the database hold: more is not told apart."""
_NANO = 1_000_000_000

# Our kinds as genai-prices spells them. A kind that is not here has no public price list.
_VENDORS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "bedrock": "aws",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "together": "together",
    "xai": "x-ai",
}
_METERS = {
    "input_mtok": "input-tokens",
    "output_mtok": "output-tokens",
    "cache_read_mtok": "cache-read-input-tokens",
    "cache_write_mtok": "cache-write-input-tokens",
    "cache_write_1h_mtok": "cache-write-1h-input-tokens",
    "input_audio_mtok": "input-audio-tokens",
    "output_audio_mtok": "output-audio-tokens",
    "input_image_mtok": "input-image-tokens",
    "output_image_mtok": "output-image-tokens",
    "input_video_mtok": "input-video-tokens",
    "output_video_mtok": "output-video-tokens",
    "web_searches_kcount": "web-search",
    "storage_searches_kcount": "file-search",
}
# What the list says per thousand; all else is per million.
_PER_THOUSAND = "_kcount"
# Tools that cost nothing but the tokens they bring, of which the list says nothing. Anthropic: "no
# additional charges" (platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool).
_FREE = {"anthropic": (PriceItem("web-fetch", 0),)}
# What may have a price of its own beside text.
_MODALITIES = (Modality.AUDIO, Modality.IMAGE, Modality.VIDEO)
# What a request may say, in its vendor's words, that changes its price, as genai-prices spells it.
_PRICED_OPTIONS = {"service_tier": "service_tier", "serviceTier": "service_tier", "speed": "speed"}
# A subset without a price of its own is charged as the total it is part of. Writes kept for an hour
# are not here: they cost more than other writes, and nobody knows how much.
_CHARGED_AS = {
    "cache-read-input-tokens": "input-tokens",
    "cache-write-input-tokens": "input-tokens",
    **{f"input-{one}-tokens": "input-tokens" for one in _MODALITIES},
    **{f"output-{one}-tokens": "output-tokens" for one in _MODALITIES},
}


def has_public_prices(kind: str) -> bool:
    return kind in _VENDORS


def needs_loading(kind: str) -> bool:
    """Looking up this kind's prices would block: `load` was not called yet."""
    return kind in _VENDORS and load.cache_info().currsize == 0


def estimate(price: Price | None, input_tokens: int, output_tokens: int | None) -> int | None:
    """Nano-USD for so many tokens; None when the price or the output is unknown."""
    if price is None or output_tokens is None:
        return None
    cost = cost_of(TokenUsage(input_tokens, output_tokens), price)
    return None if cost.incomplete else cost.total_nano_usd


def price_of(
    kind: str,
    model: Model,
    when: datetime,
    options_json: str = "",
    override: Price | None = None,
) -> Price | None:
    """The override or else the model's own price, of that time; else the public list's of it.

    None is "unknown", never "free". `options_json` is the call's `provider_options_json` for the
    kind: a service tier or a speed asked for there has its own price in the public list. The first
    look-up of a public price loads the list, which blocks for about a second: call `load` in a
    thread before.
    """
    if (own := own_price(model, when, override)) is not None:
        return own
    vendor = _VENDORS.get(kind)
    return _public_price(vendor, model.provider_model, when, options_json) if vendor else None


def own_price(model: Model, when: datetime, override: Price | None = None) -> Price | None:
    """What somebody here has set: the override, else the model's; None: nothing that holds then."""
    if override is not None and override.begins <= when:
        return override
    return model.price_at(when)


@cache
def load() -> "DataSnapshot":
    """Read the public price list into memory (about 30 MB, so only services that need it do)."""
    from genai_prices import data_snapshot

    return data_snapshot.get_snapshot()


@lru_cache(maxsize=4096)
def _public_model(vendor: str, provider_model: str) -> "ModelInfo | None":
    # Google's names may have a path before them, which the list does not know.
    name = provider_model.rpartition("/")[2] if vendor == "google" else provider_model
    try:
        return load().find_provider_model(name, None, vendor, None)[1]
    except LookupError:
        return None


def _public_price(
    vendor: str, provider_model: str, when: datetime, options_json: str
) -> Price | None:
    model = _public_model(vendor, provider_model)
    if model is None:
        return None
    asked = _priced_options(options_json)
    if asked:
        return _price(vendor, model.get_prices(when, asked))
    # Some vendors' prices depend on the time of day, so the list is asked each time.
    return _converted(vendor, model.get_prices(when))


def _priced_options(options_json: str) -> dict[str, str]:
    """What the caller asked for that the list may have another price for."""
    if not options_json:
        return {}
    try:
        said = msgspec.json.decode(options_json, type=dict[str, Any])
    except (ValueError, RecursionError):  # the adapter refuses the call
        return {}
    return {
        _PRICED_OPTIONS[name]: value
        for name, value in said.items()
        if name in _PRICED_OPTIONS and isinstance(value, str)
    }


_prices: dict[int, tuple[object, Price]] = {}


def _converted(vendor: str, prices: "ModelPrice") -> Price:
    # By identity, keeping the object alive: the list's objects are not hashable.
    known = _prices.get(id(prices))
    if known is None:
        known = prices, _price(vendor, prices)
        _prices[id(prices)] = known
    return known[1]


def _price(vendor: str, prices: "ModelPrice") -> Price:
    return Price(_list_version(), (*_items(vars(prices)), *_FREE.get(vendor, ())))


@cache
def _list_version() -> str:
    return f"genai-prices/{metadata.version('genai-prices')}"


def _items(prices: Mapping[str, Any]) -> Iterable[PriceItem]:
    for name, price in prices.items():
        meter = _METERS.get(name)
        if meter is None or price is None:
            continue
        nano = _NANO * 1000 if name.endswith(_PER_THOUSAND) else _NANO
        if isinstance(price, Decimal):
            yield PriceItem(meter, _whole(price * nano))
            continue
        yield PriceItem(meter, _whole(price.base * nano))
        for tier in price.tiers:
            # The list's tiers begin above their start; ours begin at it.
            yield PriceItem(meter, _whole(tier.price * nano), tier.start + 1)


def _whole(nano: Decimal) -> int:
    return int(nano.to_integral_value())


def cost_of(usage: TokenUsage, price: Price | None) -> Cost:
    """Charge each disjoint bucket of tokens once, and each tool use; the items add up to the total.

    A meter without a price makes the cost `incomplete`; an unknown price makes all of it so.
    """
    quantities = _buckets(usage)
    if price is None:
        unknown = Cost(0, estimated=usage.estimated, incomplete=True)
        return replace(unknown, reported_nano_usd=usage.reported_nano_usd)
    rates = _rates(price, usage.input_tokens)
    charged: dict[str, int] = {}
    incomplete = False
    for meter, quantity in quantities.items():
        own = meter if meter in rates else _CHARGED_AS.get(meter, meter)
        if own not in rates:
            incomplete = incomplete or quantity > 0
        elif quantity:
            charged[own] = charged.get(own, 0) + quantity
    if "request" in rates:
        charged["request"] = 1
    total, items = _round(charged, rates, price.version)
    said = usage.reported_nano_usd
    return Cost(
        total, items, price.version, usage.estimated, incomplete, said, price.effective_time
    )


def _buckets(usage: TokenUsage) -> dict[str, int]:
    cached = usage.cache_read_input_tokens + usage.cache_write_input_tokens
    kept_1h = min(usage.cache_write_1h_input_tokens, usage.cache_write_input_tokens)
    # Cached sound is counted by vendors in both subsets; it is charged as cached.
    fresh = max(0, usage.input_tokens - cached)
    written = usage.output_tokens
    buckets = {
        "cache-read-input-tokens": usage.cache_read_input_tokens,
        "cache-write-input-tokens": usage.cache_write_input_tokens - kept_1h,
        "cache-write-1h-input-tokens": kept_1h,
    }
    for tokens in usage.modality_tokens:
        if tokens.modality in _MODALITIES:
            taken, given = min(tokens.input_tokens, fresh), min(tokens.output_tokens, written)
            fresh, written = fresh - taken, written - given
            for meter, some in (
                (f"input-{tokens.modality}-tokens", taken),
                (f"output-{tokens.modality}-tokens", given),
            ):
                buckets[meter] = buckets.get(meter, 0) + some
    for use in usage.provider_tool_uses:
        buckets[use.meter] = buckets.get(use.meter, 0) + use.count
    return {"input-tokens": fresh, **buckets, "output-tokens": written}


def _rates(price: Price, input_tokens: int) -> dict[str, int]:
    """Nano-USD per million by meter: of each meter's tiers, the highest the request reaches."""
    rates: dict[str, int] = {}
    for item in sorted(price.items, key=lambda item: item.min_input_tokens):
        if input_tokens >= item.min_input_tokens:
            rates[item.meter] = item.nano_usd_per_million
    return rates


def _round(
    charged: Mapping[str, int], rates: Mapping[str, int], version: str
) -> tuple[int, tuple[CostItem, ...]]:
    exact = {meter: quantity * rates[meter] for meter, quantity in charged.items()}
    total = round_half_even(sum(exact.values()))
    floors = {meter: amount // MILLION for meter, amount in exact.items()}
    missing = total - sum(floors.values())
    # The largest remainders take what rounding the sum left over.
    for meter in sorted(exact, key=lambda meter: exact[meter] % MILLION, reverse=True)[:missing]:
        floors[meter] += 1
    items = tuple(
        CostItem(meter, charged[meter], min(floors[meter], MOST_NANO_USD), version)
        for meter in charged
    )
    return min(total, MOST_NANO_USD), items


def round_half_even(millionths: int) -> int:
    """Millionths of a unit as whole units, ties to the even neighbour."""
    whole, rest = divmod(millionths, MILLION)
    if rest * 2 > MILLION or (rest * 2 == MILLION and whole % 2):
        whole += 1
    return whole
