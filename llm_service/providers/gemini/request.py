"""The body of a generateContent call."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from llm_service.domain.completion import GenerationParams, Warning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    ToolChoice,
    ToolMode,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.gemini import tools
from llm_service.providers.gemini.contents import Contents
from llm_service.providers.gemini.door import KIND, Door, is_second
from llm_service.providers.gemini.media import Json
from llm_service.providers.gemini.thinking import thinking_config

# What the options may not say: it is decided by the rest of the request.
_OURS = frozenset({"model", "contents", "systemInstruction", "tools", "stream"})
# Objects of the body that the options add to, rather than replace.
_SHARED = ("generationConfig", "toolConfig")
_MOST_DEPTH = 4
_INT32 = 2**31
# The contract's names of parameters that some models do not take.
_NAMES = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
    "seed": "seed",
    "logprobs": "top_logprobs",
}
_GEMMA = re.compile(r"gemma-?[1-3](?!\d)")


@dataclass(frozen=True, slots=True)
class Body:
    """What to send, by its fields, and what was left out of it.

    `answer_tool` names the tool whose arguments are the answer's text; "" if none is.
    """

    fields: Json = field(repr=False)
    warnings: tuple[Warning, ...]
    answer_tool: str = ""

    def encoded(self) -> bytes:
        return msgspec.json.encode(self.fields)


def body(call: Call, door: Door) -> Body:
    """The request in Google's words.

    Raises:
        CapabilityNotSupported: the request holds what the door or the model has no place for.
        InvalidField: a schema or the options are not JSON, or a name refers to nothing.
    """
    request = call.request
    dropped = Dropped(request.strict_params, call.provider_model)
    conversation = Contents(door, call.provider_model, dropped).shape(request.messages)
    said: Json = {"contents": conversation.contents}
    if conversation.system:
        said["systemInstruction"] = {"parts": conversation.system}
    if conversation.continuation:
        said["continuationToken"] = conversation.continuation
    said |= tools.shape(call, door, dropped)
    config = _params(call.params, call.capabilities, dropped)
    thinking = thinking_config(
        call.params.reasoning, call.provider_model, call.capabilities, dropped
    )
    if thinking:
        config["thinkingConfig"] = thinking
    answer_tool = _response_format(call, said, config, dropped)
    if config:
        said["generationConfig"] = config
    _add_options(said, call.options_json)
    return Body(said, dropped.warnings(), answer_tool)


def _params(params: GenerationParams, can: ModelCapabilities, dropped: Dropped) -> Json:
    said: Json = {
        "temperature": params.temperature,
        "topP": params.top_p,
        "topK": params.top_k,
        "maxOutputTokens": params.max_output_tokens,
        "stopSequences": list(params.stop_sequences) or None,
        "seed": params.seed,
        "frequencyPenalty": params.frequency_penalty,
        "presencePenalty": params.presence_penalty,
        "logprobs": params.top_logprobs,
    }
    said = {name: value for name, value in said.items() if value is not None}
    for able, names in (
        (can.sampling, ("temperature", "topP", "topK", "frequencyPenalty", "presencePenalty")),
        (can.seed, ("seed",)),
        (can.logprobs, ("logprobs",)),
    ):
        for name in names if able is False else ():
            if said.pop(name, None) is not None:
                dropped.parameter(_NAMES[name], "this model does not take it")
    if not -_INT32 <= said.get("seed", 0) < _INT32:
        del said["seed"]
        dropped.parameter("seed", "this provider's seeds have 32 bits")
    if "logprobs" in said:
        said["responseLogprobs"] = True
    return said


def _response_format(call: Call, said: Json, config: Json, dropped: Dropped) -> str:
    """Ask for the format, or for a call of a tool that has it; the name of that tool."""
    wanted = call.request.response_format
    if not isinstance(wanted, JsonObjectFormat | JsonSchemaFormat):
        return ""
    schema = (
        checks.schema(wanted.schema_json, "response_format.json_schema.schema_json")
        if isinstance(wanted, JsonSchemaFormat)
        else None
    )
    if not _is_emulated(call, schema):
        config["responseMimeType"] = "application/json"
        if schema is not None:
            config["responseJsonSchema"] = schema
        if (call.request.tool_choice or ToolChoice()).mode is ToolMode.NONE:
            _without_functions(said)
        return ""
    return _emulate(call, wanted, said, dropped)


def _is_emulated(call: Call, schema: msgspec.Raw | None) -> bool:
    """Whether the model has no such format, or (the first generations) none beside functions."""
    can = call.capabilities
    if (can.json_object if schema is None else can.json_schema) is False:
        return True
    if _GEMMA.search(call.provider_model):
        return can.tools is not False
    choice = call.request.tool_choice or ToolChoice()
    has_functions = bool(tools.functions(call.request.tools)) and choice.mode is not ToolMode.NONE
    return has_functions and is_second(call.provider_model)


def _emulate(
    call: Call, wanted: JsonObjectFormat | JsonSchemaFormat, said: Json, dropped: Dropped
) -> str:
    """Declare a tool that takes the answer, and make the model call it or another."""
    if call.capabilities.tools is False:
        raise checks.not_supported(
            KIND, call.provider_model, "response_format", "has neither the format nor tools"
        )
    choice = call.request.tool_choice or ToolChoice()
    if choice.mode is ToolMode.NONE:
        _without_functions(said)
    name = tools.answer_tool_name(call.request.tools)
    schema = wanted.schema_json if isinstance(wanted, JsonSchemaFormat) else '{"type":"object"}'
    taker = FunctionTool(name, "Takes the whole answer.", schema)
    declared = tools.declaration(taker, "response_format")
    held = said.setdefault("tools", [])
    group = next((tool for tool in held if "functionDeclarations" in tool), None)
    if group is None:
        held.insert(0, {"functionDeclarations": [declared]})
    else:
        group["functionDeclarations"].append(declared)
    config: Json = {"mode": "ANY"}
    if choice.allowed_tools and choice.mode is not ToolMode.NONE:
        config["allowedFunctionNames"] = [*choice.allowed_tools, name]
    said.setdefault("toolConfig", {})["functionCallingConfig"] = config
    dropped.emulated("the answer is taken from the arguments of a tool the model must call")
    return name


def _without_functions(said: Json) -> None:
    """Leave out the functions that the choice forbids: a format does not go with them."""
    said.pop("tools", None)
    said.pop("toolConfig", None)


def _add_options(said: Json, text: str) -> None:
    for name, raw in checks.options(text, _OURS).items():
        key = tools.camel(name)
        if key in _OURS:
            raise checks.bad_options(f"may not set {name}")
        value: Any = raw
        if key in _SHARED:
            added = msgspec.json.decode(raw)
            if type(added) is not dict:
                raise checks.bad_options(f"needs an object for {name}")
            value = _merged(said.get(key, {}), added)
        said[key] = value
    if said.get("generationConfig", {}).get("candidateCount", 1) != 1:
        raise checks.bad_options("may not ask for several answers with candidateCount")


def _merged(ours: Json, added: Json, depth: int = 0) -> Json:
    """Ours with what the options add or say differently; a schema is replaced whole."""
    merged = dict(ours)
    for name, value in added.items():
        key = tools.camel(name)
        held = merged.get(key)
        if type(held) is dict and type(value) is dict and depth < _MOST_DEPTH:
            merged[key] = _merged(held, value, depth + 1)
        else:
            merged[key] = value
    return merged
