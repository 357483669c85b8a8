"""Items of an answer that are calls: of the caller's functions, of his machine, of hosted tools."""

from typing import Any

import msgspec

from llm_service.errors import ProviderProtocolError
from llm_service.providers.lenient import items, mapping, text

Json = dict[str, Any]

# Calls whose text streams, by the field that holds it.
STREAMED = {"function_call": "arguments", "custom_tool_call": "input", "mcp_call": "arguments"}

_BY_CALLER = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "apply_patch_call",
        "computer_call",
        "mcp_approval_request",
    }
)
# What a call asks for, where that is not all of the item. One object alone stands for itself.
_ASKS = {
    "code_interpreter_call": ("code",),
    "file_search_call": ("queries",),
    "web_search_call": ("action",),
    "shell_call": ("action",),
    "local_shell_call": ("action",),
    "apply_patch_call": ("operation",),
    "tool_search_call": ("arguments",),
    "computer_call": ("action", "actions", "pending_safety_checks"),
    "mcp_approval_request": ("server_label", "name", "arguments"),
}
_ABOUT_ITSELF = frozenset({"id", "type", "status", "call_id", "name", "output", "results", "error"})


def is_call(item: Json) -> bool:
    """Also of types that are not known yet: they are named alike."""
    kind = text(item.get("type"))
    return kind.endswith("_call") or kind == "mcp_approval_request"


def runs_at_caller(item: Json) -> bool:
    """The caller must do it and answer; else the provider has."""
    kind = text(item.get("type"))
    if kind == "shell_call":
        return mapping(item.get("environment")).get("type") in (None, "local")
    if kind == "tool_search_call":
        return item.get("execution") == "client"
    return kind in _BY_CALLER


def call_id(item: Json) -> str:
    """What pairs the call with its answer; "" if it has nothing of the kind."""
    return text(item.get("call_id")) or text(item.get("id"))


def name(item: Json) -> str:
    """The function's name, or the type of the tool."""
    kind = text(item.get("type"))
    if kind == "mcp_approval_request":
        return kind
    if kind in ("function_call", "custom_tool_call"):
        return text(item.get("name"))
    return text(item.get("name")) or kind.removesuffix("_call")


def arguments(item: Json) -> str:
    """What the call asks for: as the model wrote it where it wrote text, else as JSON.

    Raises:
        ProviderProtocolError: it is nested too deep.
    """
    kind = text(item.get("type"))
    written = item.get(STREAMED.get(kind, "arguments"))
    if type(written) is str and kind not in _ASKS:
        return written
    if type(written) is str and written and kind != "mcp_approval_request":
        return written
    wanted = _ASKS.get(kind)
    asks = {
        key: value
        for key, value in item.items()
        if (key in wanted if wanted else key not in _ABOUT_ITSELF) and value is not None
    }
    only = next(iter(asks.values())) if len(asks) == 1 else None
    try:
        return msgspec.json.encode(only if type(only) is dict else asks).decode()
    except RecursionError as error:
        raise ProviderProtocolError("the provider's answer is nested too deep") from error


def own_tools(tools: Any) -> frozenset[str] | None:  # noqa: ANN401 - as it lies on the wire
    """The free-text tools that an answer says its caller gave; None: it does not say."""
    if type(tools) is not list:
        return None
    own = set()
    waiting = list(map(mapping, tools))
    while waiting:
        tool = waiting.pop()
        if tool.get("type") == "custom":
            own.add(text(tool.get("name")))
        elif tool.get("type") == "namespace":
            waiting += map(mapping, items(tool.get("tools")))
    return frozenset(own)


def without_text(item: Json) -> Json:
    """A call by its caller, but for what its part says already."""
    field = STREAMED.get(text(item.get("type")))
    if field is None:
        return item
    return {key: value for key, value in item.items() if key not in (field, "name", "call_id")}


def restored(item: Json, call_id: str, name: str, arguments: str) -> Json:
    """The call that `without_text` was taken of, with what its part says now."""
    field = STREAMED.get(text(item.get("type")))
    if field is None:
        return item
    return {**item, "call_id": call_id, "name": name, field: arguments}
