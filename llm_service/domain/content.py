"""What a conversation is made of: messages, their parts, tools and answer formats."""

from enum import StrEnum

from llm_service.domain.value import value


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Modality(StrEnum):
    """A kind of content, as counted and as a model takes or gives it."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"
    EMBEDDING = "embedding"


class Resolution(StrEnum):
    """How closely a model looks at an image."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@value
class Text:
    """Plain text."""

    text: str


@value
class Media:
    """An image, sound, film or document; exactly one of `data`, `uri` and `file_id` is set."""

    modality: Modality
    data: bytes | None = None
    uri: str | None = None
    file_id: str | None = None
    mime_type: str = ""
    display_name: str = ""
    resolution: Resolution | None = None


@value
class ToolCall:
    """The model asks for a tool.

    `arguments_json` is as the model wrote it, possibly not valid JSON.
    """

    id: str
    name: str
    arguments_json: str = ""
    server_side: bool = False


@value
class ToolResult:
    """What a tool answered."""

    tool_call_id: str
    name: str
    content: "tuple[Part, ...]"
    failed: bool = False


@value
class Thinking:
    """Reasoning text; `redacted` when the provider withheld it and only provider state is there."""

    text: str
    redacted: bool = False


@value
class Refusal:
    """The model declines, in its own words."""

    text: str


Content = Text | Media | ToolCall | ToolResult | Thinking | Refusal


@value
class ProviderState:
    """Opaque bytes a provider wants back unchanged.

    `kind` issued them and only that kind may see them.
    """

    kind: str
    data: bytes


@value
class CacheControl:
    """Cache the prompt up to and including the part. `ttl_seconds` None: the provider's default."""

    ttl_seconds: float | None = None


@value
class Citation:
    """Where a stretch of text comes from; indexes are Unicode code points, the end exclusive."""

    uri: str = ""
    title: str = ""
    cited_text: str = ""
    start_index: int = 0
    end_index: int = 0


@value
class AlternativeToken:
    """A token that could have stood in a place, with the natural logarithm of its probability."""

    token: str
    logprob: float
    token_bytes: bytes = b""


@value
class TokenLogprob:
    """A token the model produced, with the natural logarithm of its probability."""

    token: str
    logprob: float
    token_bytes: bytes = b""
    alternatives: tuple[AlternativeToken, ...] = ()


@value
class Part:
    """One piece of a message and what belongs to it whatever its kind."""

    content: Content
    cache_control: CacheControl | None = None
    provider_state: ProviderState | None = None
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@value
class Message:
    """One turn of one speaker."""

    role: Role
    parts: tuple[Part, ...]
    participant: str = ""


@value
class FunctionTool:
    """A tool the caller runs. The schema is JSON Schema text; "" means no parameters."""

    name: str
    description: str = ""
    parameters_schema_json: str = ""
    strict: bool | None = None


@value
class ProviderTool:
    """A tool the provider runs, named in its vocabulary and configured by JSON object text."""

    type: str
    config_json: str = ""


@value
class ProviderToolUse:
    """How often a provider ran a tool of its own. `meter` is what it is charged under."""

    meter: str
    count: int


Tool = FunctionTool | ProviderTool


class ToolMode(StrEnum):
    """Whether the model may, must or must not call tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@value
class ToolChoice:
    """`REQUIRED` with one name in `allowed_tools` forces that tool."""

    mode: ToolMode | None = None
    allowed_tools: tuple[str, ...] = ()
    parallel: bool | None = None


@value
class TextFormat:
    """Free text."""


@value
class JsonObjectFormat:
    """Any JSON object."""


@value
class JsonSchemaFormat:
    """JSON that fits a schema. The text's key order reaches the model."""

    name: str
    schema_json: str
    strict: bool | None = None


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat
