"""The answers of the Messages API as they lie on the wire, whole or event by event.

Only the structure is typed. Leaves are `Any`: whoever reads one checks it. Blocks stay bytes until
somebody knows their type, so that what goes back to the vendor is what the vendor sent.
"""

from typing import Any

import msgspec

from llm_service.providers.vendor_json import parse

NOTHING = msgspec.Raw()


class Delta(msgspec.Struct, gc=False):
    """What is added to a block, or to the message."""

    type: Any = None
    text: Any = None
    partial_json: Any = None
    thinking: Any = None
    signature: Any = None
    citation: Any = None
    stop_reason: Any = None
    stop_details: Any = None
    container: Any = None


class Event(msgspec.Struct, gc=False):
    """One event of a stream."""

    type: Any = None
    index: Any = None
    delta: Delta | None = None
    content_block: msgspec.Raw = NOTHING
    message: msgspec.Raw = NOTHING
    usage: Any = None
    error: Any = None
    context_management: Any = None
    input_transformations: Any = None


class Block(msgspec.Struct, gc=False):
    """What is read of a block of content; the other fields differ by type."""

    type: Any = None
    id: Any = None
    name: Any = None
    input: msgspec.Raw = NOTHING
    text: Any = None
    thinking: Any = None
    signature: Any = None
    data: Any = None
    citations: Any = None
    to: Any = None


class Message(msgspec.Struct):
    """An answer, whole or as its first event has it."""

    content: list[msgspec.Raw] | None = None
    type: Any = None
    id: Any = None
    model: Any = None
    stop_reason: Any = None
    stop_details: Any = None
    usage: Any = None
    container: Any = None
    context_management: Any = None
    diagnostics: Any = None
    input_transformations: Any = None
    error: Any = None


_decode_event = msgspec.json.Decoder(Event).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def read_event(data: bytes) -> Event:
    """Parse one event; raises ProviderProtocolError when it is not JSON or not of this shape."""
    return parse(_decode_event, data)


def read_message(data: bytes | msgspec.Raw) -> Message:
    """Parse a whole answer; raises as `read_event` does."""
    return parse(_decode_message, data)


def read_block(data: msgspec.Raw) -> Block:
    """Parse a block of content; raises as `read_event` does."""
    return parse(_decode_block, data)


def read_object(data: bytes | msgspec.Raw) -> dict[str, Any]:
    """An object as it came, for the parts no shape describes; raises as `read_event` does."""
    return parse(_decode_object, data)


def read_delta(data: bytes) -> dict[str, Any]:
    """The delta of an event that `read_event` has parsed, with every field it has."""
    delta: dict[str, Any] = read_object(data)["delta"]
    return delta
