"""The body of a call of the Responses API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from llm_service import catalog
from llm_service.domain.completion import GenerationParams, Warning
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.responses import tools
from llm_service.providers.responses.dialect import Dialect
from llm_service.providers.responses.messages import Json, Messages

# What the options may not say: the rest of the request decides it, or nobody would see the answer.
_OURS = frozenset(
    {"model", "input", "stream", "background", "previous_response_id", "conversation"}
)
# Objects of which the request may have said a part.
_SHARED = ("text", "reasoning")
_SEALED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


@dataclass(frozen=True, slots=True)
class Body:
    """The JSON to send and what was left out of it; `format_tool` as `tools.format_tool` says."""

    fields: Json = field(repr=False)
    warnings: tuple[Warning, ...]
    format_tool: str = ""

    def encoded(self) -> bytes:
        return msgspec.json.encode(self.fields)


def body(call: Call, dialect: Dialect, *, stream: bool) -> Body:
    """What to send.

    Raises:
        CapabilityNotSupported: the request holds what the API has no place for.
        InvalidField: a schema or the options are not JSON, or a name refers to nothing.
    """
    request, model = call.request, call.provider_model
    dropped = Dropped(request.strict_params, model)
    options = checks.options(call.options_json, _OURS)
    stored = bytes(options.get("store", b"")) == b"true"
    messages = Messages(dialect, model, dropped, stored=stored)
    shaped: Json = {"model": model, "input": messages.shape(request.messages), "store": False}
    # Reasoning comes back sealed, so that the next turn can have it though nothing is stored.
    include = [_SEALED] if _may_reason(call, dialect) else []
    shaped |= _params(call, dialect, dropped, include)
    shaped |= tools.tools(call, dialect)
    format_tool = tools.format_tool(call)
    if format_tool:
        tools.emulated(call, format_tool, shaped, dropped)
    elif request.response_format is not None:
        shaped["text"] = {"format": tools.answer_format(request.response_format)}
    if stream:
        shaped["stream"] = True
    if include:
        shaped["include"] = include
    return Body(_merged(shaped, options), dropped.warnings(), format_tool)


def _may_reason(call: Call, dialect: Dialect) -> bool:
    """Models that never reason refuse to be asked for what they thought."""
    if call.capabilities.thinking is not None:
        return call.capabilities.thinking
    return catalog.wire_facts(dialect.kind, call.provider_model).get("api") != "chat"


def _params(call: Call, dialect: Dialect, dropped: Dropped, include: list[str]) -> Json:
    params, can = call.params, call.capabilities
    said = _plain(params, dropped)
    if can.sampling is False:
        for name in ("temperature", "top_p"):
            if said.pop(name, None) is not None:
                dropped.parameter(name, "this model does not take it")
    if can.logprobs is False and said.pop("top_logprobs", None) is not None:
        dropped.parameter("top_logprobs", "this model does not take it")
    if "top_logprobs" in said and dialect.logprobs_flag:
        said["logprobs"] = True
    elif "top_logprobs" in said:
        include.append(_LOGPROBS)
    reasoning = _reasoning(call, dialect, dropped)
    return {**said, "reasoning": reasoning} if reasoning else said


def _plain(params: GenerationParams, dropped: Dropped) -> Json:
    """The parameters that go over as they are; those the API does not have are left out."""
    for name, value in (
        ("top_k", params.top_k),
        ("stop_sequences", params.stop_sequences or None),
        ("seed", params.seed),
        ("frequency_penalty", params.frequency_penalty),
        ("presence_penalty", params.presence_penalty),
    ):
        if value is not None:
            dropped.parameter(name, "this API has no such parameter")
    said = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_output_tokens": params.max_output_tokens,
        "top_logprobs": params.top_logprobs,
    }
    return {name: value for name, value in said.items() if value is not None}


def _reasoning(call: Call, dialect: Dialect, dropped: Dropped) -> Json:
    wanted = call.params.reasoning
    if wanted is None:
        return {}
    if wanted.budget_tokens is not None:
        dropped.parameter("reasoning.budget_tokens", "this provider takes an effort only")
    shaped: Json = {}
    if wanted.effort is not None:
        shaped["effort"] = dialect.effort(wanted.effort, call.provider_model)
    if wanted.include_thoughts:
        shaped["summary"] = "auto"
    if shaped and call.capabilities.thinking is False:
        for name, field_name in (("effort", "effort"), ("summary", "include_thoughts")):
            if name in shaped:
                dropped.parameter(f"reasoning.{field_name}", "this model does not reason")
        return {}
    return shaped


def _merged(shaped: Json, options: Mapping[str, msgspec.Raw]) -> Json:
    """The body with the caller's options, which add to what both have a part of."""
    merged = {**shaped, **options}
    for name in _SHARED:
        if name in shaped and name in options:
            merged[name] = {**shaped[name], **_object(options[name], name)}
    if "include" in shaped and "include" in options:
        merged["include"] = list(dict.fromkeys([*shaped["include"], *_names(options["include"])]))
    return merged


def _object(said: msgspec.Raw, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(said, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as error:
        raise checks.bad_options(f"{name} must be an object") from error


def _names(said: msgspec.Raw) -> list[str]:
    try:
        return msgspec.json.decode(said, type=list[str])
    except (ValueError, RecursionError) as error:
        raise checks.bad_options("include must be a list of names") from error
