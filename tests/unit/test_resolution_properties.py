"""The resolver against the rules written down naively, for any configurations and any request."""

from dataclasses import astuple

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.domain.completion import Attribution, GenerationParams, RoutingOptions
from llm_service.domain.model_config import Selector, TargetSpec
from llm_service.errors import ModelNotAllowed
from llm_service.gateway.configuration import Owned, view_of
from llm_service.gateway.resolution import Asked, DefaultModel, resolve
from tests.fakes import a_model, a_model_config, a_provider

PARAMS = ("temperature", "max_output_tokens", "seed", "stop_sequences")
MODEL = a_model(a_provider(), default_params=GenerationParams(temperature=0.25, seed=9))

maybe_id = st.sampled_from(["", "x", "y"])
selectors = st.builds(Selector, maybe_id, maybe_id, maybe_id)
attributions = st.builds(Attribution, st.just("acme"), maybe_id, maybe_id, maybe_id)
params = st.builds(
    GenerationParams,
    temperature=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    max_output_tokens=st.none() | st.integers(1, 5),
    seed=st.none() | st.integers(0, 2),
    stop_sequences=st.sampled_from([(), ("a",), ("a", "b")]),
)
limits = st.builds(
    GenerationParams,
    temperature=st.none() | st.sampled_from([0.0, 0.75]),
    max_output_tokens=st.none() | st.integers(1, 4),
)
routings = st.builds(
    RoutingOptions,
    fallback_models=st.sampled_from([(), ("f",), ("f", "g")]),
    max_attempts=st.none() | st.integers(1, 3),
)
targets = st.lists(
    st.builds(TargetSpec, st.sampled_from(["a", "b", "c"]), params=params), max_size=3
).map(tuple)


@st.composite
def configurations(draw):
    keys = draw(st.lists(st.tuples(st.sampled_from(["", "acme"]), selectors), max_size=6))
    unique = {(tenant, astuple(selector)): selector for tenant, selector in keys}
    return [
        a_model_config(
            f"c{number}",
            selector,
            tenant,
            targets=draw(targets),
            params=draw(params),
            limits=draw(limits),
            routing=draw(routings),
            locked=draw(st.integers(0, 9)) == 0,
            disabled=draw(st.integers(0, 4)) == 0,
        )
        for number, ((tenant, _), selector) in enumerate(unique.items())
    ]


def is_set(value):
    return value not in (None, ())


def candidates(configs, who):
    def matches(config):
        agent, user, interaction = astuple(config.selector)
        return (
            agent in ("", who.agent)
            and user in ("", who.user)
            and interaction in ("", who.interaction)
        )

    def breadth(config):
        agent, user, interaction = astuple(config.selector)
        return not config.tenant, -(4 * bool(agent) + 2 * bool(user) + bool(interaction))

    return sorted((c for c in configs if not c.disabled and matches(c)), key=breadth)


def first_set(layers, name):
    return next((value for layer in layers if is_set(value := getattr(layer, name))), None)


def expected_params(found, asked, source, spec):
    layers = [asked.params]
    for config in found:
        layers += [spec.params, config.params] if config is source else [config.params]
    layers.append(MODEL.default_params)
    values = {name: first_set(layers, name) for name in PARAMS}
    for name in ("temperature", "max_output_tokens"):
        caps = [cap for c in found if (cap := getattr(c.limits, name)) is not None]
        if caps and values[name] is not None:
            values[name] = min(values[name], *caps)
        elif caps and name == "max_output_tokens":
            values[name] = min(caps)
    return values


def expected_chain(found, asked, fallbacks):
    source = next((config for config in found if config.targets), None)
    stored = [(spec, source) for spec in source.targets] if source else []
    if asked.model:
        known = next((pair for pair in stored if pair[0].model == asked.model), None)
        chain = [known or (TargetSpec(asked.model), None)]
        chain += [pair for pair in stored if pair is not known]
    else:
        chain = stored or [(TargetSpec("last"), None)]
    if fallbacks:
        chain = [chain[0], *((TargetSpec(model), None) for model in fallbacks)]
    return chain


@settings(max_examples=150, deadline=None)
@given(
    configurations(),
    st.builds(Asked, attributions, st.sampled_from(["", "a", "z"]), params, routings),
)
def test_resolution_is_the_documented_algorithm(configs, asked):
    found = candidates(configs, asked.attribution)
    view = view_of(
        1,
        Owned((), {}, {}, tuple(c for c in configs if not c.tenant)),
        Owned((), {}, {}, tuple(c for c in configs if c.tenant)),
        "acme",
    )
    free = asked.params == GenerationParams() and asked.routing == RoutingOptions()
    if any(c.locked for c in found) and not (free and not asked.model):
        try:
            resolve(view, asked, DefaultModel("last"))
        except ModelNotAllowed:
            return
        raise AssertionError("a locked configuration let a choice pass")

    resolution = resolve(view, asked, DefaultModel("last"))

    assert list(resolution.matched) == found
    layers = [asked.routing, *(config.routing for config in found)]
    for name in ("fallback_models", "max_attempts"):
        value = getattr(resolution.routing, name)
        assert (value if is_set(value) else None) == first_set(layers, name)
    chain = expected_chain(found, asked, resolution.routing.fallback_models)
    assert [choice.spec for choice in resolution.choices] == [spec for spec, _ in chain]
    for choice, (spec, source) in zip(resolution.choices, chain, strict=True):
        sent = resolution.params(asked.params, choice, MODEL)
        values = {name: first_set([sent], name) for name in PARAMS}
        assert values == expected_params(found, asked, source, spec)
