"""The answers of `/api/chat` as they lie on the wire, whole or in chunks.

Only the structure is typed; whoever reads a leaf checks it. Arguments stay the text they are.
"""

from typing import Any

import msgspec

from llm_service.providers.vendor_json import parse


class Function(msgspec.Struct, gc=False):
    """A function call, always whole."""

    name: Any = None
    arguments: msgspec.Raw = msgspec.Raw()


class ToolCall(msgspec.Struct, gc=False):
    """A tool call; older servers give no id."""

    id: Any = None
    function: Function | None = None


class Message(msgspec.Struct, gc=False):
    """A message, or what is added to it."""

    content: Any = None
    thinking: Any = None
    tool_calls: list[ToolCall] | None = None
    images: Any = None


class Chunk(msgspec.Struct, gc=False):
    """A whole answer, or one line of a stream."""

    message: Message | None = None
    done: Any = None
    done_reason: Any = None
    model: Any = None
    created_at: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    logprobs: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(Chunk).decode


def read(data: bytes) -> Chunk:
    """Parse one answer or line.

    Raises:
        ProviderProtocolError: not JSON, or not of this shape.
    """
    return parse(_decode, data)
