"""How what a caller's tools gave goes back to the Responses API, each tool in its form."""

import json

import pytest
from calls import message, user
from responses_bodies import items
from responses_reading import decoder, read_whole

from llm_service.domain.content import (
    Media,
    Message,
    Modality,
    Part,
    Resolution,
    Role,
    Text,
    ToolResult,
)
from llm_service.errors import InvalidField

PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png", resolution=Resolution.HIGH)
PNG_URL = "data:image/png;base64,iVBORw=="


def again(answer, *more, **options) -> list:
    """The input of the next turn, after an answer of ours."""
    turns = (user("First"), Message(Role.ASSISTANT, answer.parts), *more)
    return items(*turns, **options)[1:]


ASKED = {
    "custom_tool_call": {"call_id": "c1", "name": "sql", "input": "SELECT 1"},
    "local_shell_call": {"call_id": "c1", "action": {"type": "exec", "command": ["ls"], "env": {}}},
    "shell_call": {
        "call_id": "c1",
        "action": {"commands": ["ls"], "max_output_length": 9},
        "environment": {"type": "local"},
    },
    "apply_patch_call": {
        "call_id": "c1",
        "operation": {"type": "delete_file", "path": "a"},
    },
    "computer_call": {
        "call_id": "c1",
        "action": {"type": "screenshot"},
        "pending_safety_checks": [],
    },
    "tool_search_call": {"call_id": "c1", "arguments": {"goal": "x"}, "execution": "client"},
    "mcp_approval_request": {"name": "n", "arguments": "{}", "server_label": "s"},
}
STREAMS = {"stdout": "done", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}


@pytest.mark.parametrize(
    ("kind", "content", "failed", "answer"),
    [
        ("custom_tool_call", "done", False, {"type": "custom_tool_call_output", "output": "done"}),
        ("local_shell_call", "done", False, {"type": "local_shell_call_output", "output": "done"}),
        ("shell_call", "done", False, {"type": "shell_call_output", "output": [STREAMS]}),
        (
            "shell_call",
            json.dumps({"output": [STREAMS, STREAMS]}),
            False,
            {"type": "shell_call_output", "output": [STREAMS, STREAMS]},
        ),
        (
            "apply_patch_call",
            "no such file",
            True,
            {"type": "apply_patch_call_output", "status": "failed", "output": "no such file"},
        ),
        (
            "computer_call",
            PNG,
            False,
            {
                "type": "computer_call_output",
                "output": {"type": "computer_screenshot", "image_url": PNG_URL},
            },
        ),
        ("tool_search_call", "[]", False, {"type": "tool_search_output", "tools": []}),
        ("mcp_approval_request", "true", False, {"type": "mcp_approval_response", "approve": True}),
        (
            "mcp_approval_request",
            '{"approve": true, "reason": "no"}',
            True,
            {"type": "mcp_approval_response", "approve": False, "reason": "no"},
        ),
        ("mcp_approval_request", "yes", False, {"approve": False}),
    ],
)
def test_each_tool_at_the_caller_is_answered_in_its_form(kind, content, failed, answer):
    item = {"type": kind, "id": "i1", "status": "completed", **ASKED[kind]}
    asked = read_whole(item, tools=[{"type": "custom", "name": "sql"}])
    (waiting,) = [part.content for part in asked.parts]
    part = Part(content if isinstance(content, Media) else Text(content))
    result = ToolResult(waiting.id, waiting.name, (part,), failed)

    back, shaped = again(asked, message(Role.TOOL, result))

    assert not waiting.server_side
    assert back == item
    assert {name: shaped[name] for name in answer} == answer
    assert waiting.id in (
        shaped.get("call_id"),
        shaped.get("id"),
        shaped.get("approval_request_id"),
    )


@pytest.mark.parametrize(("kind", "text"), [("computer_call", "done"), ("tool_search_call", "{}")])
def test_an_answer_without_what_the_tool_gives_is_refused(kind, text):
    asked = read_whole({"type": kind, "id": "i1", **ASKED[kind]}, reader=decoder())
    result = ToolResult("c1", kind, (Part(Text(text)),))

    with pytest.raises(InvalidField) as failure:
        again(asked, message(Role.TOOL, result))

    assert failure.value.violations[0].field == "messages[2].parts[0].content"
