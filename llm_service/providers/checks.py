"""What every API checks of a request, and says of what it cannot take, before dialling."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_service.domain.content import Content, FunctionTool, Media, Tool, ToolChoice, ToolMode
from llm_service.errors import CapabilityNotSupported, InvalidField, Violation


def schema(text: str, path: str) -> msgspec.Raw:
    """The text itself, so that its key order reaches the model; only a whole object may."""
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise InvalidField(Violation(path, "must be a JSON object")) from error
    return msgspec.Raw(text.encode())


def options(text: str, ours: frozenset[str]) -> Mapping[str, msgspec.Raw]:
    """The caller's `provider_options_json` for one kind.

    `ours` are keys it may not set, because the rest of the request decides them.
    """
    if not text:
        return {}
    try:
        said = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as error:
        raise bad_options("must be a JSON object") from error
    if taken := sorted(ours & said.keys()):
        raise bad_options(f"may not set {', '.join(taken)}")
    return said


def bad_options(why: str) -> InvalidField:
    return InvalidField(Violation("provider_options_json", why))


def check_tool_choice(tools: tuple[Tool, ...], choice: ToolChoice) -> None:
    """Refuse a choice among tools that are not there."""
    if not tools and (choice.mode is ToolMode.REQUIRED or choice.allowed_tools):
        raise InvalidField(Violation("tool_choice", "there are no tools to choose from"))
    if not choice.allowed_tools:
        return
    names = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
    strangers = [
        Violation(f"tool_choice.allowed_tools[{number}]", "names no tool of the request")
        for number, name in enumerate(choice.allowed_tools)
        if name not in names
    ]
    if strangers:
        raise InvalidField(*strangers)


def not_supported(kind: str, model: str, path: str, what: str) -> CapabilityNotSupported:
    """`what` completes "<kind> ...": "takes no video"."""
    return CapabilityNotSupported(
        f"{path}: {kind} {what} (model {model})", metadata={"field": path, "model": model}
    )


def name_of(content: Content) -> str:
    """A part's kind in a word."""
    if isinstance(content, Media):
        return content.modality.value
    return type(content).__name__.lower()


def encoded(data: bytes, mime_type: str, path: str) -> str:
    """Media bytes as base64 text; what they are must be known."""
    if not mime_type:
        raise InvalidField(Violation(f"{path}.mime_type", "is needed with data"))
    return base64.b64encode(data).decode()


def data_url(data: bytes, mime_type: str, path: str) -> str:
    text = encoded(data, mime_type, path)
    return f"data:{mime_type};base64,{text}"
