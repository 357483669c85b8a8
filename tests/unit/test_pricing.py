"""Money is exact, rounded once, and never nothing for want of a price."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import ProviderToolUse
from llm_service.domain.provider import Price, PriceItem
from llm_service.gateway import pricing
from llm_service.gateway.admin.rules import INT64_MAX, MAX_TOKEN_PRICE
from llm_service.gateway.totals import sum_cost
from tests.fakes import a_model, a_provider

PRICE = Price(
    "v1",
    (
        PriceItem("input-tokens", 150_000_000),
        PriceItem("cache-read-input-tokens", 75_000_000),
        PriceItem("output-tokens", 600_000_000),
    ),
)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_each_disjoint_bucket_is_charged_once():
    usage = TokenUsage(100, 10, cache_read_input_tokens=40)

    cost = pricing.cost_of(usage, PRICE)

    assert cost.total_nano_usd == 60 * 150 + 40 * 75 + 10 * 600
    assert {item.meter: item.quantity for item in cost.items} == {
        "input-tokens": 60,
        "cache-read-input-tokens": 40,
        "output-tokens": 10,
    }
    assert cost.price_version == "v1"
    assert not cost.incomplete


def test_an_unknown_price_is_incomplete_and_not_free():
    cost = pricing.cost_of(TokenUsage(1, 1), None)

    assert cost.incomplete
    assert cost.price_version == ""


def test_a_free_model_is_complete_at_zero():
    free = Price("built-in", (PriceItem("input-tokens", 0), PriceItem("output-tokens", 0)))

    cost = pricing.cost_of(TokenUsage(5, 5), free)

    assert cost.total_nano_usd == 0
    assert not cost.incomplete


def test_a_meter_without_a_price_makes_the_cost_incomplete():
    only_input = Price("v", (PriceItem("input-tokens", 1_000_000),))

    cost = pricing.cost_of(TokenUsage(5, 5), only_input)

    assert cost.total_nano_usd == 5
    assert cost.incomplete


def test_cached_tokens_without_a_price_of_their_own_are_charged_as_input():
    plain = Price("v", (PriceItem("input-tokens", 2_000_000), PriceItem("output-tokens", 0)))

    cost = pricing.cost_of(TokenUsage(10, 0, cache_read_input_tokens=4), plain)

    assert cost.total_nano_usd == 20


WRITES = Price(
    "v",
    (
        PriceItem("input-tokens", 1_000_000),
        PriceItem("cache-write-input-tokens", 1_250_000),
        PriceItem("output-tokens", 0),
    ),
)


def test_cache_writes_kept_for_an_hour_have_a_price_of_their_own():
    price = Price("v", (*WRITES.items, PriceItem("cache-write-1h-input-tokens", 2_000_000)))
    usage = TokenUsage(1_000, 0, cache_write_input_tokens=900, cache_write_1h_input_tokens=500)

    cost = pricing.cost_of(usage, price)

    assert cost.total_nano_usd == 100 * 1 + 400 * 1.25 + 500 * 2
    assert {item.meter: item.quantity for item in cost.items} == {
        "input-tokens": 100,
        "cache-write-input-tokens": 400,
        "cache-write-1h-input-tokens": 500,
    }
    assert not cost.incomplete


def test_cache_writes_kept_for_an_hour_are_never_charged_at_a_guess():
    usage = TokenUsage(1_000, 0, cache_write_input_tokens=900, cache_write_1h_input_tokens=500)

    cost = pricing.cost_of(usage, WRITES)

    assert cost.incomplete
    assert cost.total_nano_usd == 100 * 1 + 400 * 1.25


def test_more_writes_of_an_hour_than_writes_are_not_believed():
    usage = TokenUsage(10, 0, cache_write_input_tokens=4, cache_write_1h_input_tokens=9)

    cost = pricing.cost_of(
        usage, Price("v", (PriceItem("cache-write-1h-input-tokens", 1_000_000),))
    )

    assert [(item.meter, item.quantity) for item in cost.items] == [
        ("cache-write-1h-input-tokens", 4)
    ]


def test_the_public_list_prices_cache_writes_of_an_hour_at_twice_the_input():
    model = a_model(a_provider(kind="anthropic"), "claude-sonnet-4-5")

    price = pricing.price_of("anthropic", model, NOON)

    assert price is not None
    rates = {item.meter: item.nano_usd_per_million for item in reversed(price.items)}
    assert rates["cache-write-1h-input-tokens"] == 2 * rates["input-tokens"]
    assert rates["cache-write-input-tokens"] < rates["cache-write-1h-input-tokens"]


@pytest.mark.parametrize(
    ("input_tokens", "rate"),
    [pytest.param(200_000, 1, id="below"), pytest.param(200_001, 2, id="reached")],
)
def test_a_tier_applies_to_all_tokens_once_the_request_reaches_it(input_tokens, rate):
    price = Price(
        "v",
        (
            PriceItem("input-tokens", 2_000_000, min_input_tokens=200_001),
            PriceItem("input-tokens", 1_000_000),
            PriceItem("output-tokens", 0),
        ),
    )

    cost = pricing.cost_of(TokenUsage(input_tokens, 0), price)

    assert cost.total_nano_usd == input_tokens * rate


@pytest.mark.parametrize(
    ("millionths", "whole"),
    [(499_999, 0), (500_000, 0), (500_001, 1), (1_500_000, 2), (2_500_000, 2), (2_500_001, 3)],
)
def test_a_tie_goes_to_the_even_neighbour(millionths, whole):
    assert pricing.round_half_even(millionths) == whole


@given(
    tokens=st.tuples(*[st.integers(0, 10**7)] * 4),
    rates=st.tuples(*[st.integers(0, 10**12)] * 4),
)
def test_the_items_add_up_to_the_total_and_the_total_is_rounded_once(tokens, rates):
    fresh, read, write, out = tokens
    meters = (
        "input-tokens",
        "cache-read-input-tokens",
        "cache-write-input-tokens",
        "output-tokens",
    )
    price = Price("v", tuple(PriceItem(m, r) for m, r in zip(meters, rates, strict=True)))
    usage = TokenUsage(fresh + read + write, out, read, write)

    cost = pricing.cost_of(usage, price)

    exact = sum(t * r for t, r in zip((fresh, read, write, out), rates, strict=True))
    assert sum(item.nano_usd for item in cost.items) == cost.total_nano_usd
    assert abs(cost.total_nano_usd * 1_000_000 - exact) <= 500_000
    assert all(item.nano_usd >= 0 for item in cost.items)


def test_the_public_list_prices_a_dated_model():
    provider = a_provider(kind="openai")

    price = pricing.price_of("openai", a_model(provider, "gpt-4o-mini-2024-07-18"), NOON)

    assert price is not None
    assert price.version.startswith("genai-prices/")
    assert PriceItem("input-tokens", 150_000_000) in price.items
    assert PriceItem("output-tokens", 600_000_000) in price.items


def test_a_price_that_depends_on_the_time_of_day_is_looked_up_by_the_calls_time():
    model = a_model(a_provider(kind="deepseek"), "deepseek-chat")
    night = datetime(2026, 11, 20, 17, tzinfo=UTC)

    assert pricing.price_of("deepseek", model, NOON) != pricing.price_of("deepseek", model, night)


@pytest.mark.parametrize("kind", ["openai", "openai-compatible"])
def test_a_model_nobody_lists_has_no_price(kind):
    assert pricing.price_of(kind, a_model(a_provider(), "no-such-model-at-all"), NOON) is None


def test_a_models_own_price_wins_over_the_public_list():
    model = a_model(a_provider(kind="openai"), "gpt-4o-mini", price=PRICE)

    assert pricing.price_of("openai", model, NOON) is PRICE


def test_an_estimate_without_a_price_or_an_output_is_unknown():
    assert pricing.estimate(None, 10, 10) is None
    assert pricing.estimate(PRICE, 10, None) is None
    assert pricing.estimate(PRICE, 10, 10) == 10 * 150 + 10 * 600


# --- dates, tiers of service, other modalities ----------------------------------------------------


def test_a_models_own_price_holds_from_its_effective_time_on():
    own = replace(PRICE, effective_time=NOON)
    model = a_model(a_provider(kind="openai"), "gpt-4o-mini", price=own)
    before = NOON - timedelta(microseconds=1)

    assert pricing.price_of("openai", model, NOON) is own
    assert pricing.price_of("openai", model, before).version.startswith("genai-prices/")


def test_before_its_own_price_a_model_nobody_lists_has_none():
    own = replace(PRICE, effective_time=NOON)
    model = a_model(a_provider(kind="ollama"), "llama2", price=own)

    assert pricing.price_of("ollama", model, NOON - timedelta(days=1)) is None


def test_a_public_price_that_changes_on_a_day_is_that_of_the_calls_day():
    model = a_model(a_provider(kind="google"), "gemini-4-argon")
    november = datetime(2026, 11, 30, tzinfo=UTC)
    december = datetime(2026, 12, 1, tzinfo=UTC)

    assert rate(pricing.price_of("google", model, november), "input-tokens") == 2_000_000_000
    assert rate(pricing.price_of("google", model, december), "input-tokens") == 4_000_000_000


def rate(price, meter):
    return next(one.nano_usd_per_million for one in price.items if one.meter == meter)


@pytest.mark.parametrize(
    ("kind", "model", "options"),
    [
        ("openai", "gpt-5.6-sol", '{"service_tier": "priority"}'),
        ("anthropic", "claude-opus-5-5", '{"speed": "fast", "metadata": {}}'),
    ],
)
def test_faster_service_has_a_price_of_its_own(kind, model, options):
    served = a_model(a_provider(kind=kind), model)

    plain = pricing.price_of(kind, served, NOON)
    fast = pricing.price_of(kind, served, NOON, options)

    assert rate(fast, "output-tokens") == 2 * rate(plain, "output-tokens")
    assert fast.version == plain.version


@pytest.mark.parametrize(
    "options", ["", "{}", "[]", "not json", '{"service_tier": 5}', '{"service_tier": "default"}']
)
def test_other_options_leave_the_price_as_it_is(options):
    served = a_model(a_provider(kind="openai"), "gpt-5.6-sol")

    price = pricing.price_of("openai", served, NOON, options)

    assert price == pricing.price_of("openai", served, NOON)


def test_the_models_own_price_holds_for_every_tier_of_service():
    model = a_model(a_provider(kind="openai"), "gpt-4o-mini", price=PRICE)

    assert pricing.price_of("openai", model, NOON, '{"service_tier": "flex"}') is PRICE


@pytest.mark.parametrize(
    "name",
    ["gemini-2.5-flash", "models/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"],
)
def test_googles_models_have_a_price_under_each_of_their_names(name):
    model = a_model(a_provider(kind="google"), "m", provider_model=name)

    assert rate(pricing.price_of("google", model, NOON), "input-tokens") == 300_000_000


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("azure", "gpt-4o"),
        ("anthropic", "claude-haiku-4-5-20251001"),
        ("google", "gemini-3.8-flash"),
        ("bedrock", "eu.anthropic.claude-opus-4-7"),
        ("bedrock", "us.amazon.nova-pro-v1:0"),
        ("deepseek", "deepseek-flash"),
        ("xai", "grok-4.7"),
        ("fireworks", "accounts/fireworks/models/glm-5p3"),
        ("groq", "openai/gpt-oss-120b"),
        ("mistral", "mistral-large-2512"),
        ("openrouter", "anthropic/claude-opus-5.5"),
        ("together", "zai-org/GLM-5.3"),
    ],
)
def test_every_kind_with_a_public_list_has_its_models_in_it(kind, model):
    served = a_model(a_provider(kind=kind), "m", provider_model=model)

    price = pricing.price_of(kind, served, NOON)

    assert rate(price, "input-tokens") > 0
    assert rate(price, "output-tokens") > 0


@pytest.mark.parametrize("kind", ["ollama", "openai-compatible"])
def test_what_runs_at_home_has_no_price_until_someone_sets_one(kind):
    assert not pricing.has_public_prices(kind)
    assert pricing.price_of(kind, a_model(a_provider(kind=kind), "gpt-4o"), NOON) is None


def test_no_call_costs_more_than_a_record_can_hold():
    most = 2**31 - 1
    meters = ("input-tokens", "cache-read-input-tokens", "output-tokens")
    dearest = [PriceItem(meter, MAX_TOKEN_PRICE) for meter in meters]
    price = Price("v", (*dearest, PriceItem("request", INT64_MAX)))

    cost = pricing.cost_of(TokenUsage(most, most, most // 2), price)

    assert 2**58 < cost.total_nano_usd < INT64_MAX // 10  # ten attempts, too


def test_what_no_record_can_hold_is_cut_to_what_one_can():
    searches = Price("v1", (PriceItem("web-searches", INT64_MAX),))
    usage = TokenUsage(1, 1, provider_tool_uses=(ProviderToolUse("web-searches", 2**31 - 1),))

    cost = pricing.cost_of(usage, searches)
    both = sum_cost([cost, cost])

    for one in (cost, both):
        assert one.total_nano_usd == one.items[0].nano_usd == INT64_MAX
