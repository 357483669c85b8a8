"""How many tokens a request may have, by the length of its text."""

from llm_service.domain.completion import CompletionRequest
from llm_service.domain.content import (
    Content,
    FunctionTool,
    JsonSchemaFormat,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

_BYTES_PER_TOKEN = 4


def estimate(request: CompletionRequest) -> int:
    """A quarter of the UTF-8 bytes of all text in the request, rounded up. Media count nothing."""
    texts = [_text(part.content) for message in request.messages for part in message.parts]
    texts += [_tool_text(tool) for tool in request.tools]
    if isinstance(request.response_format, JsonSchemaFormat):
        texts.append(request.response_format.schema_json)
    return -(-sum(len(text.encode()) for text in texts) // _BYTES_PER_TOKEN)


def _text(content: Content) -> str:
    match content:
        case Text(text) | Thinking(text) | Refusal(text):
            return text
        case ToolCall(name=name, arguments_json=arguments):
            return name + arguments
        case ToolResult(content=parts):
            return "".join(_text(part.content) for part in parts)
        case _:
            return ""


def _tool_text(tool: Tool) -> str:
    if isinstance(tool, FunctionTool):
        return tool.name + tool.description + tool.parameters_schema_json
    return tool.type + tool.config_json
