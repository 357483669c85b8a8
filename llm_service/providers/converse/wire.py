"""Converse's JSON as it lies on the wire."""

from typing import Any

import msgspec

from llm_service.providers.vendor_json import parse, unreadable


class Message(msgspec.Struct):
    """A whole message; its blocks are read one by one, for the exact text of tools' arguments."""

    content: list[dict[str, msgspec.Raw] | None] | None = None


class Output(msgspec.Struct):
    """What an answer holds."""

    message: Message | None = None


class Answer(msgspec.Struct):
    """The answer of `Converse`, or an error that came with status 200."""

    output: Output | None = None
    stopReason: Any = None  # noqa: N815 - the wire's names
    usage: Any = None
    trace: Any = None
    additionalModelResponseFields: Any = None  # noqa: N815


class ToolUse(msgspec.Struct):
    """A call; `input` is the text of its arguments."""

    toolUseId: Any = None  # noqa: N815
    name: Any = None
    type: Any = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


_ANSWER = msgspec.json.Decoder(Answer).decode
_TOOL_USE = msgspec.json.Decoder(ToolUse).decode


def read_answer(data: bytes) -> Answer:
    """Parse a whole answer.

    Raises:
        ProviderProtocolError: not JSON, or not of this shape.
    """
    return parse(_ANSWER, data)


def read_object(data: bytes | msgspec.Raw) -> dict[str, Any]:
    """Parse an event or a block.

    Raises:
        ProviderProtocolError: not JSON, or no object.
    """
    said = read(data)
    if type(said) is not dict:
        raise unreadable()
    return said


def read(data: bytes | msgspec.Raw) -> Any:  # noqa: ANN401 - as it lies on the wire
    """Parse any JSON; raises ProviderProtocolError as `read_object` does."""
    return parse(msgspec.json.decode, data)


def read_tool_use(data: msgspec.Raw) -> ToolUse:
    """Parse a call; raises ProviderProtocolError as `read_object` does."""
    try:
        return _TOOL_USE(data)
    except (ValueError, RecursionError) as error:
        raise unreadable() from error


def exact(data: msgspec.Raw) -> str:
    """The text of a piece of JSON as it came; raises ProviderProtocolError if it is no UTF-8."""
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        raise unreadable() from error
