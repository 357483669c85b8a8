"""The body of a call of `/api/chat`."""

from typing import Any

import msgspec

from llm_service.domain.completion import Effort, Reasoning, Warning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Tool,
    ToolChoice,
    ToolMode,
)
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.ollama_chat.messages import Json, Messages

# What the options may not say: it is decided by the rest of the request.
_OURS = frozenset({"model", "messages", "stream"})
_NOT_BY_THIS_MODEL = "this model does not take it"
_STEPS = {
    Effort.MINIMAL: "low",
    Effort.LOW: "low",
    Effort.MEDIUM: "medium",
    Effort.HIGH: "high",
    Effort.MAX: "high",
}


def body(call: Call, kind: str, *, stream: bool) -> tuple[bytes, tuple[Warning, ...]]:
    """The JSON to send, and what was left out of it.

    Raises:
        CapabilityNotSupported: the request holds what Ollama has no place for.
        InvalidField: a schema or the options are not JSON, or a name refers to nothing.
    """
    request = call.request
    dropped = Dropped(request.strict_params, call.provider_model)
    shaped: Json = {
        "model": call.provider_model,
        "messages": Messages(kind, call.provider_model, dropped).shape(request.messages),
        "stream": stream,
    }
    if tools := _tools(call, kind, dropped):
        shaped["tools"] = tools
    match request.response_format:
        case JsonObjectFormat():
            shaped["format"] = "json"
        case JsonSchemaFormat(_, schema_json):
            path = "response_format.json_schema.schema_json"
            shaped["format"] = checks.schema(schema_json, path)
    shaped |= _think(call, dropped)
    shaped |= _logprobs(call, dropped)
    return _with_options(shaped, _options(call, dropped), call.options_json), dropped.warnings()


def _with_options(shaped: Json, options: Json, text: str) -> bytes:
    """The caller's `options` are added to ours, not put in their place."""
    said = dict(checks.options(text, _OURS))
    if "options" in said:
        try:
            options |= msgspec.json.decode(said.pop("options"), type=dict[str, msgspec.Raw])
        except ValueError as error:
            raise checks.bad_options("options must be a JSON object") from error
    if options:
        shaped["options"] = options
    return msgspec.json.encode(shaped | said)


def _options(call: Call, dropped: Dropped) -> Json:
    params, can = call.params, call.capabilities
    said: dict[str, Any] = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "num_predict": params.max_output_tokens,
        "stop": list(params.stop_sequences) or None,
        "seed": params.seed,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
    }
    said = {name: value for name, value in said.items() if value is not None}
    sampling = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")
    for able, names in ((can.sampling, sampling), (can.seed, ("seed",))):
        for name in names if able is False else ():
            if said.pop(name, None) is not None:
                dropped.parameter(name, _NOT_BY_THIS_MODEL)
    return said


def _logprobs(call: Call, dropped: Dropped) -> Json:
    if call.params.top_logprobs is None:
        return {}
    if call.capabilities.logprobs is False:
        dropped.parameter("top_logprobs", _NOT_BY_THIS_MODEL)
        return {}
    return {"logprobs": True, "top_logprobs": call.params.top_logprobs}


def _think(call: Call, dropped: Dropped) -> Json:
    """`think` switches; only gpt-oss has steps, and refuses a mere switch."""
    reasoning = call.params.reasoning or Reasoning()
    effort, thoughts = reasoning.effort, reasoning.include_thoughts
    if reasoning.budget_tokens is not None:
        dropped.parameter("reasoning.budget_tokens", "this provider takes an effort only")
    if thoughts is False and effort is not Effort.NONE:
        dropped.parameter("reasoning.include_thoughts", "this provider shows what it thinks")
    if call.capabilities.thinking is False:
        if effort not in (None, Effort.NONE):
            dropped.parameter("reasoning.effort", _NOT_BY_THIS_MODEL)
        return {}
    if effort is Effort.NONE:
        return {"think": False}
    if effort is not None:
        return {"think": _STEPS[effort] if "gpt-oss" in call.provider_model else True}
    return {"think": True} if thoughts else {}


def _tools(call: Call, kind: str, dropped: Dropped) -> list[Json]:
    tools, choice = call.request.tools, call.request.tool_choice or ToolChoice()
    checks.check_tool_choice(tools, choice)
    model = call.provider_model
    if not tools or choice.mode is ToolMode.NONE:
        return []
    if call.capabilities.tools is False:
        raise checks.not_supported(kind, model, "tools", "takes no tools with this model")
    if choice.mode is ToolMode.REQUIRED:
        raise checks.not_supported(kind, model, "tool_choice", "cannot force a tool to be called")
    if choice.parallel is False:
        dropped.content("tool_choice.parallel", "parallel", "this provider decides itself")
    return [
        _tool(tool, f"tools[{number}]", model, kind, dropped)
        for number, tool in enumerate(tools)
        if not choice.allowed_tools
        or (isinstance(tool, FunctionTool) and tool.name in choice.allowed_tools)
    ]


def _tool(tool: Tool, path: str, model: str, kind: str, dropped: Dropped) -> Json:
    if not isinstance(tool, FunctionTool):
        raise checks.not_supported(kind, model, path, "runs no tools of its own here")
    if tool.strict:
        dropped.content(f"{path}.function.strict", "strict", "this provider has no such mode")
    parameters: object = {"type": "object", "properties": {}}
    if tool.parameters_schema_json:
        parameters = checks.schema(
            tool.parameters_schema_json, f"{path}.function.parameters_schema_json"
        )
    function: Json = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}
