"""How many tokens a request is, counted here as for OpenAI's models, by default in their words."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from llm_service.catalog import tokenizers
from llm_service.catalog.tokenizers import Vocabulary
from llm_service.domain.completion import CompletionRequest
from llm_service.domain.content import (
    Content,
    FunctionTool,
    JsonSchemaFormat,
    Media,
    Message,
    Modality,
    Refusal,
    Resolution,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from llm_service.domain.estimates import BYTES_PER_TOKEN

# What OpenAI's cookbook adds to the text ("How to count tokens with tiktoken", sections 6 and 7).
_MESSAGE = 3
_NAME = 1
_ANSWER = 3
_TOOL = {"cl100k_base": 10, "o200k_base": 7}
_TOOLS = 12
_PROPERTIES = 3
_PROPERTY = 3
_ENUM = -3
_CHOICE = 3

# gpt-4o's for a square of 1,024 pixels; other models and sizes differ by some hundreds.
_IMAGE = 765
_SMALL_IMAGE = 85

# Beyond this many characters length decides: the worst text takes a microsecond a character.
MAX_CHARACTERS = 2_000_000
_MAX_DEPTH = 20


def input_tokens(
    request: CompletionRequest, provider_model: str, given: Vocabulary | None = None
) -> int:
    """Count messages, tools and schemas as OpenAI documents it, which comes close and is no bill.

    Images count as one of middling size, sound and documents not at all. The first call of a
    vocabulary blocks for some 0.3 s and any call may take as long as its text: run it in a thread.
    `given`: the words' in place of OpenAI's; what is around them still counts as there.
    """
    name = tokenizers.encoding_name(provider_model)
    counter = _Counter(given or tokenizers.load(name))
    tokens = _ANSWER + sum(_message(message, counter) for message in request.messages)
    if request.tools:
        own = _TOOL[name]
        tokens += _TOOLS + sum(_tool(tool, own, counter) for tool in request.tools)
    if isinstance(request.response_format, JsonSchemaFormat):
        tokens += counter.of(request.response_format.schema_json)
    return max(1, tokens)


class _Counter:
    """Counts texts, by the vocabulary as long as it is worth the time."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._left = MAX_CHARACTERS

    def of(self, text: str) -> int:
        counted, rest = text[: self._left], text[self._left :]
        self._left -= len(counted)
        by_length = -(-len(rest.encode()) // BYTES_PER_TOKEN)
        return tokenizers.count(self._vocabulary, counted) + by_length


def _message(message: Message, counter: _Counter) -> int:
    tokens = _MESSAGE + counter.of(message.role.value)
    if message.participant:
        tokens += _NAME + counter.of(message.participant)
    # Each result of a tool is a message of its own there.
    results = sum(isinstance(part.content, ToolResult) for part in message.parts)
    tokens += _MESSAGE * max(0, results - 1)
    return tokens + sum(_content(part.content, counter) for part in message.parts)


def _content(content: Content, counter: _Counter) -> int:
    match content:
        case Text(text) | Refusal(text) | Thinking(text):
            return counter.of(text)
        case ToolCall():
            return _MESSAGE + counter.of(content.name) + counter.of(content.arguments_json)
        case ToolResult():
            return sum(_content(part.content, counter) for part in content.content)
        case Media(Modality.IMAGE):
            return _SMALL_IMAGE if content.resolution is Resolution.LOW else _IMAGE
        case Media():
            return 0


def _tool(tool: Tool, own: int, counter: _Counter) -> int:
    if not isinstance(tool, FunctionTool):
        return own + counter.of(f"{tool.type}:{tool.config_json}")
    tokens = own + counter.of(f"{tool.name}:{tool.description.removesuffix('.')}")
    try:
        schema = msgspec.json.decode(tool.parameters_schema_json or "{}", type=dict[str, Any])
        return tokens + _properties(schema, counter, _MAX_DEPTH)
    except (ValueError, RecursionError):  # whoever sends it will refuse it
        return tokens + counter.of(tool.parameters_schema_json)


def _properties(schema: Mapping[str, Any], counter: _Counter, depth: int) -> int:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties or not depth:
        return 0
    tokens = _PROPERTIES
    for name, value in properties.items():
        tokens += _PROPERTY
        if isinstance(value, dict):
            tokens += _property(name, value, counter, depth)
    return tokens


def _property(name: str, schema: Mapping[str, Any], counter: _Counter, depth: int) -> int:
    said = str(schema.get("description") or "").removesuffix(".")
    tokens = counter.of(f"{name}:{schema.get('type') or ''}:{said}")
    choices = schema.get("enum")
    if isinstance(choices, list):
        tokens += _ENUM + sum(_CHOICE + counter.of(str(choice)) for choice in choices)
    return tokens + sum(_properties(inner, counter, depth - 1) for inner in _inner(schema))


def _inner(schema: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Where a property may have properties: the cookbook stops above, real schemas do not."""
    yield schema
    if isinstance(items := schema.get("items"), dict):
        yield items
