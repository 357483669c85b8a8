"""A call is priced by what was asked of the vendor, at the time it was asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llm_service.domain.completion import RoutingOptions
from llm_service.errors import CostLimitExceeded
from llm_service.gateway import pricing
from tests.fakes import FakeAdapter, a_request, an_answer
from tests.unit.two_providers import PRICE, World

DEAR = '{"service_tier": "priority"}'
OPTIONS = {"openai-compatible": DEAR, "openai": '{"service_tier": "flex"}'}
TWICE = replace(
    PRICE,
    version="priority",
    items=tuple(
        replace(item, nano_usd_per_million=2 * item.nano_usd_per_million) for item in PRICE.items
    ),
)


@pytest.fixture(autouse=True)
def price_by_tier(monkeypatch):
    def price_of(kind, model, when, options_json="", override=None):
        assert timedelta() <= datetime.now(UTC) - when < timedelta(minutes=1)
        return TWICE if options_json == DEAR else PRICE

    monkeypatch.setattr(pricing, "price_of", price_of)


async def test_a_call_at_a_dearer_tier_costs_what_that_tier_costs():
    plain = await World(FakeAdapter(an_answer())).complete()

    dear = await World(FakeAdapter(an_answer())).complete(provider_options_json=OPTIONS)

    assert dear.cost.total_nano_usd == 2 * plain.cost.total_nano_usd
    assert (plain.cost.price_version, dear.cost.price_version) == ("v1", "priority")


async def test_its_estimate_says_so_before():
    asked = a_request(provider_options_json=OPTIONS)

    (estimate,) = await World(FakeAdapter()).completions.estimate_cost(
        asked, None, expected_output_tokens=10, all_targets=False
    )

    assert estimate.expected_nano_usd == 2 * (11 * 1000 + 10 * 2000)
    assert estimate.price_version == "priority"


async def test_a_limit_on_cost_is_held_against_that_tier():
    routing = RoutingOptions(max_cost_nano_usd=2 * 1000 + 100 * 2000)

    await World(FakeAdapter(an_answer())).complete(routing=routing)
    with pytest.raises(CostLimitExceeded):
        await World(FakeAdapter(an_answer())).complete(
            routing=routing, provider_options_json=OPTIONS
        )


async def test_reading_the_price_list_is_no_time_of_the_vendors(monkeypatch):
    loaded = []
    monkeypatch.setattr(pricing, "needs_loading", lambda _kind: not loaded)
    monkeypatch.setattr(pricing, "load", lambda: loaded.append(datetime.now(UTC)))

    completion = await World(FakeAdapter(an_answer()), model={"price": None}).complete()

    assert loaded[0] <= completion.attempts[0].start_time
