"""Calls to make of an adapter."""

from llm_service.domain.completion import Attribution, CompletionRequest, GenerationParams
from llm_service.domain.content import Message, Part, Role, Text
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers.base import Call, Deadlines

SECOND = Deadlines(connect=30.0, first_token=40.0, idle=40.0, total=50.0)


def user(*contents) -> Message:
    return message(Role.USER, *contents)


def message(role: Role, *contents, participant: str = "") -> Message:
    parts = tuple(
        content if isinstance(content, Part) else Part(_content(content)) for content in contents
    )
    return Message(role, parts, participant)


def _content(content):
    return Text(content) if isinstance(content, str) else content


def call(*messages, model: str = "gpt-4o", deadlines=SECOND, **more) -> Call:
    """`more`: fields of the call, or else of the request."""
    params = more.pop("params", GenerationParams())
    capabilities = more.pop("capabilities", ModelCapabilities())
    options_json = more.pop("options_json", "")
    request = CompletionRequest(
        model=model,
        messages=messages or (user("Hello"),),
        params=params,
        attribution=Attribution(tenant="acme"),
        **more,
    )
    return Call(request, model, params, capabilities, deadlines, options_json)
