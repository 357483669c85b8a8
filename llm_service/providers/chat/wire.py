"""The answers of Chat Completions as they lie on the wire, whole or in chunks.

Only the structure is typed. Leaves are `Any`, for vendors differ in them (a `content` may be a
list, an `index` may be missing); whoever reads a leaf checks it. Other fields are skipped unparsed,
and so are lists of tokens, which may be as long as what was asked.
"""

from typing import Any

import msgspec

from llm_service.providers.vendor_json import parse

_NOTHING = msgspec.Raw()


class Function(msgspec.Struct, gc=False):
    """A function call, or a piece of one."""

    name: Any = None
    arguments: Any = None


class CustomTool(msgspec.Struct, gc=False):
    """A call of a free-text tool."""

    name: Any = None
    input: Any = None


class ToolCallPiece(msgspec.Struct, gc=False):
    """A tool call, or a piece of one."""

    index: Any = None
    id: Any = None
    function: Function | None = None
    custom: CustomTool | None = None


class Delta(msgspec.Struct, gc=False):
    """A message, or what is added to it."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: list[ToolCallPiece] | None = None
    function_call: Function | None = None
    annotations: Any = None
    audio: Any = None
    images: Any = None
    executed_tools: Any = None
    token_id: Any = None


class Choice(msgspec.Struct, gc=False):
    """One answer of possibly several; `message` when whole, `delta` when streamed."""

    delta: Delta | None = None
    message: Delta | None = None
    index: Any = None
    finish_reason: Any = None
    stop_reason: Any = None
    error: Any = None
    logprobs: Any = None
    usage: Any = None
    content_filter_results: Any = None
    token_ids: msgspec.Raw = _NOTHING
    prompt_token_ids: msgspec.Raw = _NOTHING


class Chunk(msgspec.Struct, gc=False):
    """A whole answer, or one event of a stream."""

    choices: list[Choice] | None = None
    usage: Any = None
    model: Any = None
    id: Any = None
    error: Any = None
    object: Any = None
    type: Any = None
    citations: Any = None
    search_results: Any = None
    x_groq: Any = None
    prompt_filter_results: Any = None
    prompt_token_ids: msgspec.Raw = _NOTHING


_decode = msgspec.json.Decoder(Chunk).decode


def read(data: bytes) -> Chunk:
    """Parse one answer or event.

    Raises:
        ProviderProtocolError: not JSON, or not of this shape.
    """
    return parse(_decode, data)


def read_object(data: bytes) -> dict[str, Any]:
    """What `read` has parsed, as it came: for the parts no shape describes.

    Raises:
        ProviderProtocolError: what `read` skipped is no JSON.
    """
    said: dict[str, Any] = parse(msgspec.json.decode, data)
    return said
