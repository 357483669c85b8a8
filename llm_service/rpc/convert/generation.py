"""GenerationParams and RoutingOptions: sent in requests and stored as defaults."""

from typing import Any

from llm_service.domain.completion import (
    Effort,
    GenerationParams,
    Preference,
    Reasoning,
    RoutingOptions,
)
from llm_service.domain.provider import MOST_TOKENS_PER_SECOND
from llm_service.rpc.convert.checks import Checks, given
from llm_service.rpc.convert.times import to_duration
from llm_service.rpc.stubs import generation_pb2 as pb

_INT32_MAX = 2**31 - 1
_DAY_SECONDS = 86_400.0
_SCALARS = (
    "temperature",
    "top_p",
    "top_k",
    "max_output_tokens",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "top_logprobs",
)
# The widest range any vendor documents; what a model refuses beyond that is the vendor's to say.
_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (1, _INT32_MAX),
    "max_output_tokens": (1, _INT32_MAX),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "top_logprobs": (0, 20),
}
_MAX_STOP_SEQUENCES = 16
_MAX_MODELS = 16
_EFFORTS = {getattr(pb.Reasoning, f"EFFORT_{effort.name}"): effort for effort in Effort}
_EFFORT_NUMBERS = {effort: number for number, effort in _EFFORTS.items()}
_PREFERENCES = {
    getattr(pb.RoutingOptions, f"PREFERENCE_{preference.name}"): preference
    for preference in Preference
}
_PREFERENCE_NUMBERS = {preference: number for number, preference in _PREFERENCES.items()}
_PLAIN = (
    "disable_fallback",
    "max_attempts",
    "max_cost_nano_usd",
    "affinity_key",
    "min_output_tokens_per_second",
)


def to_params(message: pb.GenerationParams, path: str, checks: Checks) -> GenerationParams:
    """`path` is the message's place in the request, for violations."""
    values: dict[str, Any] = {name: given(message, name) for name in _SCALARS}
    for name, (low, high) in _RANGES.items():
        if values[name] is not None:
            checks.between(f"{path}.{name}", values[name], low, high)
    checks.at_most(f"{path}.stop_sequences", message.stop_sequences, _MAX_STOP_SEQUENCES)
    if "" in message.stop_sequences:
        checks.refuse(f"{path}.stop_sequences", "must not hold an empty string")
    return GenerationParams(
        **values,
        stop_sequences=tuple(message.stop_sequences),
        reasoning=_to_reasoning(message, path, checks),
    )


def _to_reasoning(message: pb.GenerationParams, path: str, checks: Checks) -> Reasoning | None:
    if not message.HasField("reasoning"):
        return None
    reasoning = message.reasoning
    if reasoning.effort and reasoning.effort not in _EFFORTS:
        checks.refuse(f"{path}.reasoning.effort", "is not a known effort")
    budget = given(reasoning, "budget_tokens")
    if budget is not None:
        checks.between(f"{path}.reasoning.budget_tokens", budget, 0, _INT32_MAX)
    return Reasoning(
        _EFFORTS.get(reasoning.effort),
        budget,
        given(reasoning, "include_thoughts"),
    )


def from_params(params: GenerationParams) -> pb.GenerationParams:
    message = pb.GenerationParams(stop_sequences=params.stop_sequences)
    for name in _SCALARS:
        if (value := getattr(params, name)) is not None:
            setattr(message, name, value)
    if (reasoning := params.reasoning) is not None:
        message.reasoning.SetInParent()
        if reasoning.effort is not None:
            message.reasoning.effort = _EFFORT_NUMBERS[reasoning.effort]
        if reasoning.budget_tokens is not None:
            message.reasoning.budget_tokens = reasoning.budget_tokens
        if reasoning.include_thoughts is not None:
            message.reasoning.include_thoughts = reasoning.include_thoughts
    return message


def to_routing(message: pb.RoutingOptions, path: str, checks: Checks) -> RoutingOptions:
    for name in ("fallback_models", "allowed_providers", "excluded_providers"):
        checks.at_most(f"{path}.{name}", getattr(message, name), _MAX_MODELS)
        if "" in getattr(message, name):
            checks.refuse(f"{path}.{name}", "must not hold an empty string")
    if message.HasField("max_attempts"):
        checks.between(f"{path}.max_attempts", message.max_attempts, 1, _MAX_MODELS)
    if message.HasField("max_cost_nano_usd"):
        checks.between(f"{path}.max_cost_nano_usd", message.max_cost_nano_usd, 0, 2**63 - 1)
    if message.HasField("min_output_tokens_per_second"):
        least = message.min_output_tokens_per_second
        checks.between(f"{path}.min_output_tokens_per_second", least, 0, MOST_TOKENS_PER_SECOND)
    if message.preference and message.preference not in _PREFERENCES:
        checks.refuse(f"{path}.preference", "is not a known preference")
    return RoutingOptions(
        fallback_models=tuple(message.fallback_models),
        disable_fallback=given(message, "disable_fallback"),
        allowed_providers=tuple(message.allowed_providers),
        excluded_providers=tuple(message.excluded_providers),
        preference=_PREFERENCES.get(message.preference),
        max_attempts=given(message, "max_attempts"),
        attempt_timeout=_timeout(message, "attempt_timeout", path, checks),
        first_token_timeout=_timeout(message, "first_token_timeout", path, checks),
        max_cost_nano_usd=given(message, "max_cost_nano_usd"),
        affinity_key=given(message, "affinity_key"),
        min_output_tokens_per_second=given(message, "min_output_tokens_per_second"),
    )


def from_routing(options: RoutingOptions) -> pb.RoutingOptions:
    message = pb.RoutingOptions(
        fallback_models=options.fallback_models,
        allowed_providers=options.allowed_providers,
        excluded_providers=options.excluded_providers,
    )
    for name in _PLAIN:
        if (value := getattr(options, name)) is not None:
            setattr(message, name, value)
    if options.preference is not None:
        message.preference = _PREFERENCE_NUMBERS[options.preference]
    for name in ("attempt_timeout", "first_token_timeout"):
        if (seconds := getattr(options, name)) is not None:
            getattr(message, name).CopyFrom(to_duration(seconds))
    return message


def _timeout(message: pb.RoutingOptions, name: str, path: str, checks: Checks) -> float | None:
    duration = given(message, name)
    if duration is None:
        return None
    return checks.positive_duration(f"{path}.{name}", duration, _DAY_SECONDS)
