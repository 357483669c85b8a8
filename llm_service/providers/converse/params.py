"""Generation parameters: what Converse takes itself, and what only some of its models take."""

from typing import Any

from llm_service.domain.completion import GenerationParams
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers.converse.families import Family
from llm_service.providers.converse.reasoning import Thinking
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_MOST_TEMPERATURE = 1.0
_NOT_TAKEN = "this model does not take it"


def inference(
    params: GenerationParams,
    can: ModelCapabilities,
    family: Family,
    thinking: Thinking,
    dropped: Dropped,
) -> tuple[Json, Json]:
    """`inferenceConfig`, and the additional fields for what it has no place for.

    Raises:
        CapabilityNotSupported: something is left out and the caller is strict.
    """
    config: Json = {}
    if (limit := params.max_output_tokens or thinking.max_tokens) is not None:
        if not thinking.is_boundless:
            config["maxTokens"] = limit
        else:
            dropped.parameter("max_output_tokens", "this model takes none with so high an effort")
    config |= _sampling(params, can, family, thinking, dropped)
    if params.stop_sequences:
        if family.stops:
            config["stopSequences"] = list(params.stop_sequences)
        else:
            dropped.parameter("stop_sequences", _NOT_TAKEN)
    return config, _additional(params, can, family, thinking, dropped)


def _sampling(
    params: GenerationParams,
    can: ModelCapabilities,
    family: Family,
    thinking: Thinking,
    dropped: Dropped,
) -> Json:
    said: Json = {}
    for name, value, spelled in (
        ("temperature", params.temperature, "temperature"),
        ("top_p", params.top_p, "topP"),
    ):
        if value is None:
            continue
        if why := _against(name, value, can, family, thinking):
            dropped.parameter(name, why)
        elif family.one_of_sampling and said:
            dropped.parameter(name, "this model takes temperature or top_p, not both")
        else:
            said[spelled] = value
    return said


def _against(
    name: str, value: float, can: ModelCapabilities, family: Family, thinking: Thinking
) -> str:
    """Why a sampling parameter is not sent; "": it is."""
    if not _samples(can, family):
        return _NOT_TAKEN
    if name == "temperature" and value > _MOST_TEMPERATURE:
        return f"it is above {_MOST_TEMPERATURE}, the most this provider takes"
    if thinking.is_boundless or (thinking.is_on and family.is_claude):
        return "this model does not take it while it thinks"
    return ""


def _samples(can: ModelCapabilities, family: Family) -> bool:
    return family.sampling if can.sampling is None else can.sampling


def _additional(
    params: GenerationParams,
    can: ModelCapabilities,
    family: Family,
    thinking: Thinking,
    dropped: Dropped,
) -> Json:
    fields: Json = {}
    if params.top_k is not None:
        if why := _against_top_k(can, family, thinking):
            dropped.parameter("top_k", why)
        else:
            said: Any = params.top_k
            for name in reversed(family.top_k):
                said = {name: said}
            fields |= said
    for name, value, able in (
        ("seed", params.seed, can.seed),
        ("frequency_penalty", params.frequency_penalty, None),
        ("presence_penalty", params.presence_penalty, None),
    ):
        if value is None:
            continue
        if family.penalties and able is not False:
            fields[name] = value
        else:
            dropped.parameter(name, _NOT_TAKEN)
    if params.top_logprobs is not None:
        dropped.parameter("top_logprobs", "this provider gives no probabilities")
    return fields


def _against_top_k(can: ModelCapabilities, family: Family, thinking: Thinking) -> str:
    if not family.top_k or not _samples(can, family):
        return _NOT_TAKEN
    if thinking.is_boundless or (thinking.is_on and family.is_claude):
        return "this model does not take it while it thinks"
    return ""
