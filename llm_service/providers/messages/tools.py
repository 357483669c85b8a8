"""Tools, and the choice among them, in the words of the Messages API."""

import re
from typing import Any

import msgspec

from llm_service.domain.content import (
    FunctionTool,
    ProviderTool,
    Tool,
    ToolChoice,
    ToolMode,
)
from llm_service.errors import InvalidField, Violation
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RELEASE = re.compile(r"_\d{8}$")
# Where a tool's name is not its type without the release.
_NAMES = {
    "text_editor_20241022": "str_replace_editor",
    "text_editor_20250124": "str_replace_editor",
    "text_editor_20250429": "str_replace_based_edit_tool",
    "text_editor_20250728": "str_replace_based_edit_tool",
}
_WEB_TOOL = re.compile(r"web_(search|fetch)_(?P<release>\d{8})")
_FREE_SINCE = "20260209"
_NAMELESS = re.compile(r"mcp_toolset|\w+_toolset_\d{8}")
# Tools the vendor still calls a beta, and which.
_BETAS = (
    (re.compile(r"(computer|bash|text_editor)_20241022"), "computer-use-2024-10-22"),
    (re.compile(r"computer_20250124"), "computer-use-2025-01-24"),
    (re.compile(r"computer_20251124"), "computer-use-2025-11-24"),
    (re.compile(r"mcp_toolset"), "mcp-client-2025-11-20"),
    (re.compile(r"advisor_20260301"), "advisor-tool-2026-03-01"),
)


def code_is_free(call: Call) -> bool:
    """Whether running code costs the call its tokens alone.

    It does where a web tool of that release or a later one is in the request
    (platform.claude.com/docs/en/agents-and-tools/tool-use/code-execution-tool).
    """
    types = (tool.type for tool in call.request.tools if isinstance(tool, ProviderTool))
    found = map(_WEB_TOOL.fullmatch, types)
    return any(match["release"] >= _FREE_SINCE for match in found if match)


def tools(call: Call, kind: str, dropped: Dropped, format_tool: Json | None) -> Json:
    """The body's `tools` and `tool_choice`. `format_tool` brings about the answer's format.

    Raises:
        CapabilityNotSupported: the model calls no tools, or one cannot be described to it.
        InvalidField: a schema or a configuration is not JSON, or a name refers to nothing.
    """
    given, choice = call.request.tools, call.request.tool_choice or ToolChoice()
    checks.check_tool_choice(given, choice)
    if given and call.capabilities.tools is False:
        raise checks.not_supported(kind, call.provider_model, "tools", "calls none with this model")
    listed = [
        _tool(tool, f"tools[{number}]", call, kind, dropped) for number, tool in enumerate(given)
    ]
    if choice.allowed_tools and choice.mode is not ToolMode.NONE:
        listed = [tool for tool in listed if tool.get("name") in choice.allowed_tools]
    if format_tool is not None:
        listed.append(format_tool)
    if not listed:
        return {}
    shaped: Json = {"tools": listed}
    if (chosen := _choice(choice, given, format_tool)) is not None:
        shaped["tool_choice"] = chosen
    return shaped


def betas(given: tuple[Tool, ...]) -> list[str]:
    """The betas the vendor's own tools belong to."""
    types = [tool.type for tool in given if isinstance(tool, ProviderTool)]
    return [beta for pattern, beta in _BETAS if any(pattern.fullmatch(kind) for kind in types)]


def forces_a_tool(choice: ToolChoice | None) -> bool:
    """One certain tool must be called: the answer is that call."""
    return (
        choice is not None and choice.mode is ToolMode.REQUIRED and len(choice.allowed_tools) == 1
    )


def input_schema(text: str, path: str) -> msgspec.Raw:
    """The schema text itself; one that does not say that it is of an object is made to."""
    if not text:
        return msgspec.Raw(b'{"type":"object","properties":{}}')
    raw = checks.schema(text, path)
    said = msgspec.json.decode(text, type=dict[str, Any])
    if "type" not in said:
        rest = text.lstrip()[1:]
        comma = "," if said else ""
        return msgspec.Raw(f'{{"type":"object"{comma}{rest}'.encode())
    if said["type"] != "object":
        raise InvalidField(Violation(path, "must be the schema of an object"))
    return raw


def _tool(tool: Tool, path: str, call: Call, kind: str, dropped: Dropped) -> Json:
    if isinstance(tool, ProviderTool):
        return _provider_tool(tool, path)
    if not _NAME.fullmatch(tool.name):
        raise checks.not_supported(
            kind,
            call.provider_model,
            f"{path}.function.name",
            "takes names of letters, digits, _ and - only",
        )
    return _function(tool, path, call, dropped)


def _function(tool: FunctionTool, path: str, call: Call, dropped: Dropped) -> Json:
    shaped: Json = {"name": tool.name}
    if tool.description:
        shaped["description"] = tool.description
    where = f"{path}.function"
    shaped["input_schema"] = input_schema(
        tool.parameters_schema_json, f"{where}.parameters_schema_json"
    )
    if tool.strict and call.capabilities.json_schema is False:
        dropped.content(f"{where}.strict", "strict", "this model is not held to schemas")
    elif tool.strict:
        shaped["strict"] = True
    return shaped


def _provider_tool(tool: ProviderTool, path: str) -> Json:
    shaped: Json = {"type": tool.type}
    if tool.config_json:
        try:
            config = msgspec.json.decode(tool.config_json, type=dict[str, msgspec.Raw])
        except (ValueError, RecursionError) as error:
            raise InvalidField(
                Violation(f"{path}.provider_tool.config_json", "must be a JSON object")
            ) from error
        shaped = {**config, "type": tool.type}
    if "name" not in shaped and not _NAMELESS.fullmatch(tool.type):
        shaped["name"] = _NAMES.get(tool.type, _RELEASE.sub("", tool.type))
    return shaped


def _choice(choice: ToolChoice, given: tuple[Tool, ...], format_tool: Json | None) -> Json | None:
    mode = choice.mode
    if format_tool is not None:
        if not given or mode is ToolMode.NONE:
            return {"type": "tool", "name": format_tool["name"]}
        return {"type": "any", "disable_parallel_tool_use": True}
    if mode is ToolMode.NONE:
        return {"type": "none"}
    chosen: Json = {"type": "any" if mode is ToolMode.REQUIRED else "auto"}
    if forces_a_tool(choice):
        chosen = {"type": "tool", "name": choice.allowed_tools[0]}
    if choice.parallel is False:
        chosen["disable_parallel_tool_use"] = True
    elif mode is None:
        return None
    return chosen
