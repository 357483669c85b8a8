"""Tools, and the choice among them, in Google's words."""

import re
from collections.abc import Sequence

import msgspec

from llm_service.domain.content import FunctionTool, ProviderTool, Tool, ToolChoice, ToolMode
from llm_service.errors import InvalidField, Violation
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.gemini.door import KIND, Door, is_third
from llm_service.providers.gemini.media import Json

_UNDERLINE = re.compile(r"_+([a-z0-9])")
_LISTS = frozenset({"mcpServers"})


def camel(name: str) -> str:
    """A field's name as JSON has it: "google_search" is "googleSearch"."""
    return _UNDERLINE.sub(lambda match: match[1].upper(), name)


def functions(tools: Sequence[Tool]) -> list[FunctionTool]:
    return [tool for tool in tools if isinstance(tool, FunctionTool)]


def answer_tool_name(tools: Sequence[Tool]) -> str:
    """A name for the tool whose arguments are the answer; no tool of the caller's has it."""
    taken = {tool.name for tool in functions(tools)}
    name = "answer"
    while name in taken:
        name += "_"
    return name


def shape(call: Call, door: Door, dropped: Dropped) -> Json:
    """`tools` and `toolConfig`.

    Raises:
        CapabilityNotSupported: the model takes no tools, or the door has no such tool.
        InvalidField: a schema is no JSON object, or a choice names no tool.
    """
    tools, model = call.request.tools, call.provider_model
    if tools and call.capabilities.tools is False:
        raise checks.not_supported(KIND, model, "tools", "takes no tools with this model")
    choice = call.request.tool_choice or ToolChoice()
    checks.check_tool_choice(tools, choice)
    _check_choice(choice, tools, model, dropped)
    declared = [
        declaration(tool, f"tools[{number}]")
        for number, tool in enumerate(tools)
        if isinstance(tool, FunctionTool)
    ]
    shaped: list[Json] = [{"functionDeclarations": declared}] if declared else []
    for number, tool in enumerate(tools):
        if isinstance(tool, ProviderTool) and choice.mode is not ToolMode.NONE:
            shaped.append(_provider_tool(tool, door, model, f"tools[{number}]"))
    config: Json = {}
    if declared and (mode := _mode(choice, functions(tools))):
        config["functionCallingConfig"] = mode
    if declared and len(shaped) > 1 and is_third(model) and not door.is_vertex:
        config["includeServerSideToolInvocations"] = True
    return {
        **({"tools": shaped} if shaped else {}),
        **({"toolConfig": config} if config else {}),
    }


def _check_choice(choice: ToolChoice, tools: Sequence[Tool], model: str, dropped: Dropped) -> None:
    declared = functions(tools)
    if choice.mode is ToolMode.REQUIRED and tools and not declared:
        raise checks.not_supported(
            KIND, model, "tool_choice.mode", "cannot be made to use a tool it runs itself"
        )
    if choice.parallel is False and declared:
        dropped.content("tool_choice.parallel", "parallel", "this provider may always call several")


def declaration(tool: FunctionTool, path: str) -> Json:
    declared: Json = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    if tool.parameters_schema_json:
        declared["parametersJsonSchema"] = checks.schema(
            tool.parameters_schema_json, f"{path}.function.parameters_schema_json"
        )
    return declared


def _mode(choice: ToolChoice, declared: Sequence[FunctionTool]) -> Json:
    """Strict tools and subsets without force are had by mode VALIDATED, which ANY implies."""
    names = list(choice.allowed_tools)
    if choice.mode is ToolMode.NONE:
        return {"mode": "NONE"}
    if choice.mode is ToolMode.REQUIRED:
        return {"mode": "ANY", **({"allowedFunctionNames": names} if names else {})}
    if names:
        return {"mode": "VALIDATED", "allowedFunctionNames": names}
    if any(tool.strict for tool in declared):
        return {"mode": "VALIDATED"}
    return {"mode": "AUTO"} if choice.mode is ToolMode.AUTO else {}


def _provider_tool(tool: ProviderTool, door: Door, model: str, path: str) -> Json:
    name = camel(tool.type)
    if name not in door.provider_tools:
        raise checks.not_supported(KIND, model, f"{path}.provider", "runs no such tool here")
    if name in _LISTS:
        return {name: _items(tool.config_json, f"{path}.provider.config_json")}
    at = f"{path}.provider.config_json"
    return {name: checks.schema(tool.config_json, at) if tool.config_json else {}}


def _items(text: str, path: str) -> list[msgspec.Raw]:
    """One or several, for the tools that are a list."""
    try:
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except (ValueError, RecursionError):
        pass
    if not text:
        raise InvalidField(Violation(path, "is needed by this tool"))
    return [checks.schema(text, path)]
