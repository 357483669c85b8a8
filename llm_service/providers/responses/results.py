"""What a caller's tools gave, as the item that answers the call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_service.domain.content import Text, ToolResult
from llm_service.errors import InvalidField, Violation
from llm_service.providers.lenient import mapping, text

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller's tool gave, for the item `call` of the vendor's.

    Attributes:
        call: the item that called; {}: not known, so a function's.
        call_id: what both name the call by.
        result: what the caller says.
        output: its content: text, or the vendor's list of blocks.
        path: of the result in the request.
    """

    call: Mapping[str, Any]
    call_id: str
    result: ToolResult
    output: str | list[Json]
    path: str

    @property
    def text(self) -> str:
        contents = (part.content for part in self.result.content)
        return "\n".join(content.text for content in contents if isinstance(content, Text))


def answer(given: Given) -> Json:
    """The item that answers the call.

    Raises:
        InvalidField: the answer must be JSON of some shape, or an image, and is not.
    """
    shape = _SHAPES.get(text(given.call.get("type")), _of_function)
    shaped = shape(given)
    if given.call.get("caller") is not None:
        shaped["caller"] = given.call["caller"]
    return shaped


def tells_failure(call: Mapping[str, Any]) -> bool:
    """Whether the answer to `call` has a place for that the tool failed."""
    return call.get("type") in ("shell_call", "apply_patch_call", "mcp_approval_request")


def _of_function(given: Given) -> Json:
    return {"type": "function_call_output", "call_id": given.call_id, "output": given.output}


def _of_free_text(given: Given) -> Json:
    return {"type": "custom_tool_call_output", "call_id": given.call_id, "output": given.output}


def _of_local_shell(given: Given) -> Json:
    return {"type": "local_shell_call_output", "id": given.call_id, "output": given.text}


def _of_shell(given: Given) -> Json:
    """Text alone is one command's output; JSON may tell of each command."""
    told = _json(given.text)
    output = told if type(told) is list else mapping(told).get("output")
    if type(output) is not list:
        failed = given.result.failed
        said: Json = {"stdout": "", "stderr": ""}
        said["stderr" if failed else "stdout"] = given.text
        output = [{**said, "outcome": {"type": "exit", "exit_code": int(failed)}}]
    shaped: Json = {"type": "shell_call_output", "call_id": given.call_id, "output": output}
    longest = mapping(given.call.get("action")).get("max_output_length")
    if type(longest) is int:
        shaped["max_output_length"] = longest
    return shaped


def _of_patch(given: Given) -> Json:
    status = "failed" if given.result.failed else "completed"
    shaped = {"type": "apply_patch_call_output", "call_id": given.call_id, "status": status}
    if given.text:
        shaped["output"] = given.text
    return shaped


def _of_computer(given: Given) -> Json:
    blocks = given.output if isinstance(given.output, list) else []
    for block in blocks:
        if block["type"] == "input_image":
            screenshot = {k: v for k, v in block.items() if k in ("image_url", "file_id")}
            screenshot["type"] = "computer_screenshot"
            return {"type": "computer_call_output", "call_id": given.call_id, "output": screenshot}
    raise InvalidField(Violation(f"{given.path}.content", "must show the screen: an image"))


def _of_search(given: Given) -> Json:
    told = _json(given.text)
    tools = told if type(told) is list else mapping(told).get("tools")
    if type(tools) is not list:
        raise InvalidField(Violation(f"{given.path}.content", "must be a JSON list of tools"))
    return {
        "type": "tool_search_output",
        "call_id": given.call_id,
        "execution": "client",
        "status": "completed",
        "tools": tools,
    }


def _of_approval(given: Given) -> Json:
    """Approved by `true` or by an object that says so; anything else is no approval."""
    told = _json(given.text)
    approved = told is True or mapping(told).get("approve") is True
    shaped: Json = {
        "type": "mcp_approval_response",
        "approval_request_id": given.call_id,
        "approve": approved and not given.result.failed,
    }
    if reason := text(mapping(told).get("reason")):
        shaped["reason"] = reason
    return shaped


def _json(said: str) -> Any:  # noqa: ANN401
    try:
        return msgspec.json.decode(said)
    except (ValueError, RecursionError):
        return None


_SHAPES: Mapping[str, Callable[[Given], Json]] = {
    "custom_tool_call": _of_free_text,
    "local_shell_call": _of_local_shell,
    "shell_call": _of_shell,
    "apply_patch_call": _of_patch,
    "computer_call": _of_computer,
    "tool_search_call": _of_search,
    "mcp_approval_request": _of_approval,
}
