"""Of a model's dated prices the one in force when a call starts is what it is charged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import ProviderToolUse
from llm_service.domain.provider import Price, PriceItem
from llm_service.gateway import pricing
from llm_service.gateway.totals import total_cost
from tests.fakes import a_model, a_provider
from tests.unit.test_call import attempted

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROVIDER = a_provider()
INPUT = (PriceItem("input-tokens", 1_000_000_000),)
ALWAYS = Price("always", INPUT)
DATED = (
    Price("announced", INPUT, NOON + HOUR),
    Price("past", INPUT, NOON - 2 * HOUR),
    Price("present", INPUT, NOON),
)


def version(model, when, kind="openai"):
    price = pricing.price_of(kind, model, when)
    return price and price.version


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        pytest.param(NOON - 3 * HOUR, "always", id="before all of them"),
        pytest.param(NOON - HOUR, "past", id="between two"),
        pytest.param(NOON, "present", id="at the very moment"),
        pytest.param(NOON + HOUR - timedelta(microseconds=1), "present", id="just before the next"),
        pytest.param(NOON + 9 * HOUR, "announced", id="after all of them"),
    ],
)
def test_the_latest_price_that_holds_by_then_is_in_force(when, expected):
    assert version(a_model(PROVIDER, price=ALWAYS, dated_prices=DATED), when) == expected


def test_before_the_first_dated_price_the_public_list_holds():
    model = a_model(PROVIDER, provider_model="gpt-4o", dated_prices=DATED)

    assert version(model, NOON - 3 * HOUR).startswith("genai-prices/")
    assert version(model, NOON) == "present"


def test_where_no_list_knows_the_model_a_price_that_is_only_announced_is_unknown():
    model = a_model(PROVIDER, dated_prices=DATED[:1])

    assert version(model, NOON, "openai-compatible") is None


@given(
    st.permutations((*DATED, replace(ALWAYS, effective_time=NOON - 9 * HOUR))), st.integers(0, 9)
)
def test_the_order_in_which_prices_are_written_does_not_matter(prices, at):
    price, *dated = prices
    when = NOON + (at - 5) * HOUR

    shuffled = version(a_model(PROVIDER, price=price, dated_prices=tuple(dated)), when)

    straight = a_model(
        PROVIDER, price=replace(ALWAYS, effective_time=NOON - 9 * HOUR), dated_prices=DATED
    )
    assert shuffled == version(straight, when)


def test_every_cost_item_names_the_version_it_was_charged_by():
    usage = TokenUsage(10, 5)
    first = pricing.cost_of(usage, replace(ALWAYS, version="v1"))
    second = pricing.cost_of(usage, replace(ALWAYS, version="v2"))

    both = total_cost([attempted(cost=first), attempted(cost=second), attempted(cost=second)])

    assert [(item.price_version, item.quantity) for item in both.items] == [("v1", 10), ("v2", 20)]
    assert sum(item.nano_usd for item in both.items) == both.total_nano_usd


# --- tools the vendor runs -----------------------------------------------------------------------


def test_searches_are_charged_by_the_public_list():
    price = pricing.price_of(
        "anthropic", a_model(PROVIDER, provider_model="claude-haiku-4-5"), NOON
    )
    searched = TokenUsage(100, 10, provider_tool_uses=(ProviderToolUse("web-search", 3),))

    cost = pricing.cost_of(searched, price)

    plain = pricing.cost_of(TokenUsage(100, 10), price)
    assert cost.total_nano_usd - plain.total_nano_usd == 3 * 10_000_000  # $10 a thousand
    assert not cost.incomplete


def test_what_costs_nothing_by_its_vendors_word_is_counted_and_complete():
    price = pricing.price_of(
        "anthropic", a_model(PROVIDER, provider_model="claude-haiku-4-5"), NOON
    )
    fetched = TokenUsage(100, 10, provider_tool_uses=(ProviderToolUse("web-fetch", 2),))

    cost = pricing.cost_of(fetched, price)

    assert {item.meter: item.nano_usd for item in cost.items}["web-fetch"] == 0
    assert not cost.incomplete


def test_a_tool_without_a_price_is_never_silently_free():
    used = TokenUsage(10, 0, provider_tool_uses=(ProviderToolUse("code-execution", 1),))

    assert pricing.cost_of(used, ALWAYS).incomplete


def test_an_operators_price_for_a_tool_is_charged():
    items = (*INPUT, PriceItem("code-execution", 50_000_000_000_000))
    used = TokenUsage(0, 0, provider_tool_uses=(ProviderToolUse("code-execution", 2),))

    assert pricing.cost_of(used, Price("v", items)).total_nano_usd == 100_000_000
