"""In which order the targets of one name are tried, by what the call prefers."""

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import Attribution, GenerationParams, Preference, RoutingOptions
from llm_service.domain.content import FunctionTool
from llm_service.domain.provider import ModelCapabilities, Price, PriceItem
from llm_service.gateway.call import CompletionCall
from llm_service.gateway.explanations import Explanations
from llm_service.gateway.resolution import Asked, DefaultModel, resolve
from llm_service.gateway.routing import Router
from tests.fakes import FakeAdapter, a_credential, a_model, a_provider, a_request, an_answer
from tests.unit.test_routing import a_view
from tests.unit.two_providers import FakeConfiguration, World

COST, LATENCY, THROUGHPUT = Preference.COST, Preference.LATENCY, Preference.THROUGHPUT


class Seen:
    """What was seen of targets: by provider id, or by credential id."""

    def __init__(self, seconds=(), tokens=(), ejected=()):
        self.seconds, self.tokens, self.away = dict(seconds), dict(tokens), set(ejected)

    def first_token_seconds(self, target):
        return self.seconds.get(target.provider.provider_id)

    def tokens_per_second(self, target):
        return self.tokens.get(target.provider.provider_id)

    def ejected(self, target):
        key = target.credential.credential_id if target.credential else ""
        return bool(self.away & {target.provider.provider_id, key})


def a_price(per_token):
    return Price("v", tuple(PriceItem(m, per_token) for m in ("input-tokens", "output-tokens")))


def order(models, request, router=None, credentials=()):
    """The provider ids of the chain; `models`: pairs of a provider and its model."""
    view = a_view(*(p for p, _ in models), models=[m for _, m in models], credentials=credentials)
    asked = Asked(request.attribution, request.model, request.params, request.routing)
    resolution = resolve(view, asked, DefaultModel())
    call = CompletionCall(request, None, 30.0, resolution)
    call.take((router or Router()).targets(view, resolution, call))
    return [target.provider.provider_id for target in call.targets]


def by(preference, **routing):
    return a_request(routing=RoutingOptions(preference=preference, **routing))


def three(**changes):
    """One, two and three, in this order by priority, each with its model."""
    providers = [a_provider(p, priority=n) for n, p in enumerate(("one", "two", "three"))]
    return [(one, a_model(one, **changes.get(one.provider_id, {}))) for one in providers]


def test_the_cheapest_goes_first_and_who_has_no_price_last():
    models = three(one={"price": a_price(9_000_000)}, three={"price": a_price(1_000_000)})

    assert order(models, by(COST)) == ["three", "one", "two"]


def test_priority_decides_between_those_that_cost_the_same():
    price = {"price": a_price(5)}

    assert order(three(one=price, two=price, three=price), by(COST)) == ["one", "two", "three"]


def test_a_price_by_the_request_is_of_this_request():
    flat = Price("v", (PriceItem("request", 10**12), *a_price(1).items))
    models = three(one={"price": flat}, two={"price": a_price(10**9)})
    few = replace(by(COST), params=GenerationParams(max_output_tokens=1))

    assert order(models, few)[:2] == ["two", "one"]
    assert order(models, by(COST))[:2] == ["one", "two"]


def test_the_quickest_goes_first_after_those_nothing_is_known_of():
    router = Router(Seen(seconds={"one": 0.9, "three": 0.2}))

    assert order(three(), by(LATENCY), router) == ["two", "three", "one"]


def test_the_most_tokens_per_second_go_first():
    router = Router(Seen(tokens={"one": 10.0, "two": 90.0, "three": 40.0}))

    assert order(three(), by(THROUGHPUT), router) == ["two", "three", "one"]


def test_a_caller_who_asks_for_the_same_target_gets_it_however_quick_others_are():
    seen = Seen(seconds={"one": 0.9, "two": 0.5, "three": 0.2})
    before = order(three(), by(LATENCY, affinity_key="k"), Router(seen))
    seen.seconds = {"one": 0.2, "two": 0.1, "three": 0.9}

    assert order(three(), by(LATENCY, affinity_key="k"), Router(seen)) == before


