"""Messages, parts and tools, both ways."""

import re
from collections.abc import Sequence

from llm_service.domain.content import (
    AlternativeToken,
    CacheControl,
    Citation,
    Content,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Message,
    Modality,
    Part,
    ProviderState,
    ProviderTool,
    Refusal,
    Resolution,
    ResponseFormat,
    Role,
    Text,
    TextFormat,
    Thinking,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.rpc.convert.checks import Checks, given
from llm_service.rpc.convert.times import to_duration
from llm_service.rpc.stubs import content_pb2 as pb
from llm_service.rpc.stubs import tool_pb2

_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_URI = re.compile(r"(https|http|s3|gs)://[^\s]+")
_MIME_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,64}/[A-Za-z0-9.+-]{1,64}")
_MAX_TOOLS = 1024
_DAY_SECONDS = 86_400.0

_ROLES = {getattr(pb, f"ROLE_{role.name}"): role for role in Role}
_ROLE_NUMBERS = {role: number for number, role in _ROLES.items()}
_MODES = {getattr(tool_pb2.ToolChoice, f"MODE_{mode.name}"): mode for mode in ToolMode}
_RESOLUTIONS = {
    getattr(pb.Media, f"RESOLUTION_{resolution.name}"): resolution for resolution in Resolution
}
_RESOLUTION_NUMBERS = {resolution: number for number, resolution in _RESOLUTIONS.items()}
_MEDIA = {modality.value: modality for modality in Modality if modality is not Modality.TEXT}


def to_message(message: pb.Message, path: str, checks: Checks) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        checks.refuse(f"{path}.role", "must be system, user, assistant or tool")
        role = Role.USER
    said = message.parts
    if not said:
        checks.refuse(f"{path}.parts", "must hold at least one part")
    parts = tuple(
        [to_part(part, f"{path}.parts[{index}]", checks) for index, part in enumerate(said)]
    )
    return Message(role, parts, message.participant)


def to_part(part: pb.ContentPart, path: str, checks: Checks) -> Part:
    content = _to_content(part, path, checks)
    if (
        not part.HasField("cache_control")
        and not part.HasField("provider_state")
        and not part.citations
    ):
        return Part(content)
    cache_control = None
    if part.HasField("cache_control"):
        ttl = part.cache_control.ttl
        given = part.cache_control.HasField("ttl")
        cache_control = CacheControl(
            checks.positive_duration(f"{path}.cache_control.ttl", ttl, _DAY_SECONDS)
            if given
            else None
        )
    state = part.provider_state
    return Part(
        content,
        cache_control,
        ProviderState(state.kind, state.data) if part.HasField("provider_state") else None,
        tuple(
            Citation(c.uri, c.title, c.cited_text, c.start_index, c.end_index)
            for c in part.citations
        ),
    )


def _to_content(part: pb.ContentPart, path: str, checks: Checks) -> Content:  # noqa: PLR0911 - one per kind of content
    kind = part.WhichOneof("part")
    if kind == "text":
        return Text(part.text)
    if kind in _MEDIA:
        return to_media(getattr(part, kind), _MEDIA[kind], f"{path}.{kind}", checks)
    if kind == "tool_call":
        return _to_tool_call(part.tool_call, f"{path}.tool_call", checks)
    if kind == "tool_result":
        return _to_tool_result(part.tool_result, f"{path}.tool_result", checks)
    if kind == "thinking":
        return Thinking(part.thinking.text, part.thinking.redacted)
    if kind == "refusal":
        return Refusal(part.refusal)
    checks.refuse(path, "has no content this service knows")
    return Text("")


def to_media(media: pb.Media, modality: Modality, path: str, checks: Checks) -> Media:
    source = media.WhichOneof("source")
    if source is None:
        checks.refuse(path, "needs one of data, uri and file_id")
    elif not getattr(media, source):
        checks.refuse(f"{path}.{source}", "must not be empty")
    if source == "data":
        checks.matches(f"{path}.mime_type", media.mime_type, _MIME_TYPE)
    if source == "uri" and media.uri:
        checks.matches(f"{path}.uri", media.uri, _URI)
    if media.resolution and media.resolution not in _RESOLUTIONS:
        checks.refuse(f"{path}.resolution", "is not a known resolution")
    return Media(
        modality,
        media.data if source == "data" else None,
        media.uri if source == "uri" else None,
        media.file_id if source == "file_id" else None,
        media.mime_type,
        media.display_name,
        _RESOLUTIONS.get(media.resolution),
    )


def _to_tool_call(call: pb.ToolCall, path: str, checks: Checks) -> ToolCall:
    if not call.id:
        checks.refuse(f"{path}.id", "must not be empty")
    checks.matches(f"{path}.name", call.name, _TOOL_NAME)
    return ToolCall(call.id, call.name, call.arguments_json, call.server_side)


def _to_tool_result(result: pb.ToolResult, path: str, checks: Checks) -> ToolResult:
    if not result.tool_call_id:
        checks.refuse(f"{path}.tool_call_id", "must not be empty")
    parts = []
    for index, inner in enumerate(result.content):
        inner_path = f"{path}.content[{index}]"
        if inner.WhichOneof("part") in ("tool_call", "tool_result"):
            checks.refuse(inner_path, "a tool result cannot hold tool calls or tool results")
            continue
        parts.append(to_part(inner, inner_path, checks))
    return ToolResult(result.tool_call_id, result.name, tuple(parts), result.failed)


def fill_message(message: pb.Message, said: Message) -> None:
    """Write into a message in its place: one made apart would be copied there."""
    message.role = _ROLE_NUMBERS[said.role]
    for part in said.parts:
        _fill_part(message.parts.add(), part)
    message.participant = said.participant


