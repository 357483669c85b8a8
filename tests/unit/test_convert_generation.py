"""Parameters and routing options: unset is not zero, and every bound is checked by name."""

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import (
    Effort,
    GenerationParams,
    Preference,
    Reasoning,
    RoutingOptions,
)
from llm_service.rpc.convert.checks import Checks
from llm_service.rpc.convert.generation import from_params, from_routing, to_params, to_routing
from llm_service.rpc.stubs import generation_pb2 as pb
from tests.unit.refused import refused

INT32_MAX = 2**31 - 1


def maybe(strategy):
    return st.none() | strategy


PARAMS = st.builds(
    GenerationParams,
    temperature=maybe(st.floats(0, 2)),
    top_p=maybe(st.floats(0, 1)),
    top_k=maybe(st.integers(1, INT32_MAX)),
    max_output_tokens=maybe(st.integers(1, INT32_MAX)),
    stop_sequences=st.lists(st.text(min_size=1, max_size=5), max_size=16).map(tuple),
    seed=maybe(st.integers(-(2**63), 2**63 - 1)),
    frequency_penalty=maybe(st.floats(-2, 2)),
    presence_penalty=maybe(st.floats(-2, 2)),
    reasoning=maybe(
        st.builds(
            Reasoning,
            effort=maybe(st.sampled_from(Effort)),
            budget_tokens=maybe(st.integers(0, INT32_MAX)),
            include_thoughts=maybe(st.booleans()),
        )
    ),
    top_logprobs=maybe(st.integers(0, 20)),
)


@given(PARAMS)
def test_parameters_come_back_from_their_message(params):
    checks = Checks()

    back = to_params(from_params(params), "params", checks)

    assert back == params
    assert refused(checks) == {}


@given(
    st.builds(
        RoutingOptions,
        fallback_models=st.lists(st.sampled_from("abc"), max_size=3).map(tuple),
        disable_fallback=maybe(st.booleans()),
        allowed_providers=st.lists(st.sampled_from("xy"), max_size=2).map(tuple),
        preference=maybe(st.sampled_from(Preference)),
        max_attempts=maybe(st.integers(1, 16)),
        attempt_timeout=maybe(st.integers(1, 10_000).map(lambda quarters: quarters / 4)),
        max_cost_nano_usd=maybe(st.integers(0, 2**63 - 1)),
        affinity_key=maybe(st.sampled_from(["", "k"])),
        min_output_tokens_per_second=maybe(st.floats(0, 10_000)),
    )
)
def test_routing_comes_back_from_its_message(options):
    checks = Checks()

    back = to_routing(from_routing(options), "routing", checks)

    assert back == options
    assert refused(checks) == {}


def test_a_zero_that_is_set_is_kept_and_what_is_unset_is_none():
    message = pb.GenerationParams(temperature=0, top_logprobs=0, seed=0)
    message.reasoning.budget_tokens = 0

    params = to_params(message, "params", Checks())

    assert (params.temperature, params.top_logprobs, params.seed) == (0, 0, 0)
    assert params.reasoning == Reasoning(None, 0, None)
    assert (params.top_p, params.top_k, params.max_output_tokens) == (None, None, None)


def test_no_reasoning_is_not_empty_reasoning():
    empty = pb.GenerationParams(reasoning=pb.Reasoning())

    assert to_params(pb.GenerationParams(), "params", Checks()).reasoning is None
    assert to_params(empty, "params", Checks()).reasoning == Reasoning()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"temperature": 2.1}, "params.temperature"),
        ({"temperature": float("nan")}, "params.temperature"),
        ({"top_p": -0.1}, "params.top_p"),
        ({"top_k": 0}, "params.top_k"),
        ({"max_output_tokens": 0}, "params.max_output_tokens"),
        ({"frequency_penalty": -2.1}, "params.frequency_penalty"),
        ({"presence_penalty": 2.1}, "params.presence_penalty"),
        ({"top_logprobs": 21}, "params.top_logprobs"),
        ({"stop_sequences": [str(n) for n in range(17)]}, "params.stop_sequences"),
        ({"stop_sequences": ["a", ""]}, "params.stop_sequences"),
        ({"reasoning": pb.Reasoning(effort=99)}, "params.reasoning.effort"),
        ({"reasoning": pb.Reasoning(budget_tokens=-1)}, "params.reasoning.budget_tokens"),
    ],
)
def test_a_bad_parameter_is_named(fields, path):
    checks = Checks()

    to_params(pb.GenerationParams(**fields), "params", checks)

    assert list(refused(checks)) == [path]


def test_all_routing_options_are_read():
    message = pb.RoutingOptions(
        fallback_models=["a", "b"],
        disable_fallback=False,
        allowed_providers=["providers/a"],
        excluded_providers=["providers/b"],
        preference=pb.RoutingOptions.PREFERENCE_LATENCY,
        max_attempts=3,
        attempt_timeout=Duration(seconds=2),
        first_token_timeout=Duration(nanos=500_000_000),
        max_cost_nano_usd=0,
        affinity_key="",
        min_output_tokens_per_second=0,
    )
    checks = Checks()

    options = to_routing(message, "routing", checks)

    assert refused(checks) == {}
    assert options == RoutingOptions(
        fallback_models=("a", "b"),
        disable_fallback=False,
        allowed_providers=("providers/a",),
        excluded_providers=("providers/b",),
        preference=Preference.LATENCY,
        max_attempts=3,
        attempt_timeout=2.0,
        first_token_timeout=0.5,
        max_cost_nano_usd=0,
        affinity_key="",
        min_output_tokens_per_second=0,
    )


def test_unset_routing_options_inherit():
    assert to_routing(pb.RoutingOptions(), "routing", Checks()) == RoutingOptions()


@pytest.mark.parametrize("preference", Preference)
def test_every_preference_has_a_number(preference):
    number = getattr(pb.RoutingOptions, f"PREFERENCE_{preference.name}")

    options = to_routing(pb.RoutingOptions(preference=number), "routing", Checks())

    assert options.preference is preference


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"fallback_models": ["m"] * 17}, "routing.fallback_models"),
        ({"fallback_models": [""]}, "routing.fallback_models"),
        ({"allowed_providers": ["p"] * 17}, "routing.allowed_providers"),
        ({"allowed_providers": [""]}, "routing.allowed_providers"),
        ({"excluded_providers": ["p"] * 17}, "routing.excluded_providers"),
        ({"excluded_providers": [""]}, "routing.excluded_providers"),
        ({"max_attempts": 0}, "routing.max_attempts"),
        ({"max_attempts": 17}, "routing.max_attempts"),
        ({"max_cost_nano_usd": -1}, "routing.max_cost_nano_usd"),
        ({"preference": 99}, "routing.preference"),
        *(
            ({"min_output_tokens_per_second": wrong}, "routing.min_output_tokens_per_second")
            for wrong in (-1, 10_001, float("nan"))
        ),
        ({"attempt_timeout": Duration()}, "routing.attempt_timeout"),
        ({"first_token_timeout": Duration(seconds=86_401)}, "routing.first_token_timeout"),
    ],
)
def test_a_bad_routing_option_is_named(fields, path):
    checks = Checks()

    to_routing(pb.RoutingOptions(**fields), "routing", checks)

    assert list(refused(checks)) == [path]