@pytest.mark.parametrize("preference", [None, *Preference])
def test_an_open_circuit_puts_a_target_last_and_never_away(preference):
    router = Router(Seen(seconds={"one": 0.1}, tokens={"one": 99.0}, ejected={"one"}))
    models = three(one={"price": a_price(1)})

    assert order(models, by(preference), router)[-1] == "one"
    assert order(models, by(preference), Router(Seen(ejected={"one", "two", "three"})))[0] == "one"


def test_a_key_with_an_open_circuit_is_the_last_of_its_pool():
    provider = a_provider("one", default_credential="providers/one/credentials/a")
    keys = [a_credential(provider, name) for name in ("a", "b")]
    view = a_view(provider, models=[a_model(provider)], credentials=keys)
    resolution = resolve(view, Asked(Attribution("default"), "m"), DefaultModel())

    (target,) = Router(Seen(ejected={"a"})).targets(view, resolution)

    assert target.credential.credential_id == "b"
    assert [one.credential_id for one in target.other_credentials] == ["a"]


def test_whoever_cannot_do_what_is_asked_comes_last():
    models = three(one={"capabilities": ModelCapabilities(tools=False)})
    request = a_request(tools=(FunctionTool("f", "", "{}"),))

    assert order(models, request) == ["two", "three", "one"]
    alone = replace(request, routing=RoutingOptions(disable_fallback=True))
    assert order(models, alone) == ["two"]


def test_whoever_is_too_dear_is_passed_over_for_a_cheaper_one():
    models = three(
        one={"price": a_price(10**12), "max_output_tokens": 10},
        two={"max_output_tokens": 10},
        three={"price": a_price(10**6), "max_output_tokens": 10},
    )

    assert order(models, by(None, max_cost_nano_usd=1000)) == ["three", "one", "two"]


async def test_a_cheaper_fallback_serves_where_the_first_choice_is_too_dear():
    world = World(FakeAdapter(), FakeAdapter(an_answer()))
    view = world.completions._configuration._view
    (one, dear), (two, cheap) = view.offers["m"]
    offers = {"m": ((one, replace(dear, price=a_price(10**15))), (two, cheap))}
    world.completions._configuration._view = replace(view, offers=offers)

    completion = await world.complete(routing=RoutingOptions(max_cost_nano_usd=10**6))

    assert completion.served_by.provider == "providers/two"


async def test_an_explanation_has_the_order_of_a_preference():
    models = three(one={"price": a_price(9_000)}, three={"price": a_price(1_000)})
    view = a_view(*(p for p, _ in models), models=[m for _, m in models])
    explanations = Explanations(FakeConfiguration(view), DefaultModel())

    explanation = await explanations.explain(
        Asked(Attribution("default"), "m", routing=RoutingOptions(preference=COST))
    )

    assert [t.model.split("/")[1] for t in explanation.targets] == ["three", "one", "two"]
    assert explanation.origins["routing.preference"] == "request"


@given(
    seed=st.integers(),
    preference=st.none() | st.sampled_from(Preference),
    weights=st.lists(st.integers(0, 5), min_size=2, max_size=6),
    seconds=st.lists(st.none() | st.floats(0, 60), min_size=6, max_size=6),
    ejected=st.sets(st.integers(0, 5)),
)
def test_the_same_seed_gives_the_same_order_and_nobody_is_lost(
    seed, preference, weights, seconds, ejected
):
    providers = [a_provider(f"p{n}", weight=weight) for n, weight in enumerate(weights)]
    models = [(provider, a_model(provider)) for provider in providers]
    names = [provider.provider_id for provider in providers]
    known = {name: s for name, s in zip(names, seconds, strict=False) if s is not None}
    seen = Seen(seconds=known, tokens=known, ejected={f"p{n}" for n in ejected})

    routers = [Router(seen, random.Random(seed).random) for _ in range(2)]  # noqa: S311
    first, second = (order(models, by(preference), router) for router in routers)

    assert first == second
    assert sorted(first) == names
    away = [name in seen.away for name in first]
    assert away == sorted(away)
    if preference is LATENCY:
        for group in (False, True):
            some = [known.get(n, -1) for n in first if (n in seen.away) is group]
            assert all(a <= b for a, b in itertools.pairwise(some))