def from_part(part: Part) -> pb.ContentPart:
    message = pb.ContentPart()
    _fill_part(message, part)
    return message


def _fill_part(message: pb.ContentPart, part: Part) -> None:
    _set_content(message, part.content)
    if part.cache_control is not None:
        message.cache_control.SetInParent()
        if part.cache_control.ttl_seconds is not None:
            message.cache_control.ttl.CopyFrom(to_duration(part.cache_control.ttl_seconds))
    if part.provider_state is not None:
        message.provider_state.CopyFrom(from_provider_state(part.provider_state))
    if part.citations:
        message.citations.extend(from_citation(citation) for citation in part.citations)
    if part.logprobs:
        message.logprobs.extend(from_logprob(logprob) for logprob in part.logprobs)


def _set_content(message: pb.ContentPart, content: Content) -> None:
    match content:
        case Text(text):
            message.text = text
        case Refusal(text):
            message.refusal = text
        case Thinking(text, redacted):
            message.thinking.CopyFrom(pb.Thinking(text=text, redacted=redacted))
        case ToolCall():
            message.tool_call.CopyFrom(
                pb.ToolCall(
                    id=content.id,
                    name=content.name,
                    arguments_json=content.arguments_json,
                    server_side=content.server_side,
                )
            )
        case ToolResult():
            message.tool_result.CopyFrom(
                pb.ToolResult(
                    tool_call_id=content.tool_call_id,
                    name=content.name,
                    content=[from_part(part) for part in content.content],
                    failed=content.failed,
                )
            )
        case Media():
            getattr(message, content.modality.value).CopyFrom(_from_media(content))


def _from_media(media: Media) -> pb.Media:
    message = pb.Media(mime_type=media.mime_type, display_name=media.display_name)
    if media.data is not None:
        message.data = media.data
    elif media.uri is not None:
        message.uri = media.uri
    elif media.file_id is not None:
        message.file_id = media.file_id
    if media.resolution is not None:
        message.resolution = _RESOLUTION_NUMBERS[media.resolution]
    return message


def from_provider_state(state: ProviderState) -> pb.ProviderState:
    return pb.ProviderState(kind=state.kind, data=state.data)


def from_citation(citation: Citation) -> pb.Citation:
    return pb.Citation(
        uri=citation.uri,
        title=citation.title,
        cited_text=citation.cited_text,
        start_index=citation.start_index,
        end_index=citation.end_index,
    )


def from_logprob(logprob: TokenLogprob) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        token=logprob.token,
        logprob=logprob.logprob,
        token_bytes=logprob.token_bytes,
        alternatives=[_from_alternative(alternative) for alternative in logprob.alternatives],
    )


def _from_alternative(alternative: AlternativeToken) -> pb.AlternativeToken:
    return pb.AlternativeToken(
        token=alternative.token,
        logprob=alternative.logprob,
        token_bytes=alternative.token_bytes,
    )


def to_tools(tools: Sequence[tool_pb2.Tool], checks: Checks) -> tuple[Tool, ...]:
    checks.at_most("tools", tools, _MAX_TOOLS)
    names: set[str] = set()
    converted: list[Tool] = []
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        kind = tool.WhichOneof("tool")
        if kind == "function":
            function = _to_function(tool.function, f"{path}.function", checks)
            if function.name in names:
                checks.refuse(f"{path}.function.name", "another tool has this name")
            names.add(function.name)
            converted.append(function)
        elif kind == "provider_tool":
            converted.append(_to_provider_tool(tool.provider_tool, f"{path}.provider_tool", checks))
        else:
            checks.refuse(path, "must be a function or a provider tool")
    return tuple(converted)


def _to_function(function: tool_pb2.FunctionTool, path: str, checks: Checks) -> FunctionTool:
    checks.matches(f"{path}.name", function.name, _TOOL_NAME)
    if function.parameters_schema_json:
        checks.json(f"{path}.parameters_schema_json", function.parameters_schema_json)
    return FunctionTool(
        function.name,
        function.description,
        function.parameters_schema_json,
        given(function, "strict"),
    )


def _to_provider_tool(tool: tool_pb2.ProviderTool, path: str, checks: Checks) -> ProviderTool:
    if not tool.type:
        checks.refuse(f"{path}.type", "must not be empty")
    if tool.config_json:
        checks.json(f"{path}.config_json", tool.config_json)
    return ProviderTool(tool.type, tool.config_json)


def to_tool_choice(
    choice: tool_pb2.ToolChoice, tools: tuple[Tool, ...], checks: Checks
) -> ToolChoice:
    if choice.mode and choice.mode not in _MODES:
        checks.refuse("tool_choice.mode", "is not a known mode")
    known = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
    for index, name in enumerate(choice.allowed_tools):
        if name not in known:
            checks.refuse(
                f"tool_choice.allowed_tools[{index}]", "names no function tool of the request"
            )
    return ToolChoice(
        _MODES.get(choice.mode),
        tuple(choice.allowed_tools),
        given(choice, "parallel"),
    )


def to_response_format(message: tool_pb2.ResponseFormat, checks: Checks) -> ResponseFormat | None:
    kind = message.WhichOneof("format")
    if kind == "text":
        return TextFormat()
    if kind == "json_object":
        return JsonObjectFormat()
    if kind == "json_schema":
        schema = message.json_schema
        checks.matches("response_format.json_schema.name", schema.name, _TOOL_NAME)
        checks.json("response_format.json_schema.schema_json", schema.schema_json)
        return JsonSchemaFormat(schema.name, schema.schema_json, given(schema, "strict"))
    return None
