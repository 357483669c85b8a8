"""What configurations make of a request, rule by rule."""

import pytest

from llm_service.domain.completion import (
    Attribution,
    Effort,
    GenerationParams,
    Reasoning,
    RoutingOptions,
)
from llm_service.domain.model_config import Selector, TargetSpec
from llm_service.errors import ModelNotAllowed
from llm_service.gateway.configuration import Owned, view_of
from llm_service.gateway.resolution import Asked, DefaultModel, resolve
from tests.fakes import a_model, a_model_config, a_provider

MODEL = a_model(a_provider())
EVERYBODY = Attribution("acme", "risk", "u1", "reasoning")


def resolved(*configs, default="", **asked):
    shared = tuple(config for config in configs if not config.tenant)
    own = tuple(config for config in configs if config.tenant)
    view = view_of(1, Owned((), {}, {}, shared), Owned((), {}, {}, own), "acme")
    return resolve(view, Asked(**{"attribution": EVERYBODY, **asked}), DefaultModel(default))


def models(resolution):
    return [choice.spec.model for choice in resolution.choices]


def params(resolution, asked=GenerationParams(), model=MODEL):
    return resolution.params(asked, resolution.choices[0], model)


def test_without_configurations_the_request_stands_as_it_is():
    routing = RoutingOptions(fallback_models=("b",))

    resolution = resolved(model="a", routing=routing)

    assert models(resolution) == ["a", "b"]
    assert resolution.routing is routing
    assert params(resolution, GenerationParams(seed=1)) == GenerationParams(seed=1)


def test_candidates_are_in_order_from_the_narrowest_the_tenants_before_the_shared_ones():
    selectors = [
        Selector("risk", "u1", "reasoning"),
        Selector("risk", "u1"),
        Selector("risk", "", "reasoning"),
        Selector("risk"),
        Selector("", "u1", "reasoning"),
        Selector("", "u1"),
        Selector("", "", "reasoning"),
        Selector(),
    ]
    own = [a_model_config(f"c{n}", one, tenant="acme") for n, one in enumerate(selectors)]
    shared = [a_model_config(f"c{n}", one) for n, one in enumerate(selectors)]

    resolution = resolved(*reversed(shared), *reversed(own))

    assert list(resolution.matched) == [*own, *shared]


@pytest.mark.parametrize(
    "selector", [Selector("other"), Selector(user="u2"), Selector("risk", "", "tools")]
)
def test_a_configuration_of_another_scope_does_not_match(selector):
    assert resolved(a_model_config(selector=selector)).matched == ()


def test_a_call_that_says_nothing_of_itself_falls_under_the_default_only():
    configs = [a_model_config("d"), a_model_config("r", Selector(interaction="reasoning"))]

    resolution = resolved(*configs, attribution=Attribution("acme"))

    assert [config.config_id for config in resolution.matched] == ["d"]


def test_targets_are_those_of_the_narrowest_configuration_that_has_any():
    resolution = resolved(
        a_model_config("agent", Selector("risk")),
        a_model_config("user", Selector(user="u1"), targets=("a", "b")),
        a_model_config("default", targets=("c",)),
        default="last",
    )

    assert models(resolution) == ["a", "b"]
    assert {choice.config.config_id for choice in resolution.choices} == {"user"}


def test_a_model_named_in_the_request_goes_before_the_stored_targets():
    resolution = resolved(a_model_config(targets=("a", "b")), model="x")

    assert models(resolution) == ["x", "a", "b"]
    assert [bool(choice.config) for choice in resolution.choices] == [False, True, True]


def test_a_stored_target_that_the_request_names_goes_first_with_all_that_is_stored_of_it():
    key = TargetSpec("b", "providers/p/credentials/agent", GenerationParams(seed=1))

    resolution = resolved(a_model_config(targets=("a", key)), model="b")

    assert [choice.spec for choice in resolution.choices] == [key, TargetSpec("a")]


@pytest.mark.parametrize(
    ("model", "order"), [("", ["a", "f"]), ("x", ["x", "f"]), ("b", ["b", "f"])]
)
def test_fallback_models_of_the_request_replace_the_stored_fallbacks(model, order):
    routing = RoutingOptions(fallback_models=("f",))

    resolution = resolved(a_model_config(targets=("a", "b")), model=model, routing=routing)

    assert models(resolution) == order
    assert resolution.choices[-1].config is None


def test_stored_fallback_models_replace_stored_targets_and_say_where_they_are_from():
    wide = a_model_config(routing=RoutingOptions(fallback_models=("f",)))
    resolution = resolved(a_model_config("n", Selector("risk"), targets=("a", "b")), wide)

    assert models(resolution) == ["a", "f"]
    assert resolution.choices[-1].config is wide


def test_the_default_model_serves_where_nothing_else_says_what_does():
    assert models(resolved(a_model_config(), default="last")) == ["last"]
    assert models(resolved(a_model_config(), default="last", model="x")) == ["x"]
    assert models(resolved(a_model_config())) == []


