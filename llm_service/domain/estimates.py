"""What a call will use, counted without asking anyone. Always labelled an estimate."""

from collections.abc import Iterable

from llm_service.domain.completion import CompletionRequest
from llm_service.domain.content import (
    Content,
    FunctionTool,
    JsonSchemaFormat,
    Media,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

# UTF-8 bytes per token: 0.76 to 1.21 of o200k's count over five kinds of text, the steadiest of
# the cheap measures (design research, "Token counting").
BYTES_PER_TOKEN = 4


def input_tokens(request: CompletionRequest) -> int:
    """At least 1. Counts the text of messages, tool calls, tools and schemas, and no media."""
    size = sum(map(text_bytes, _texts(request)))
    return max(1, -(-size // BYTES_PER_TOKEN))


def embedded_tokens(inputs: Iterable[Text | Media]) -> int:
    """At least 1. Counts text, and no media."""
    size = sum(text_bytes(item.text) for item in inputs if isinstance(item, Text))
    return max(1, -(-size // BYTES_PER_TOKEN))


def tokens_of(size: int) -> int:
    """Of so many bytes of UTF-8."""
    return -(-size // BYTES_PER_TOKEN)


def part_bytes(part: Part) -> int:
    """Of a part's text, in UTF-8."""
    return sum(text_bytes(text) for text in _part_texts(part))


def text_bytes(text: str) -> int:
    """In UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _texts(request: CompletionRequest) -> Iterable[str]:
    for message in request.messages:
        yield from _message_texts(message)
    for tool in request.tools:
        yield from _tool_texts(tool)
    if isinstance(request.response_format, JsonSchemaFormat):
        yield request.response_format.schema_json


def _tool_texts(tool: Tool) -> Iterable[str]:
    if isinstance(tool, FunctionTool):
        yield from (tool.name, tool.description, tool.parameters_schema_json)
    else:
        yield from (tool.type, tool.config_json)


def _message_texts(message: Message) -> Iterable[str]:
    for part in message.parts:
        yield from _part_texts(part)


def _part_texts(part: Part) -> Iterable[str]:
    content: Content = part.content
    match content:
        case Text(text) | Refusal(text) | Thinking(text):
            yield text
        case ToolCall():
            yield content.name
            yield content.arguments_json
        case ToolResult():
            for inner in content.content:
                yield from _part_texts(inner)
