"""The parameters of a Chat Completions call, as far as vendor and model take them."""

from typing import Any

from llm_service.domain.completion import GenerationParams
from llm_service.providers.base import Call
from llm_service.providers.chat import reasoning
from llm_service.providers.chat.dialect import Dialect, Logprobs
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_NOT_HERE = "this provider has no such parameter"


def shape(call: Call, dialect: Dialect, dropped: Dropped, forced_tool: bool) -> Json:  # noqa: FBT001
    """The body's fields. `forced_tool`: the model must call a tool."""
    said = _plain(call.params, dialect)
    thinking = _reasoning(call, dialect, dropped, forced_tool)
    _drop_lacking(call, dialect, said, dropped, thinking)
    if "top_logprobs" in said and dialect.logprobs is Logprobs.FLAG:
        said["logprobs"] = True
    elif "top_logprobs" in said:
        said["logprobs"] = said.pop("top_logprobs")
    if "seed" in said and dialect.seed_field != "seed":
        said[dialect.seed_field] = said.pop("seed")
    return said | thinking


def _plain(params: GenerationParams, dialect: Dialect) -> Json:
    """The parameters that go over as they are."""
    said = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        dialect.max_tokens_field: params.max_output_tokens,
        "stop": list(params.stop_sequences) or None,
        "seed": params.seed,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "top_logprobs": params.top_logprobs,
    }
    return {name: value for name, value in said.items() if value is not None}


def _reasoning(call: Call, dialect: Dialect, dropped: Dropped, forced_tool: bool) -> Json:  # noqa: FBT001
    if call.capabilities.thinking is False:
        reasoning.drop_all(call, dropped)
        return {}
    if forced_tool and dialect.forced_tools_stop_thinking:
        return reasoning.stop(call, dropped)
    return dialect.reasoning(call, dropped)


def _drop_lacking(
    call: Call, dialect: Dialect, said: Json, dropped: Dropped, thinking: Json
) -> None:
    """Leave out what the vendor or the model does not take, and say so."""
    can = call.capabilities
    lacks = set(dialect.lacks)
    if not dialect.top_k:
        lacks.add("top_k")
    if dialect.logprobs is Logprobs.NONE:
        lacks.add("top_logprobs")
    sampling = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")
    thinks = _thinks(call, dialect, thinking)
    for applies, names, why in (
        (True, tuple(sorted(lacks)), _NOT_HERE),
        (can.sampling is False, sampling, "this model does not take it"),
        (can.seed is False, ("seed",), "this model does not take it"),
        (can.logprobs is False, ("top_logprobs",), "this model does not take it"),
        (thinks, dialect.thinking_ignores, "the model ignores it while it thinks"),
    ):
        for name in names if applies else ():
            if said.pop("stop" if name == "stop_sequences" else name, None) is not None:
                dropped.parameter(name, why)


def _thinks(call: Call, dialect: Dialect, thinking: Json) -> bool:
    """Whether the model will think, as far as that is known."""
    if thinking.get("thinking") == {"type": "disabled"}:
        return False
    if thinking.get("reasoning_effort") == "none" or call.capabilities.thinking is False:
        return False
    return bool(call.capabilities.thinking or thinking or dialect.thinks_unasked)
