"""The events of the Responses API as they lie on the wire.

Only what grows an answer is typed, with leaves of any type: whoever reads one checks it. The rest
of an event is parsed only where it is of interest.
"""

from typing import Any

import msgspec

from llm_service.providers.vendor_json import parse, unreadable


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
    return parse(_decode, data)


def read_object(data: bytes) -> dict[str, Any]:
    """Parse everything.

    Raises:
        ProviderProtocolError: not a JSON object.
    """
    said = parse(msgspec.json.decode, data)
    if type(said) is not dict:
        raise unreadable()
    return said
