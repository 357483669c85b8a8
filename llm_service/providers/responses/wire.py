"""The events of the Responses API as they lie on the wire.

Only what grows an answer is typed, with leaves of any type: whoever reads one checks it. The rest
of an event is parsed only where it is of interest.
"""

from typing import Any

import msgspec

from llm_service.errors import ProviderProtocolError
from llm_service.providers.surrogates import mended


class Event(msgspec.Struct, gc=False):
    """One event of a stream; fields it does not have stay None."""

    type: Any = None
    delta: Any = None
    output_index: Any = None
    content_index: Any = None
    summary_index: Any = None
    item_id: Any = None
    logprobs: Any = None


_decode = msgspec.json.Decoder(Event).decode


def read(data: bytes) -> Event:
    """Parse what grows an answer.

    Raises:
        ProviderProtocolError: not a JSON object.
    """
    try:
        try:
            return _decode(data)
        except msgspec.DecodeError:
            if b"\\u" not in data:
                raise
            return _decode(mended(data))
    except (ValueError, RecursionError) as error:
        raise _unreadable() from error


def read_object(data: bytes) -> dict[str, Any]:
    """Parse everything.

    Raises:
        ProviderProtocolError: not a JSON object.
    """
    try:
        try:
            said = msgspec.json.decode(data)
        except msgspec.DecodeError:
            if b"\\u" not in data:
                raise
            said = msgspec.json.decode(mended(data))
    except (ValueError, RecursionError) as error:
        raise _unreadable() from error
    if type(said) is not dict:
        raise _unreadable()
    return said


def _unreadable() -> ProviderProtocolError:
    return ProviderProtocolError("the provider sent JSON that cannot be read")
