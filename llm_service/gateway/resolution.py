"""Which stored configurations a call falls under, and what they and the request make of it.

Candidates are the enabled configurations of the caller's tenant and those everybody shares, whose
selectors match. The tenant's come before the shared ones, then whoever names the agent, then the
user, then the interaction. Nothing here waits for anything, or knows providers: `routing` turns
the choices into targets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from llm_service.domain.completion import (
    Attribution,
    GenerationParams,
    Reasoning,
    RoutingOptions,
    Warning,
)
from llm_service.domain.model_config import CAPS, ModelConfig, TargetSpec
from llm_service.domain.provider import Model, Price
from llm_service.domain.value import value
from llm_service.errors import ModelNotAllowed
from llm_service.gateway.configuration import View
from llm_service.gateway.merging import all_merged, merged

REQUEST = "request"
"""Where a value is from that the caller set."""

BUILT_IN = "built-in"
"""Where a value is from that nobody set."""

REASONING_BUDGET = "reasoning.budget_tokens"

_NO_PARAMS = GenerationParams()
_NO_ROUTING = RoutingOptions()


@value
class DefaultModel:
    """The model of last resort; "": there is none. `variable` of the environment names it."""

    model: str = ""
    variable: str = ""

    @property
    def origin(self) -> str:
        return f"environment:{self.variable}" if self.variable else BUILT_IN


NO_DEFAULT = DefaultModel()


@value
class Asked:
    """What a request chooses for itself."""

    attribution: Attribution
    model: str = ""
    params: GenerationParams = _NO_PARAMS
    routing: RoutingOptions = _NO_ROUTING


@value
class Choice:
    """A model to try: what is stored of it and where, and who named it.

    `config` None: nothing is stored of it. `origin`: `REQUEST`, a configuration's name, or
    "environment:{VARIABLE}".
    """

    spec: TargetSpec
    config: ModelConfig | None = None
    origin: str = REQUEST

    @property
    def price(self) -> Price | None:
        """What it is charged at instead of the model's own, named after where it is stored."""
        price, config = self.spec.price, self.config
        if price is None or price.version or config is None:
            return price
        return replace(price, version=f"modelConfigs/{config.config_id}@{config.version}")


@value
class Cap:
    """The most a parameter may be, and who says so."""

    most: float
    config: ModelConfig


@value
class Resolution:
    """What a call is to do.

    `choices` are in the order to try them; (): nothing says what could serve. `routing` is merged.
    `matched` are the candidates, narrowest first. `caps` are by path: "max_output_tokens".
    """

    choices: tuple[Choice, ...] = ()
    routing: RoutingOptions = _NO_ROUTING
    matched: tuple[ModelConfig, ...] = ()
    caps: Mapping[str, Cap] = field(default_factory=dict)
    warnings: tuple[Warning, ...] = ()

    def params(self, asked: GenerationParams, choice: Choice, model: Model) -> GenerationParams:
        """What one target is sent: merged, and within every cap."""
        layers = (params for _, params in self.layers(choice))
        params = merged(all_merged(layers, asked), model.default_params)
        for path, cap in self.caps.items():
            params = _lowered(params, path, cap, model)
        return params

    def layers(self, choice: Choice) -> Iterator[tuple[str, GenerationParams]]:
        """What configurations store for a target, and which one it is, narrowest first.

        A target's own parameters are a part of its configuration, and come just before the rest.
        """
        for config in self.matched:
            if config is choice.config:
                yield config.name, choice.spec.params
            yield config.name, config.params


UNCONFIGURED = Resolution()
"""Of a call that no configuration touches."""


def resolve(view: View, asked: Asked, default: DefaultModel) -> Resolution:
    """What stored configuration makes of a request.

    Raises:
        ModelNotAllowed: a candidate is locked, and the request chooses for itself.
    """
    matched = tuple(_candidates(view, asked.attribution))
    if not matched:
        return Resolution(tuple(_choices((), asked, asked.routing, default)), asked.routing)
    _refuse_if_locked(matched, asked)
    routing = all_merged((config.routing for config in matched), asked.routing)
    caps = dict(_caps(matched))
    return Resolution(
        tuple(_choices(matched, asked, routing, default)),
        routing,
        matched,
        caps,
        tuple(_warnings(asked.params, caps)),
    )


