"""The format of the answer: what is asked of the API for it, and what of a tool."""

from dataclasses import dataclass
from typing import Any

import msgspec

from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
)
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.messages import output
from llm_service.providers.messages.tools import forces_a_tool, input_schema

FORMAT_TOOL = "answer_in_format"

_SCHEMA = "response_format.json_schema.schema_json"


@dataclass(frozen=True, slots=True)
class Format:
    """`output`: the body's `output_config.format`. `tool`: one whose arguments are the answer."""

    output: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None

    @property
    def tool_name(self) -> str:
        """Empty without a tool."""
        return self.tool["name"] if self.tool else ""


def format_of(call: Call, kind: str, dropped: Dropped) -> Format:
    """How to bring about the format the call wants.

    Raises:
        CapabilityNotSupported: the model can do neither.
        InvalidField: the schema is not a JSON object.
    """
    wanted = call.request.response_format
    if isinstance(wanted, JsonSchemaFormat):
        checks.schema(wanted.schema_json, _SCHEMA)
        if call.capabilities.json_schema is not False:
            schema = output.native(wanted)
            if schema is not None:
                return Format(output={"type": "json_schema", "schema": schema})
    elif not isinstance(wanted, JsonObjectFormat):
        return Format()
    if forces_a_tool(call.request.tool_choice):
        return Format()  # the answer is the call of that tool
    return Format(tool=_tool(wanted, call, kind, dropped))


def _tool(wanted: ResponseFormat, call: Call, kind: str, dropped: Dropped) -> dict[str, Any]:
    if call.capabilities.tools is False:
        raise checks.not_supported(
            kind, call.provider_model, "response_format", "has no formats for this model"
        )
    schema = wanted.schema_json if isinstance(wanted, JsonSchemaFormat) else '{"type":"object"}'
    if msgspec.json.decode(schema, type=dict[str, Any]).get("type", "object") != "object":
        raise checks.not_supported(kind, call.provider_model, _SCHEMA, "answers in objects only")
    taken = {tool.name for tool in call.request.tools if isinstance(tool, FunctionTool)}
    name = FORMAT_TOOL
    while name in taken:
        name += "_"
    dropped.emulated("the answer is brought about as the arguments of a tool, by this provider")
    return {
        "name": name,
        "description": "Gives the answer.",
        "input_schema": input_schema(schema, _SCHEMA),
    }
