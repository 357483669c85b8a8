"""The vendors who speak Chat Completions, each as strict as it really is."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from vendor_server import Asked

from fakes.chat_answers import answer, error, stream

__all__ = ["VENDORS", "Rules", "answer", "check", "error", "functions", "stream"]

_COMMON = frozenset(
    (
        *("model", "messages", "stream", "temperature", "top_p", "stop", "frequency_penalty"),
        *("presence_penalty", "tools", "tool_choice", "response_format"),
    )
)
_OPENAI = _COMMON | frozenset(
    (
        *("max_completion_tokens", "max_tokens", "seed", "logprobs", "top_logprobs", "n"),
        *("reasoning_effort", "parallel_tool_calls", "stream_options", "service_tier"),
    )
)
_ASSISTANT = frozenset(("role", "content", "tool_calls", "name", "refusal", "audio"))
_USER_BLOCKS = frozenset(("text", "image_url", "file", "input_audio"))


@dataclass(frozen=True)
class Rules:
    """What one vendor takes; a request outside of it is one the vendor refuses."""

    fields: frozenset[str] = _OPENAI
    assistant: frozenset[str] = _ASSISTANT
    blocks: frozenset[str] = _USER_BLOCKS
    names: bool = True
    content_with_calls: bool = False
    empty: bool = True
    thoughts_with_calls: str = ""
    call_id: str = r"[\s\S]{1,40}"
    user_after_tool: bool = True
    choices: frozenset[str] = frozenset(("auto", "none", "required"))
    forced: bool = True
    formats: frozenset[str] = frozenset(("text", "json_object", "json_schema"))
    efforts: frozenset[str] | None = None
    tool_blocks: bool = False
    path: str = "/chat/completions"
    key: str | None = "authorization"


_NO_REFUSAL = _ASSISTANT - {"refusal", "audio"}
_SEEING = frozenset(("text", "image_url"))

VENDORS: dict[str, Rules] = {
    "openai": Rules(),
    "openai-compatible": Rules(key=None, blocks=_USER_BLOCKS | {"video_url"}),
    "deepseek": Rules(
        fields=_COMMON - {"frequency_penalty", "presence_penalty"}
        | {"max_tokens", "logprobs", "top_logprobs", "stream_options", "thinking"}
        | {"reasoning_effort", "user_id"},
        assistant=_NO_REFUSAL | {"reasoning_content"},
        blocks=_SEEING,
        content_with_calls=True,
        thoughts_with_calls="reasoning_content",
        forced=False,
        formats=frozenset(("text", "json_object")),
        efforts=frozenset(("low", "high", "max")),
    ),
    "xai": Rules(
        empty=False,
        fields=_OPENAI | {"search_parameters"},
        assistant=_NO_REFUSAL,
        blocks=_SEEING,
        efforts=frozenset(("none", "low", "medium", "high", "xhigh")),
    ),
    "fireworks": Rules(
        fields=_OPENAI | {"top_k", "min_p", "return_token_ids"},
        assistant=_NO_REFUSAL | {"reasoning_content"},
        blocks=_SEEING,
    ),
    "groq": Rules(
        fields=_OPENAI - {"logprobs", "top_logprobs"} | {"reasoning_format", "include_reasoning"},
        assistant=_NO_REFUSAL,
        blocks=_SEEING,
        efforts=frozenset(("none", "default", "low", "medium", "high")),
    ),
    "mistral": Rules(
        fields=_COMMON
        | {"max_tokens", "random_seed", "parallel_tool_calls", "reasoning_effort", "prompt_mode"},
        assistant=frozenset(("role", "content", "tool_calls", "prefix")),
        blocks=frozenset(("text", "image_url", "document_url", "file", "input_audio")),
        names=False,
        empty=False,
        call_id="[a-zA-Z0-9]{9}",
        user_after_tool=False,
        choices=frozenset(("auto", "none", "any", "required")),
        efforts=frozenset(("none", "low", "medium", "high")),
    ),
    "openrouter": Rules(
        fields=_OPENAI | {"top_k", "min_p", "reasoning", "plugins", "provider"},
        assistant=_ASSISTANT | {"reasoning", "reasoning_details", "images"},
        blocks=_USER_BLOCKS | {"video_url"},
        tool_blocks=True,
    ),
    "together": Rules(
        fields=_COMMON
        | {"max_tokens", "seed", "logprobs", "top_k", "min_p", "reasoning", "reasoning_effort"}
        | {"stream_options"},
        assistant=_NO_REFUSAL | {"reasoning"},
        blocks=frozenset(("text", "image_url", "video_url", "audio_url")),
        content_with_calls=True,
        efforts=frozenset(("low", "medium", "high")),
    ),
}
VENDORS["azure"] = replace(VENDORS["openai"], key="api-key")


def functions(kind: str) -> tuple[Callable, Callable, Callable, Callable]:
    """`check`, `answer`, `stream` and `error` of one vendor."""
    return (
        partial(check, rules=VENDORS[kind]),
        partial(answer, kind=kind),
        partial(stream, kind=kind),
        error,
    )


def check(asked: Asked, rules: Rules = VENDORS["openai"]) -> None:
    """Assert that the vendor would take the request."""
    assert asked.method == "POST"
    assert asked.path.partition("?")[0].endswith(rules.path)
    assert rules.key is None or asked.headers.get(rules.key)
    body = asked.json
    unknown = body.keys() - rules.fields
    assert not unknown, f"no such field: {unknown}"
    assert isinstance(body["model"], str)
    assert isinstance(body.get("stream", False), bool)
    _check_tools(body, rules)
    _check_parameters(body, rules)
    assert body["messages"]
    _check_messages(body["messages"], rules)


def _check_parameters(body: dict, rules: Rules) -> None:
    effort = body.get("reasoning_effort")
    assert effort is None or rules.efforts is None or effort in rules.efforts, effort
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        assert isinstance(body.get(name, 0.0), int | float)
    for name in ("max_tokens", "max_completion_tokens", "seed", "random_seed", "top_k"):
        assert isinstance(body.get(name, 1), int)
    assert all(isinstance(text, str) for text in body.get("stop", []))
    wanted = body.get("response_format")
    if wanted is not None:
        assert wanted["type"] in rules.formats, wanted["type"]
        if wanted["type"] == "json_schema":
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", wanted["json_schema"]["name"])
            assert isinstance(wanted["json_schema"]["schema"], dict)


def _check_tools(body: dict, rules: Rules) -> None:
    tools = body.get("tools", [])
    for tool in tools:
        if tool["type"] == "function":
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["function"]["name"])
            assert isinstance(tool["function"].get("parameters", {}), dict)
            known = {"name", "description", "parameters", "strict"}
            assert tool["function"].keys() <= known
    choice = body.get("tool_choice")
    if choice is None:
        return
    assert tools, "a choice without tools"
    if isinstance(choice, str):
        assert choice in rules.choices, choice
    forces = choice in ("required", "any") or isinstance(choice, dict)
    thinks = body.get("thinking") != {"type": "disabled"}
    assert rules.forced or not forces or not thinks, "a tool cannot be forced while it thinks"
    if isinstance(choice, dict) and choice["type"] == "function":
        names = [tool["function"]["name"] for tool in tools if tool["type"] == "function"]
        assert choice["function"]["name"] in names


def _check_messages(messages: list[dict], rules: Rules) -> None:
    open_calls: list[str] = []
    before = None
    for message in messages:
        role = message["role"]
        says = message.keys() & {"tool_calls", "refusal"} or message.get("content") != ""
        assert says or rules.empty or role == "tool", "a message that says nothing"
        assert role in ("system", "developer", "user", "assistant", "tool"), role
        if role == "tool":
            _check_result(message, open_calls, rules)
        else:
            assert not open_calls, "a call without its result"
            assert role != "user" or before != "tool" or rules.user_after_tool
        if role == "assistant":
            open_calls = _check_assistant(message, rules)
        elif role != "tool":
            assert message.keys() <= {"role", "content", *(["name"] if rules.names else [])}
            _check_content(message["content"], rules.blocks)
        before = role


def _check_result(message: dict, open_calls: list[str], rules: Rules) -> None:
    assert message.keys() <= {"role", "content", "tool_call_id", "name"}
    assert message["tool_call_id"] in open_calls, "a result without its call"
    open_calls.remove(message["tool_call_id"])
    assert isinstance(message["content"], (str, list) if rules.tool_blocks else str)


def _check_assistant(message: dict, rules: Rules) -> list[str]:
    unknown = message.keys() - rules.assistant
    assert not unknown, f"no such field: {unknown}"
    calls = message.get("tool_calls", [])
    if calls and rules.content_with_calls:
        assert "content" in message
    if calls and rules.thoughts_with_calls:
        assert isinstance(message[rules.thoughts_with_calls], str)
    if not calls:
        assert message.keys() & {"content", "refusal", "audio", "images"}
    for call in calls:
        assert re.fullmatch(rules.call_id, call["id"]), call["id"]
        assert call["type"] == "function"
        assert isinstance(call["function"]["name"], str)
        assert isinstance(call["function"]["arguments"], str)
    if "content" in message:
        _check_content(message["content"], frozenset(("text", "thinking", "refusal", "reference")))
    json.dumps(message)
    return [call["id"] for call in calls]


def _check_content(content, blocks: frozenset[str]) -> None:
    if isinstance(content, str):
        return
    assert isinstance(content, list)
    assert content
    for block in content:
        assert block["type"] in blocks, block["type"]
