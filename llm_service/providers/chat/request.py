"""The body of a Chat Completions call."""

from collections.abc import Mapping

import msgspec

from llm_service.domain.completion import GenerationParams, Warning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    TextFormat,
    Tool,
    ToolChoice,
    ToolMode,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.chat.messages import Json, Messages
from llm_service.providers.dropped import Dropped

# What the options may not say: it is decided by the rest of the request.
_OURS = frozenset({"model", "messages", "stream", "stream_options"})


def body(call: Call, dialect: Dialect, *, stream: bool) -> tuple[bytes, tuple[Warning, ...]]:
    """The JSON to send, and what was left out of it.

    Raises:
        CapabilityNotSupported: the request holds what the dialect has no place for.
        InvalidField: a schema or the options are not JSON, or a name refers to nothing.
    """
    request = call.request
    dropped = Dropped(request.strict_params, call.provider_model)
    shaped: Json = {
        "model": call.provider_model,
        "messages": Messages(dialect, call.provider_model, dropped).shape(request.messages),
    }
    shaped |= _params(call.params, call.capabilities, dialect, dropped)
    shaped |= _tools(call, dialect)
    if request.response_format is not None:
        shaped["response_format"] = _response_format(request.response_format)
    if stream:
        shaped["stream"] = True
        if dialect.include_usage:
            shaped["stream_options"] = {"include_usage": True}
    shaped |= _options(call.options_json)
    return msgspec.json.encode(shaped), dropped.warnings()


def _params(
    params: GenerationParams, can: ModelCapabilities, dialect: Dialect, dropped: Dropped
) -> Json:
    said = _plain(params, dialect) | _reasoning(params, dropped)
    if params.top_k is not None:
        dropped.parameter("top_k", "this provider has no such parameter")
    for able, names in (
        (can.sampling, ("temperature", "top_p", "frequency_penalty", "presence_penalty")),
        (can.seed, ("seed",)),
        (can.logprobs, ("top_logprobs",)),
        (can.thinking, ("reasoning_effort",)),
    ):
        if able is False:
            for name in names:
                if said.pop(name, None) is not None:
                    field = "reasoning.effort" if name == "reasoning_effort" else name
                    dropped.parameter(field, "this model does not take it")
    if "top_logprobs" in said:
        said["logprobs"] = True
    return said


def _plain(params: GenerationParams, dialect: Dialect) -> Json:
    """The parameters that go over as they are."""
    said = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        dialect.max_tokens_field: params.max_output_tokens,
        "stop": list(params.stop_sequences) or None,
        "seed": params.seed,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "top_logprobs": params.top_logprobs,
    }
    return {name: value for name, value in said.items() if value is not None}


def _reasoning(params: GenerationParams, dropped: Dropped) -> Json:
    reasoning = params.reasoning
    if reasoning is None:
        return {}
    if reasoning.budget_tokens is not None:
        dropped.parameter("reasoning.budget_tokens", "this provider takes an effort only")
    if reasoning.include_thoughts is not None:
        dropped.parameter("reasoning.include_thoughts", "this provider decides what it shows")
    return {} if reasoning.effort is None else {"reasoning_effort": reasoning.effort.value}


def _tools(call: Call, dialect: Dialect) -> Json:
    tools, choice = call.request.tools, call.request.tool_choice or ToolChoice()
    checks.check_tool_choice(tools, choice)
    if not tools:
        return {}
    listed = [
        _tool(tool, f"tools[{number}]", call.provider_model, dialect)
        for number, tool in enumerate(tools)
    ]
    if choice.allowed_tools and not dialect.allowed_tools and choice.mode is not ToolMode.NONE:
        listed = [tool for tool in listed if tool["function"]["name"] in choice.allowed_tools]
    shaped: Json = {"tools": listed}
    if (chosen := _tool_choice(choice, dialect)) is not None:
        shaped["tool_choice"] = chosen
    if choice.parallel is not None:
        shaped["parallel_tool_calls"] = choice.parallel
    return shaped


def _tool(tool: Tool, path: str, model: str, dialect: Dialect) -> Json:
    if not isinstance(tool, FunctionTool):
        raise checks.not_supported(dialect.kind, model, path, "runs no tools of its own here")
    function: Json = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_schema_json:
        function["parameters"] = checks.schema(
            tool.parameters_schema_json, f"{path}.function.parameters_schema_json"
        )
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice, dialect: Dialect) -> str | Json | None:
    if choice.mode is ToolMode.NONE:
        return "none"
    names = choice.allowed_tools
    if choice.mode is ToolMode.REQUIRED and len(names) == 1:
        return {"type": "function", "function": {"name": names[0]}}
    mode = choice.mode or (ToolMode.AUTO if names else None)
    if mode is None:
        return None
    if not names or not dialect.allowed_tools:
        return mode.value
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode.value, "tools": tools}}


def _response_format(wanted: ResponseFormat) -> Json:
    match wanted:
        case TextFormat():
            return {"type": "text"}
        case JsonObjectFormat():
            return {"type": "json_object"}
        case JsonSchemaFormat(name, schema_json, strict):
            schema: Json = {
                "name": name,
                "schema": checks.schema(schema_json, "response_format.json_schema.schema_json"),
            }
            if strict is not None:
                schema["strict"] = strict
            return {"type": "json_schema", "json_schema": schema}


def _options(text: str) -> Mapping[str, msgspec.Raw]:
    options = checks.options(text, _OURS)
    if "n" in options and msgspec.json.decode(options["n"]) != 1:
        raise checks.bad_options("may not ask for several answers with n")
    return options
