"""The tools of a call, the choice among them and the form of its answer."""

from typing import Any

import msgspec

from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ProviderTool,
    ResponseFormat,
    TextFormat,
    Tool,
    ToolChoice,
    ToolMode,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import InvalidField, Violation
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.responses.dialect import Dialect

Json = dict[str, Any]

_NO_PARAMETERS: Json = {"type": "object", "properties": {}}
_SCHEMA_PATH = "response_format.json_schema.schema_json"


def tools(call: Call, dialect: Dialect) -> Json:
    """The fields of the body that are about tools.

    Raises:
        CapabilityNotSupported: the model takes none.
        InvalidField: a schema or a configuration is not JSON, or the choice names no tool.
    """
    listed, choice = call.request.tools, call.request.tool_choice or ToolChoice()
    checks.check_tool_choice(listed, choice)
    if not listed:
        return {}
    if call.capabilities.tools is False:
        raise checks.not_supported(dialect.kind, call.provider_model, "tools", "takes no tools")
    if choice.allowed_tools and not dialect.allowed_tools and choice.mode is not ToolMode.NONE:
        listed = tuple(tool for tool in listed if _is_among(tool, choice.allowed_tools))
    shaped: Json = {"tools": [_tool(tool, f"tools[{n}]") for n, tool in enumerate(listed)]}
    if (chosen := _choice(choice, dialect)) is not None:
        shaped["tool_choice"] = chosen
    if choice.parallel is not None:
        shaped["parallel_tool_calls"] = choice.parallel
    return shaped


def answer_format(wanted: ResponseFormat) -> Json:
    """`text.format`."""
    match wanted:
        case TextFormat():
            return {"type": "text"}
        case JsonObjectFormat():
            return {"type": "json_object"}
        case JsonSchemaFormat(name, schema_json, strict):
            schema = checks.schema(schema_json, _SCHEMA_PATH)
            shaped = {"type": "json_schema", "name": name or "answer", "schema": schema}
            return shaped if strict is None else {**shaped, "strict": strict}


def format_tool(call: Call) -> str:
    """The name of the tool that stands for the answer's format; "": the model has the format."""
    can: ModelCapabilities = call.capabilities
    match call.request.response_format:
        case JsonSchemaFormat(name) if can.json_schema is False and can.tools is not False:
            wanted = name or "answer"
        case JsonObjectFormat() if can.json_object is False and can.tools is not False:
            wanted = "answer"
        case _:
            return ""
    taken = {tool.name for tool in call.request.tools if isinstance(tool, FunctionTool)}
    while wanted in taken:
        wanted += "_"
    return wanted


def emulated(call: Call, name: str, shaped: Json, dropped: Dropped) -> None:
    """Have the model answer by calling the tool `name`."""
    wanted = call.request.response_format
    schema: Any = _NO_PARAMETERS
    if isinstance(wanted, JsonSchemaFormat):
        schema = checks.schema(wanted.schema_json, _SCHEMA_PATH)
    tool = {"type": "function", "name": name, "parameters": schema, "strict": False}
    others = shaped.get("tools", [])
    shaped["tools"] = [*others, tool]
    alone = not others or shaped.get("tool_choice") == "none"
    shaped["tool_choice"] = {"type": "function", "name": name} if alone else "required"
    dropped.emulated("the answer is the arguments of a tool that the model has to call")


def _is_among(tool: Tool, names: tuple[str, ...]) -> bool:
    return isinstance(tool, FunctionTool) and tool.name in names


def _tool(tool: Tool, path: str) -> Json:
    if isinstance(tool, ProviderTool):
        return {**_configuration(tool, path), "type": tool.type}
    shaped: Json = {"type": "function", "name": tool.name}
    if tool.description:
        shaped["description"] = tool.description
    shaped["parameters"] = _NO_PARAMETERS
    if tool.parameters_schema_json:
        shaped["parameters"] = checks.schema(
            tool.parameters_schema_json, f"{path}.function.parameters_schema_json"
        )
    # Unsaid, this API makes every schema strict, optional fields required: not what was asked.
    shaped["strict"] = bool(tool.strict)
    return shaped


def _configuration(tool: ProviderTool, path: str) -> dict[str, msgspec.Raw]:
    if not tool.config_json:
        return {}
    try:
        return msgspec.json.decode(tool.config_json, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as error:
        where = f"{path}.provider_tool.config_json"
        raise InvalidField(Violation(where, "must be a JSON object")) from error


def _choice(choice: ToolChoice, dialect: Dialect) -> str | Json | None:
    if choice.mode is ToolMode.NONE:
        return "none"
    names = choice.allowed_tools
    if choice.mode is ToolMode.REQUIRED and len(names) == 1:
        return {"type": "function", "name": names[0]}
    mode = choice.mode or (ToolMode.AUTO if names else None)
    if mode is None:
        return None
    if not names or not dialect.allowed_tools:
        return mode.value
    allowed = [{"type": "function", "name": name} for name in names]
    return {"type": "allowed_tools", "mode": mode.value, "tools": allowed}
