"""The body of a Chat Completions call."""

from collections.abc import Mapping

import msgspec

from llm_service.domain import estimates
from llm_service.domain.completion import Warning
from llm_service.domain.content import (
    FunctionTool,
    ProviderTool,
    Tool,
    ToolChoice,
    ToolMode,
)
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.chat import parameters, structured
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.chat.messages import Json, Messages
from llm_service.providers.dropped import Dropped

# What the options may not say: it is decided by the rest of the request.
_OURS = frozenset({"model", "messages", "stream", "stream_options"})
_UNSAID = ToolChoice()
_MOST_LISTED = 250_000
"""Tokens of what goes in, by our estimate, up to which it is listed: an event has 16 MiB."""


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
    tools = _tools(call, dialect, dropped)
    shaped |= parameters.shape(call, dialect, dropped, _forced(tools))
    shaped |= tools
    emulated = structured.emulating_tool(call, dialect)
    if request.response_format is not None and not emulated:
        shaped["response_format"] = structured.response_format(request.response_format)
    if stream:
        shaped["stream"] = True
        if dialect.include_usage:
            shaped["stream_options"] = {"include_usage": True}
            if dialect.continuous_usage:
                shaped["stream_options"]["continuous_usage_stats"] = True
        if dialect.return_token_ids and estimates.input_tokens(request) <= _MOST_LISTED:
            shaped["return_token_ids"] = True
    shaped |= _options(call.options_json)
    return msgspec.json.encode(shaped), dropped.warnings()


def _forced(tools: Json) -> bool:
    """Whether the model must call a tool."""
    return tools.get("tool_choice") not in (None, "none", "auto")


def _tools(call: Call, dialect: Dialect, dropped: Dropped) -> Json:
    """The tools and the choice among them, with the one that brings a format about."""
    emulated = structured.emulating_tool(call, dialect)
    shaped = _own_tools(call, dialect, dropped)
    if not emulated:
        return shaped
    tool = structured.emulate(call, dialect, emulated, dropped)
    choice = call.request.tool_choice or _UNSAID
    if not shaped or choice.mode is ToolMode.NONE:
        chosen = {"type": "function", "function": {"name": emulated}}
        return {"tools": [tool], "tool_choice": chosen}
    return {**shaped, "tools": [*shaped["tools"], tool], "tool_choice": dialect.required}


def _own_tools(call: Call, dialect: Dialect, dropped: Dropped) -> Json:
    tools, choice = call.request.tools, call.request.tool_choice or _UNSAID
    checks.check_tool_choice(tools, choice)
    if not tools:
        return {}
    if call.capabilities.tools is False:
        raise checks.not_supported(
            dialect.kind, call.provider_model, "tools", "takes no tools with this model"
        )
    listed = [
        (tool, _tool(tool, f"tools[{number}]", call.provider_model, dialect, dropped))
        for number, tool in enumerate(tools)
    ]
    if choice.allowed_tools and not dialect.allowed_tools and choice.mode is not ToolMode.NONE:
        listed = [(tool, said) for tool, said in listed if _is_named(tool, choice)]
    shaped: Json = {"tools": [said for _, said in listed]}
    if (chosen := _tool_choice(choice, dialect)) is not None:
        shaped["tool_choice"] = chosen
    if choice.parallel is not None and dialect.parallel:
        shaped["parallel_tool_calls"] = choice.parallel
    elif choice.parallel is False:
        dropped.content("tool_choice.parallel", "parallel", "this provider decides itself")
    return shaped


def _is_named(tool: Tool, choice: ToolChoice) -> bool:
    return isinstance(tool, FunctionTool) and tool.name in choice.allowed_tools


def _tool(tool: Tool, path: str, model: str, dialect: Dialect, dropped: Dropped) -> Json:
    if isinstance(tool, ProviderTool):
        if not dialect.provider_tools:
            raise checks.not_supported(dialect.kind, model, path, "runs no tools of its own here")
        config = checks.schema(tool.config_json or "{}", f"{path}.provider.config_json")
        return {**msgspec.json.decode(config, type=dict[str, msgspec.Raw]), "type": tool.type}
    function: Json = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_schema_json:
        function["parameters"] = checks.schema(
            tool.parameters_schema_json, f"{path}.function.parameters_schema_json"
        )
    if tool.strict is not None and dialect.strict:
        function["strict"] = tool.strict
    elif tool.strict:
        dropped.content(f"{path}.function.strict", "strict", "this provider has no such mode")
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
        return dialect.required if mode is ToolMode.REQUIRED else mode.value
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode.value, "tools": tools}}


def _options(text: str) -> Mapping[str, msgspec.Raw]:
    options = checks.options(text, _OURS)
    if "n" in options and msgspec.json.decode(options["n"]) != 1:
        raise checks.bad_options("may not ask for several answers with n")
    return options
