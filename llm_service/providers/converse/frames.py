"""AWS event streams: bytes as they arrive in, whole messages with checked sums out."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from llm_service.errors import ProviderProtocolError

MAX_MESSAGE_BYTES = 24 * 1024 * 1024
MAX_HEADER_BYTES = 128 * 1024

_PRELUDE = struct.Struct("!III")  # length of the message, of its headers, and the checksum of both
_CHECKSUM = struct.Struct("!I")
_SHORT = struct.Struct("!H")
_SUMMED = 8  # bytes of the prelude that its checksum covers
_LEAST = _PRELUDE.size + _CHECKSUM.size
_STRING = 7
# Bytes a header's value takes, by its type; byte arrays and strings say it themselves.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED = frozenset({6, _STRING})


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `headers` are those that are text."""

    headers: dict[str, str]
    payload: bytes


class FrameReader:
    """Frames one stream, in linear time, holding at most one message of `MAX_MESSAGE_BYTES`."""

    __slots__ = ("_held", "_wanted")

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = 0  # bytes of the message that has begun; 0: its prelude is not whole

    def feed(self, data: bytes) -> Iterator[Message]:
        """Each message that `data` completes.

        Raises:
            ProviderProtocolError: a message is not framed as it should be, or is too large.
        """
        held = self._held
        held += data
        start = 0
        while len(held) - start >= (self._wanted or _PRELUDE.size):
            if not self._wanted:
                self._wanted = _length(bytes(held[start : start + _PRELUDE.size]))
                continue
            frame = bytes(held[start : start + self._wanted])
            start += self._wanted
            self._wanted = 0
            yield _message(frame)
        del held[:start]


def _length(prelude: bytes) -> int:
    total, headers, checksum = _PRELUDE.unpack(prelude)
    if crc32(prelude[:_SUMMED]) != checksum:
        raise _broken("a message of the provider's stream has a wrong checksum")
    if total > MAX_MESSAGE_BYTES or headers > MAX_HEADER_BYTES:
        raise _broken(f"the provider sent an event of more than {MAX_MESSAGE_BYTES} bytes")
    if total < _LEAST + headers:
        raise _broken("a message of the provider's stream is shorter than its parts")
    return int(total)


def _message(frame: bytes) -> Message:
    if crc32(frame[: -_CHECKSUM.size]) != _CHECKSUM.unpack(frame[-_CHECKSUM.size :])[0]:
        raise _broken("a message of the provider's stream has a wrong checksum")
    _, size, _ = _PRELUDE.unpack_from(frame)
    end = _PRELUDE.size + size
    try:
        headers = dict(_headers(frame[_PRELUDE.size : end]))
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise _broken("a message of the provider's stream has unreadable headers") from error
    return Message(headers, frame[end : -_CHECKSUM.size])


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode()
        kind = data[name_end]
        at = name_end + 1
        if kind in _SIZED:
            size = _SHORT.unpack_from(data, at)[0]
            at += _SHORT.size
        else:
            size = _SIZES[kind]
        if kind == _STRING:
            yield name, data[at : at + size].decode()
        at += size
    if at != len(data):
        raise IndexError(at)


def _broken(why: str) -> ProviderProtocolError:
    return ProviderProtocolError(why)