def value_of(params: GenerationParams, path: str) -> float | None:
    """The parameter at a path that may be capped."""
    if path == REASONING_BUDGET:
        return params.reasoning.budget_tokens if params.reasoning else None
    value: float | None = getattr(params, path)
    return value


def _candidates(view: View, who: Attribution) -> Iterator[ModelConfig]:
    """Narrowest first: at most eight look-ups for each owner."""
    agents = (who.agent, "") if who.agent else ("",)
    users = (who.user, "") if who.user else ("",)
    interactions = (who.interaction, "") if who.interaction else ("",)
    for by_selector in view.configs:
        if not by_selector:
            continue
        for agent in agents:
            for user in users:
                for interaction in interactions:
                    found = by_selector.get((agent, user, interaction))
                    if found is not None:
                        yield found


def _refuse_if_locked(matched: tuple[ModelConfig, ...], asked: Asked) -> None:
    locked = next((config for config in matched if config.locked), None)
    if locked is None:
        return
    chosen = {
        "model": bool(asked.model),
        "params": asked.params != _NO_PARAMS,
        "routing": asked.routing != _NO_ROUTING,
    }
    fields = [name for name, is_set in chosen.items() if is_set]
    if fields:
        raise ModelNotAllowed(
            f"{locked.name} is locked: leave {', '.join(fields)} out of the request",
            metadata={"modelConfig": locked.name, "fields": ",".join(fields)},
        )


def _choices(
    matched: tuple[ModelConfig, ...], asked: Asked, routing: RoutingOptions, default: DefaultModel
) -> Iterator[Choice]:
    stored = _stored(matched)
    if asked.model:
        known = (one for one in stored if one.spec.model == asked.model)
        first = next(known, Choice(TargetSpec(asked.model)))
        yield replace(first, origin=REQUEST)
        rest = tuple(one for one in stored if one is not first)
    elif stored:
        yield stored[0]
        rest = stored[1:]
    else:
        if default.model:
            yield Choice(TargetSpec(default.model), origin=default.origin)
        rest = ()
    yield from _fallbacks(matched, asked, routing) if routing.fallback_models else rest


def _stored(matched: tuple[ModelConfig, ...]) -> tuple[Choice, ...]:
    """The targets of the narrowest configuration that has any."""
    for config in matched:
        if config.targets:
            return tuple(Choice(spec, config, config.name) for spec in config.targets)
    return ()


def _fallbacks(
    matched: tuple[ModelConfig, ...], asked: Asked, routing: RoutingOptions
) -> Iterator[Choice]:
    stored = (config for config in matched if config.routing.fallback_models)
    source = None if asked.routing.fallback_models else next(stored, None)
    for model in routing.fallback_models:
        yield Choice(TargetSpec(model), source, source.name if source else REQUEST)


def _caps(matched: tuple[ModelConfig, ...]) -> Iterator[tuple[str, Cap]]:
    """The lowest of each; of equals the narrowest says so."""
    limited = [config for config in matched if config.limits != _NO_PARAMS]
    for path in (*CAPS, REASONING_BUDGET) if limited else ():
        caps = [
            Cap(most, config)
            for config in limited
            if (most := value_of(config.limits, path)) is not None
        ]
        if caps:
            yield path, min(caps, key=lambda cap: cap.most)


def _warnings(asked: GenerationParams, caps: Mapping[str, Cap]) -> Iterator[Warning]:
    for path, cap in caps.items():
        value = value_of(asked, path)
        if value is not None and value > cap.most:
            yield Warning(
                "PARAMETER_LOWERED",
                f"params.{path}",
                f"{path} was lowered to {cap.most}, the most {cap.config.name} allows",
            )


def _lowered(params: GenerationParams, path: str, cap: Cap, model: Model) -> GenerationParams:
    value, most = value_of(params, path), cap.most
    if value is None:
        if path != "max_output_tokens":
            return params
        # Left out, it would be as many as the vendor likes; more than it can is refused.
        most = int(min(most, model.max_output_tokens or most))
    elif value <= most:
        return params
    if path == REASONING_BUDGET:
        reasoning = replace(params.reasoning or Reasoning(), budget_tokens=int(most))
        return replace(params, reasoning=reasoning)
    changed: dict[str, Any] = {path: most}
    return replace(params, **changed)
