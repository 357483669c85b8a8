"""The answers of generateContent as they lie on the wire, whole or in chunks.

Only the structure is typed. Leaves are `Any`; whoever reads a leaf checks it. Other fields are
skipped unparsed.
"""

from typing import Any

import msgspec

from llm_service.errors import ProviderProtocolError
from llm_service.providers.vendor_json import parse

NOTHING = msgspec.Raw(b"")


class PartialArg(msgspec.Struct, gc=False):
    """A value, or a piece of one, and where in the arguments it belongs."""

    jsonPath: Any = None  # noqa: N815 - the wire's name
    stringValue: Any = None  # noqa: N815
    numberValue: Any = None  # noqa: N815
    boolValue: Any = None  # noqa: N815
    willContinue: Any = None  # noqa: N815


class FunctionCall(msgspec.Struct, gc=False):
    """A function call, or a piece of one."""

    name: Any = None
    id: Any = None
    args: msgspec.Raw = NOTHING
    partialArgs: list[PartialArg] | None = None  # noqa: N815
    willContinue: Any = None  # noqa: N815


class Part(msgspec.Struct, gc=False):
    """A piece of content; the kinds without a field here are read by `raw_parts`."""

    text: Any = None
    thought: Any = None
    thoughtSignature: Any = None  # noqa: N815
    functionCall: FunctionCall | None = None  # noqa: N815
    inlineData: Any = None  # noqa: N815
    fileData: Any = None  # noqa: N815


class Content(msgspec.Struct, gc=False):
    """What the model said, or what is added to it."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, gc=False):
    """One answer of possibly several."""

    content: Content | None = None
    finishReason: Any = None  # noqa: N815
    finishMessage: Any = None  # noqa: N815
    index: Any = None
    safetyRatings: Any = None  # noqa: N815
    groundingMetadata: Any = None  # noqa: N815
    citationMetadata: Any = None  # noqa: N815
    urlContextMetadata: Any = None  # noqa: N815
    logprobsResult: Any = None  # noqa: N815
    continuationToken: Any = None  # noqa: N815


class Chunk(msgspec.Struct, gc=False):
    """A whole answer, or one event of a stream."""

    candidates: list[Candidate] | None = None
    usageMetadata: msgspec.Raw = NOTHING  # noqa: N815
    modelVersion: Any = None  # noqa: N815
    responseId: Any = None  # noqa: N815
    promptFeedback: Any = None  # noqa: N815
    error: Any = None


_decode = msgspec.json.Decoder(Chunk).decode
_decode_many = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read(data: bytes) -> Chunk:
    """Parse one answer or event.

    Raises:
        ProviderProtocolError: not JSON, or not of this shape.
    """
    return parse(_decode, data)


def split(data: bytes) -> list[bytes]:
    """The answers of a body: one, or an array of those that a stream would have sent."""
    if not data.lstrip().startswith(b"["):
        return [data]
    try:
        return [bytes(item) for item in _decode_many(data)]
    except (ValueError, RecursionError) as error:
        raise ProviderProtocolError("the provider sent JSON that cannot be read") from error


def raw_parts(data: bytes, candidate: int) -> list[dict[str, Any]]:
    """The parts of a candidate of what `read` has parsed, as they came.

    Raises:
        ProviderProtocolError: what `read` skipped cannot be read.
    """
    said = parse(msgspec.json.decode, data)
    found: list[dict[str, Any]] = said["candidates"][candidate]["content"]["parts"]
    return found


def compact(data: msgspec.Raw) -> str:
    """The text of a piece of JSON without the printer's spaces; raises as `raw_parts` does."""
    try:
        return msgspec.json.format(data, indent=-1).decode()
    except (ValueError, RecursionError) as error:
        raise ProviderProtocolError("the provider sent JSON that cannot be read") from error