def test_parameters_are_the_requests_then_the_narrowest_then_the_models():
    narrow = a_model_config("n", Selector("risk"), params=GenerationParams(temperature=0.1))
    wide = a_model_config(
        params=GenerationParams(temperature=0.9, top_p=0.8, seed=1), targets=("m",)
    )
    model = a_model(a_provider(), default_params=GenerationParams(top_p=0.1, top_k=7))

    found = params(resolved(narrow, wide), GenerationParams(seed=5), model)

    assert found == GenerationParams(temperature=0.1, top_p=0.8, top_k=7, seed=5)


def test_zero_and_false_are_values_and_a_list_is_taken_as_a_whole():
    config = a_model_config(
        targets=("m",),
        params=GenerationParams(temperature=0.7, stop_sequences=("a", "b")),
        routing=RoutingOptions(disable_fallback=True, excluded_providers=("providers/x",)),
    )
    asked = GenerationParams(temperature=0.0, stop_sequences=("c",))

    resolution = resolved(config, routing=RoutingOptions(disable_fallback=False))

    assert params(resolution, asked) == asked
    assert resolution.routing.disable_fallback is False
    assert resolution.routing.excluded_providers == ("providers/x",)


def test_reasoning_is_merged_member_by_member():
    stored = GenerationParams(reasoning=Reasoning(Effort.HIGH, 100))
    asked = GenerationParams(reasoning=Reasoning(budget_tokens=5))

    found = params(resolved(a_model_config(params=stored, targets=("m",))), asked)

    assert found.reasoning == Reasoning(Effort.HIGH, 5)


def test_a_targets_own_parameters_are_for_it_alone_and_come_with_its_configuration():
    own = GenerationParams(temperature=0.5, seed=1)
    wide = a_model_config(
        targets=(TargetSpec("a", params=own), "b"), params=GenerationParams(temperature=0.9)
    )
    narrow = a_model_config("n", Selector("risk"), params=GenerationParams(seed=2))
    resolution = resolved(narrow, wide)
    first, second = resolution.choices

    assert resolution.params(GenerationParams(), first, MODEL) == GenerationParams(0.5, seed=2)
    assert resolution.params(GenerationParams(), second, MODEL) == GenerationParams(0.9, seed=2)


def test_limits_are_the_lowest_of_all_candidates_and_lowering_a_request_is_told():
    narrow = a_model_config("n", Selector("risk"), limits=GenerationParams(max_output_tokens=500))
    wide = a_model_config(limits=GenerationParams(max_output_tokens=100, temperature=1.0))
    asked = GenerationParams(max_output_tokens=300, temperature=0.3)

    resolution = resolved(narrow, wide, model="m", params=asked)

    assert params(resolution, asked) == GenerationParams(0.3, max_output_tokens=100)
    assert [(w.reason, w.field) for w in resolution.warnings] == [
        ("PARAMETER_LOWERED", "params.max_output_tokens")
    ]
    assert "modelConfigs/main" in resolution.warnings[0].message


def test_what_is_stored_is_held_to_limits_without_a_word_to_the_caller():
    config = a_model_config(
        targets=("m",),
        params=GenerationParams(temperature=0.9),
        limits=GenerationParams(temperature=0.5, reasoning=Reasoning(budget_tokens=10)),
    )
    model = a_model(
        a_provider(), default_params=GenerationParams(reasoning=Reasoning(Effort.LOW, 99))
    )

    found = params(resolved(config), model=model)

    assert found == GenerationParams(0.5, reasoning=Reasoning(Effort.LOW, 10))
    assert resolved(config).warnings == ()


@pytest.mark.parametrize(("most", "sent"), [(0, 100), (60, 60), (200, 100)])
def test_an_answer_nobody_limits_is_limited_all_the_same(most, sent):
    config = a_model_config(
        targets=("m",), limits=GenerationParams(max_output_tokens=100, top_p=0.5)
    )
    model = a_model(a_provider(), max_output_tokens=most)

    assert params(resolved(config), model=model) == GenerationParams(max_output_tokens=sent)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"model": "m"}, "model"),
        ({"params": GenerationParams(temperature=0.0)}, "params"),
        ({"routing": RoutingOptions(disable_fallback=False)}, "routing"),
    ],
)
def test_under_a_lock_a_request_may_not_choose(asked, field):
    locked = a_model_config("wide", locked=True)
    free = a_model_config("n", Selector("risk"), targets=("m",))

    with pytest.raises(ModelNotAllowed, match="modelConfigs/wide") as error:
        resolved(free, locked, **asked)

    assert error.value.metadata == {"modelConfig": "modelConfigs/wide", "fields": field}
    assert models(resolved(free, locked)) == ["m"]


def test_a_resolution_takes_at_most_eight_look_ups_for_each_owner_however_many_there_are():
    class Counted(dict):
        looked_up = 0

        def get(self, key):
            self.looked_up += 1
            return super().get(key)

    configs = [a_model_config(f"c{n}", Selector(f"agent{n}")) for n in range(500)]
    view = view_of(1, Owned((), {}, {}, tuple(configs)), Owned((), {}, {}), "acme")
    (own, shared) = (Counted(by_selector) for by_selector in view.configs)
    object.__setattr__(view, "configs", (own, shared))

    resolve(view, Asked(EVERYBODY, "m"), DefaultModel())

    assert own.looked_up == 0
    assert shared.looked_up <= 8
