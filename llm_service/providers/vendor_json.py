"""JSON as vendors send it: parsed, or an error in our words."""

import json
from collections.abc import Callable
from typing import TypeVar

import msgspec

from llm_service.errors import ProviderProtocolError

T = TypeVar("T")


def parse(decode: Callable[[bytes | msgspec.Raw], T], data: bytes | msgspec.Raw) -> T:
    """What `decode` makes of the data.

    Servers that cut text by UTF-16 units send a character outside the BMP in two halves; each is
    read as U+FFFD.

    Raises:
        ProviderProtocolError: not JSON, or not of the shape `decode` wants.
    """
    try:
        try:
            return decode(data)
        except msgspec.DecodeError:
            text = bytes(data)
            if b"\\u" not in text:
                raise
            return decode(_mended(text))
    except (ValueError, RecursionError) as error:
        raise unreadable() from error


def unreadable() -> ProviderProtocolError:
    return ProviderProtocolError("the provider sent JSON that cannot be read")


def _mended(data: bytes) -> bytes:
    """The same JSON with U+FFFD for each half of a surrogate pair."""
    text = json.dumps(json.loads(data), ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
