"""What a vendor says a call costs: whole nano-dollars of whatever it sends, or nothing."""

import json
from decimal import ROUND_HALF_EVEN

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import Attempt, Cost, ServedBy, TokenUsage
from llm_service.domain.provider import Price, PriceItem
from llm_service.gateway.pricing import cost_of
from llm_service.gateway.totals import total_cost
from llm_service.providers.chat.usage import token_usage
from llm_service.providers.reported_cost import nano_usd
from llm_service.rpc.convert.completion import from_cost
from tests.fakes import NOW


def an_attempt_at(cost: Cost) -> Attempt:
    return Attempt(ServedBy("p", "m"), NOW, 1.0, cost=cost)


def reported(usage: str) -> int | None:
    data = f'{{"usage": {usage}}}'.encode()
    try:
        said = json.loads(usage)
    except ValueError:
        return None
    return nano_usd(said, data) if type(said) is dict else None


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        ('{"cost_in_usd_ticks": 1466250}', 146_625),
        ('{"cost_in_usd_ticks": 5}', 0),
        ('{"cost_in_usd_ticks": 15}', 2),
        ('{"cost_in_usd_ticks": 25}', 2),
        ('{"cost": 0.000135}', 135_000),
        ('{"cost": 1.5e-9}', 2),
        ('{"cost": 2.5e-9}', 2),
        ('{"cost": 0.1000000005000000000000000001}', 100_000_001),
        ('{"cost": 0.1000000005}', 100_000_000),
        ('{"cost": 2}', 2_000_000_000),
        ('{"cost": 0}', 0),
        ('{"cost": {"total_cost": 0.006}}', 6_000_000),
        (
            '{"cost": 0.05, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.95}}',
            1_000_000_000,
        ),
        ('{"cost": 0.05, "is_byok": true}', None),
        ('{"cost": -0.1}', None),
        ('{"cost": 1e999999999}', None),
        ('{"cost": 1e-999999999}', 0),
        ('{"cost": "0.1"}', None),
        ('{"cost": true}', None),
        ('{"cost": null}', None),
        ('{"cost_in_usd_ticks": -1}', None),
        ('{"cost_in_usd_ticks": 1.5}', None),
        ('{"cost_in_usd_ticks": 99999999999999999999999}', None),
        ("{}", None),
    ],
)
def test_what_it_says_is_read_exactly_or_not_at_all(usage, nanos):
    assert reported(usage) == nanos


@given(st.decimals(0, 1000, places=12))
def test_any_decimal_is_rounded_once_to_the_even_neighbour(dollars):
    exact = int((dollars * 10**9).to_integral_value(ROUND_HALF_EVEN))

    assert reported(f'{{"cost": {dollars:f}}}') == exact


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["cost", "total_cost", "cost_in_usd_ticks", "is_byok"]), inner
            )
        ),
    )
)
def test_whatever_it_says_is_whole_nano_dollars_or_nothing(said):
    found = nano_usd({"cost": said}, json.dumps({"usage": {"cost": said}}).encode())
    ticks = nano_usd({"cost_in_usd_ticks": said}, b"")

    assert all(one is None or (type(one) is int and 0 <= one <= 10**15) for one in (found, ticks))


def test_both_prices_are_kept_and_their_difference_is_told():
    price = Price("v1", (PriceItem("input-tokens", 1_000_000), PriceItem("output-tokens", 0)))
    usage = token_usage({"prompt_tokens": 1000, "completion_tokens": 2, "cost_in_usd_ticks": 9000})

    cost = cost_of(usage, price)
    message = from_cost(cost)

    assert (cost.total_nano_usd, cost.reported_nano_usd) == (1000, 900)
    assert message.reported_nano_usd == 900
    assert message.reported_difference_nano_usd == -100


def test_of_a_cost_that_is_not_known_in_full_there_is_no_difference():
    cost = cost_of(TokenUsage(1, 2, reported_nano_usd=900), None)

    message = from_cost(cost)

    assert message.incomplete
    assert message.reported_nano_usd == 900
    assert not message.HasField("reported_difference_nano_usd")


def test_a_call_is_reported_on_only_if_each_of_its_attempts_is():
    said, silent = Cost(5, reported_nano_usd=4), Cost(5)

    assert total_cost([an_attempt_at(said), an_attempt_at(said)]).reported_nano_usd == 8
    assert total_cost([an_attempt_at(said), an_attempt_at(silent)]).reported_nano_usd is None
