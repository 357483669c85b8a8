"""An answer in a format: the vendor's own, or brought about by a tool the model must call."""

import re
from typing import Any

from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    TextFormat,
)
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_SCHEMA = "response_format.json_schema.schema_json"


def emulating_tool(call: Call, dialect: Dialect) -> str:
    """The name of the tool whose arguments are the answer; "" if the format is native or none."""
    wanted, can = call.request.response_format, call.capabilities
    match wanted:
        case JsonSchemaFormat(name):
            native = dialect.json_schema and can.json_schema is not False
        case JsonObjectFormat():
            name, native = "", can.json_object is not False
        case _:
            return ""
    return "" if native else _unused(name or "json", call)


def emulate(call: Call, dialect: Dialect, tool: str, dropped: Dropped) -> Json:
    """The definition of the emulating tool.

    Raises:
        CapabilityNotSupported: the model takes no tools either.
    """
    if call.capabilities.tools is False:
        raise checks.not_supported(
            dialect.kind, call.provider_model, "response_format", "has no such answer format"
        )
    wanted = call.request.response_format
    parameters: object = {"type": "object"}
    if isinstance(wanted, JsonSchemaFormat):
        parameters = checks.schema(wanted.schema_json, _SCHEMA)
    dropped.emulated("the model is made to call a tool whose arguments are the answer")
    described = "Answer by calling this function."
    return {
        "type": "function",
        "function": {"name": tool, "description": described, "parameters": parameters},
    }


def response_format(wanted: ResponseFormat) -> Json:
    """The format in the dialect's own words."""
    match wanted:
        case TextFormat():
            return {"type": "text"}
        case JsonObjectFormat():
            return {"type": "json_object"}
        case JsonSchemaFormat(name, schema_json, strict):
            schema: Json = {"name": name, "schema": checks.schema(schema_json, _SCHEMA)}
            if strict is not None:
                schema["strict"] = strict
            return {"type": "json_schema", "json_schema": schema}


def _unused(wanted: str, call: Call) -> str:
    name = _NOT_IN_NAMES.sub("_", wanted)[:60]
    taken = {tool.name for tool in call.request.tools if isinstance(tool, FunctionTool)}
    while name in taken:
        name += "_"
    return name
