"""Parameters of generation in the words of the Messages API."""

from dataclasses import dataclass
from typing import Any

from llm_service import catalog
from llm_service.domain.completion import GenerationParams
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.messages.profile import CURRENT, SAMPLING, Profile
from llm_service.providers.messages.thinking import Thinking, thinking

Json = dict[str, Any]

DEFAULT_MAX_TOKENS = 8192
"""What the answer of a model we know nothing of may take; the API wants a number."""

DEFAULT_MAX_TOKENS_ADAPTIVE = 32_000
"""The same for models that decide themselves how much to think; each of them takes more."""

_MOST_TEMPERATURE = 1.0
_LEAST_TOP_P_THINKING = 0.95


@dataclass(frozen=True, slots=True)
class Shaped:
    """The parameters of a body, its `output_config`, and the API version that takes them."""

    body: Json
    output_config: Json
    version: str


def params(
    call: Call, profile: Profile, dropped: Dropped, *, forced: bool, bare_tool_turn: bool
) -> Shaped:
    """Shape the parameters of a call.

    Args:
        call: whose parameters and model.
        profile: the account's.
        dropped: told of what is left out.
        forced: the model must call a tool.
        bare_tool_turn: see `conversation.Shaped`.
    """
    asked = call.params
    most = asked.max_output_tokens or _most(call, profile)
    thought = thinking(call, profile, dropped, most, forced=forced, bare_tool_turn=bare_tool_turn)
    body: Json = {"max_tokens": most}
    if stops := _stops(asked, dropped):
        body["stop_sequences"] = stops
    if thought.config:
        body["thinking"] = thought.config
    sampling, version = _sampling(call, profile, dropped, thought)
    _drop_strangers(asked, dropped)
    return Shaped(body | sampling, {"effort": thought.effort} if thought.effort else {}, version)


def version_of(call: Call, profile: Profile) -> str:
    """The API's version for calls of the model."""
    facts = catalog.wire_facts(profile.kind, call.provider_model)
    return profile.version or facts.get("anthropic_version", CURRENT)


def _most(call: Call, profile: Profile) -> int:
    known = catalog.facts(profile.kind, call.provider_model)
    if known and known.max_output_tokens:
        return known.max_output_tokens
    facts = catalog.wire_facts(profile.kind, call.provider_model)
    is_adaptive = facts.get("reasoning") == "adaptive"
    return DEFAULT_MAX_TOKENS_ADAPTIVE if is_adaptive else DEFAULT_MAX_TOKENS


def _stops(asked: GenerationParams, dropped: Dropped) -> list[str]:
    taken = [stop for stop in asked.stop_sequences if stop.strip()]
    if len(taken) < len(asked.stop_sequences):
        dropped.parameter("stop_sequences", "this provider takes none of white space only")
    return taken


def _sampling(
    call: Call, profile: Profile, dropped: Dropped, thought: Thinking
) -> tuple[Json, str]:
    asked, version = call.params, version_of(call, profile)
    said = {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k}
    said = {name: value for name, value in said.items() if value is not None}
    if said and not _takes_sampling(call, profile):
        for name in said:
            dropped.parameter(name, "this model does not take it")
        said = {}
    for name, why in _obstacles(said, thought).items():
        del said[name]
        dropped.parameter(name, why)
    return said, SAMPLING if said else version


def _takes_sampling(call: Call, profile: Profile) -> bool:
    if profile.version not in ("", SAMPLING):
        return False
    able = call.capabilities.sampling
    if able is None:
        facts = catalog.wire_facts(profile.kind, call.provider_model)
        return facts.get("anthropic_version") != CURRENT
    return able


def _obstacles(said: Json, thought: Thinking) -> dict[str, str]:
    """Why a sampling parameter cannot go with the rest of them."""
    why: dict[str, str] = {}
    if thought.on:
        for name in ("temperature", "top_k"):
            if name in said and (name, said[name]) != ("temperature", _MOST_TEMPERATURE):
                why[name] = "this model does not take it while it thinks"
        if said.get("top_p", 1) < _LEAST_TOP_P_THINKING:
            why["top_p"] = "while it thinks this model takes 0.95 and more"
    if said.get("temperature", 0) > _MOST_TEMPERATURE:
        why["temperature"] = "this provider takes 0 to 1"
    if {"temperature", "top_p"} <= said.keys() - why.keys():
        why["top_p"] = "this provider takes a temperature or a top_p, not both"
    return why


def _drop_strangers(asked: GenerationParams, dropped: Dropped) -> None:
    for name in ("seed", "frequency_penalty", "presence_penalty", "top_logprobs"):
        if getattr(asked, name) is not None:
            dropped.parameter(name, "this provider has no such parameter")
