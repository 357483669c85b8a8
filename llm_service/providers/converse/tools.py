"""Tools in the words of Converse, and the tool that brings about JSON where a model has no mode."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ProviderTool,
    ResponseFormat,
    ToolChoice,
    ToolMode,
)
from llm_service.errors import InvalidField, Violation
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.converse.families import Family
from llm_service.providers.converse.parts import Names
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ANY_OBJECT = '{"type":"object"}'
_JSON_TOOL = "json"
_JSON_DESCRIPTION = "Respond with a JSON object."
# "computer_20250124": the tool's name is before its date.
_DATED = re.compile(r"(?P<name>[a-z_]+)_\d{8}")


@dataclass(slots=True)
class Tools:
    """What a request says of tools.

    Attributes:
        config: `toolConfig`; {} for none.
        fields: go among the additional fields.
        output: `outputConfig` of the format of the answer.
        names: what the names in the answer will mean.
    """

    config: Json = field(default_factory=dict)
    fields: Json = field(default_factory=dict)
    output: Json = field(default_factory=dict)
    names: Names = field(default_factory=Names)


class ToolShaper:
    """Shapes the tools of one call.

    Raises from `shape`:
        CapabilityNotSupported: the model has no tools, or not of this kind.
        InvalidField: a schema or a configuration is no JSON, or a choice names no tool.
    """

    def __init__(self, kind: str, call: Call, family: Family, dropped: Dropped) -> None:
        self._kind = kind
        self._call = call
        self._family = family
        self._dropped = dropped

    def shape(self, used: Iterable[str], *, thinks: bool) -> Tools:
        """All that the call asks for.

        Args:
            used: names of tools in the messages, without whose definition they are refused.
            thinks: the model will think, and some cannot be forced to call a tool then.
        """
        request = self._call.request
        choice = request.tool_choice or ToolChoice()
        checks.check_tool_choice(request.tools, choice)
        tools = Tools()
        listed = self._listed(tools, choice)
        callers = frozenset(tool.name for tool in request.tools if isinstance(tool, FunctionTool))
        json_tool = self._format(request.response_format, tools, callers)
        tools.names = Names(json_tool.get("name", ""), callers)
        used = list(dict.fromkeys(used))
        if choice.mode is ToolMode.NONE:
            listed = self._without(listed, used)
        if json_tool:
            listed.append({"toolSpec": json_tool})
        known = {said["name"] for said in tools.fields.get("tools", ())}
        if not listed and (unknown := [name for name in used if name not in known]):
            listed = self._stand_ins(unknown)
        if listed:
            tools.config["tools"] = listed
            self._choose(tools, choice, listed, thinks=thinks)
        return tools

    def _listed(self, tools: Tools, choice: ToolChoice) -> list[Json]:
        request = self._call.request
        if request.tools and self._call.capabilities.tools is False:
            raise self._refusal("tools", "has no tools with this model")
        listed = []
        for number, tool in enumerate(request.tools):
            path = f"tools[{number}]"
            if isinstance(tool, ProviderTool):
                listed += self._of_the_vendor(tool, path, tools)
            elif not choice.allowed_tools or tool.name in choice.allowed_tools:
                listed.append({"toolSpec": self._function(tool, f"{path}.function")})
        return listed

    def _function(self, tool: FunctionTool, path: str) -> Json:
        if not NAME.fullmatch(tool.name):
            raise self._refusal(f"{path}.name", "takes names of 64 letters, digits, _ and - only")
        spec: Json = {"name": tool.name}
        if tool.description.strip():
            spec["description"] = tool.description
        schema = tool.parameters_schema_json or _ANY_OBJECT
        spec["inputSchema"] = {"json": checks.schema(schema, f"{path}.parameters_schema_json")}
        if tool.strict is not None:
            if self._family.strict_tools:
                spec["strict"] = tool.strict
            elif tool.strict:
                self._dropped.content(
                    f"{path}.strict", "strict", "this model holds no tool to its schema"
                )
        return spec

    def _of_the_vendor(self, tool: ProviderTool, path: str, tools: Tools) -> list[Json]:
        """A tool of Bedrock's own is named; one of Anthropic's is configured among the fields."""
        config = _config(tool, f"{path}.provider_tool.config_json")
        if self._family.is_claude:
            dated = _DATED.fullmatch(tool.type)
            named: Json = {"type": tool.type, "name": dated["name"] if dated else tool.type}
            tools.fields.setdefault("tools", []).append(named | config)
            return []
        if config or not NAME.fullmatch(tool.type):
            raise self._refusal(path, "takes tools of its own by their name alone")
        return [{"systemTool": {"name": tool.type}}]

    def _format(self, wanted: ResponseFormat | None, tools: Tools, callers: frozenset[str]) -> Json:
        """The tool that brings the format about; {}: the model needs none."""
        able = self._call.capabilities.json_schema
        native = self._family.json_schema if able is None else able
        match wanted:
            case JsonSchemaFormat(name, schema, strict):
                raw = checks.schema(schema, "response_format.json_schema.schema_json")
                if native:
                    definition = {"schema": schema} | ({"name": name} if name else {})
                    structure = {"jsonSchema": definition}
                    tools.output = {"textFormat": {"type": "json_schema", "structure": structure}}
                    return {}
                spec = self._json_tool(raw, callers)
                if strict and self._family.strict_tools:
                    spec["strict"] = True
                return spec
            case JsonObjectFormat():
                return self._json_tool(msgspec.Raw(_ANY_OBJECT.encode()), callers)
        return {}

    def _json_tool(self, schema: msgspec.Raw, callers: frozenset[str]) -> Json:
        if self._call.capabilities.tools is False:
            raise self._refusal("response_format", "has neither a JSON mode nor tools here")
        self._dropped.emulated("the model is made to call a tool whose arguments are the answer")
        name, number = _JSON_TOOL, 1
        while name in callers:
            number += 1
            name = f"{_JSON_TOOL}_{number}"
        return {
            "name": name,
            "description": _JSON_DESCRIPTION,
            "inputSchema": {"json": schema},
        }

    def _without(self, listed: list[Json], used: list[str]) -> list[Json]:
        """No tool may be called: none is listed, unless the messages need their definitions."""
        if not used:
            return []
        if not self._family.is_claude:
            self._dropped.content(
                "tool_choice.mode",
                "the choice of no tool",
                "the messages hold calls, and this model then needs tools it may call",
            )
        return listed

    def _stand_ins(self, used: list[str]) -> list[Json]:
        self._dropped.content(
            "tools",
            "the absence of tools",
            "the messages hold calls, and the provider takes them only with tools of these names",
        )
        schema = {"json": msgspec.Raw(_ANY_OBJECT.encode())}
        return [{"toolSpec": {"name": name, "inputSchema": schema}} for name in used]

    def _choose(
        self, tools: Tools, choice: ToolChoice, listed: list[Json], *, thinks: bool
    ) -> None:
        chosen = self._choice(tools.names.json_tool, choice, listed, thinks=thinks)
        alone = choice.parallel is False
        if self._family.is_claude and (alone or chosen == "none"):
            # Only Anthropic's own words say this, and they may not be there beside Converse's.
            said: Json = {"type": chosen} if isinstance(chosen, str) else {"type": "tool", **chosen}
            if chosen != "none":
                said["disable_parallel_tool_use"] = True
            tools.fields["tool_choice"] = said
            return
        if alone:
            self._dropped.content(
                "tool_choice.parallel", "parallel", "this model decides how many tools it calls"
            )
        if isinstance(chosen, dict):
            tools.config["toolChoice"] = {"tool": chosen}
        elif chosen == "any" or (chosen == "auto" and choice.mode is not None):
            tools.config["toolChoice"] = {chosen: {}}

    def _choice(
        self, json_tool: str, choice: ToolChoice, listed: list[Json], *, thinks: bool
    ) -> str | Json:
        """Either "auto", "any" or "none", or the one tool to call."""
        forces = self._family.forces_tools and not (thinks and self._family.is_claude)
        if choice.mode is ToolMode.REQUIRED:
            if not forces:
                raise self._refusal("tool_choice", "cannot make this model call a tool, as asked")
            names = choice.allowed_tools
            return {"name": names[0]} if len(names) == 1 else "any"
        if not json_tool:
            none = choice.mode is ToolMode.NONE or not self._call.request.tools
            return "none" if none and self._family.is_claude else "auto"
        if not forces:
            return "auto"
        only = len(listed) == 1 or choice.mode is ToolMode.NONE
        return {"name": json_tool} if only else "any"

    def _refusal(self, path: str, what: str) -> Exception:
        return checks.not_supported(self._kind, self._call.provider_model, path, what)


def _config(tool: ProviderTool, path: str) -> Json:
    if not tool.config_json:
        return {}
    try:
        config: Json = msgspec.json.decode(tool.config_json, type=dict[str, msgspec.Raw])
        name = {"name": msgspec.json.decode(config["name"], type=str)} if "name" in config else {}
    except (ValueError, RecursionError) as error:
        raise InvalidField(Violation(path, "must be a JSON object, its name a string")) from error
    return config | name
