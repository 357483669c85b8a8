"""Frames of the local journal, as bytes: one behind the other, each a MessagePack array.

[kind, checksum, payload]: two whole numbers, and bytes. The checksum is Adler-32 of the payload,
begun with the kind. It has to tell a frame that a dying machine left half written, and has no
tables, which are out of the cache when a call comes to them (docs/adr/0039).
"""

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum

import msgspec

from llm_service.domain.value import value

ATTEMPT_ID_BYTES = 36
_ARRAY = 0x93  # of three
_WHOLE = {0xCC: 1, 0xCD: 2, 0xCE: 4}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""How long the number is behind MessagePack's heads of whole numbers, and of bytes."""

_encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode

# As frames were before: payload length | CRC-32 of the rest | kind | attempt id | payload. None was
# so long that its first byte was another than 0.
_HEADER_BEFORE = struct.Struct(">IIB36s")
_CHECKED_FROM = 8


class FrameKind(IntEnum):
    """What a frame tells of its attempt, whose id its payload holds, or begins with as a mark.

    OPENED and SETTLED hold all of it. DIALLED is a mark, or holds what OPENED would: it is both.
    PROGRESS has an account behind the mark.
    """

    OPENED = 1
    DIALLED = 2
    PROGRESS = 3
    SETTLED = 4


_KINDS = frozenset(FrameKind)


@value
class Frame:
    """One thing that happened to an attempt. `payload` is its writer's own."""

    kind: FrameKind
    payload: bytes


def encoded(kind: int, payload: bytes) -> bytes:
    """A frame's bytes."""
    return _encode((kind, zlib.adler32(payload, kind), payload))


def marked(attempt_id: str, payload: bytes = b"") -> bytes:
    """The payload of a mark.

    Raises:
        ValueError: it is no attempt's id.
    """
    whose = attempt_id.encode()
    if len(whose) > ATTEMPT_ID_BYTES:
        raise ValueError("no attempt has such an id")
    return whose.ljust(ATTEMPT_ID_BYTES, b"\0") + payload


def unmarked(payload: bytes) -> tuple[str, bytes]:
    """What `marked` was given."""
    whose = payload[:ATTEMPT_ID_BYTES].rstrip(b"\0").decode("ascii", "replace")
    return whose, payload[ATTEMPT_ID_BYTES:]


def decoded(data: bytes, position: int) -> tuple[Frame | None, int]:
    """The frame at `position` and the place behind it; None where there is no whole, sound one."""
    try:
        if data[position] == 0:
            return _decoded_before(data, position)
        kind = data[position + 1]
        checksum, place = _number(data, position + 2, _WHOLE.get(data[position + 2], 0))
        length, start = _number(data, place, _BYTES[data[place]])
    except LookupError:
        return None, position
    end = start + length
    payload = data[start:end]
    sound = data[position] == _ARRAY and end <= len(data) and kind in _KINDS
    if not sound or zlib.adler32(payload, kind) != checksum:
        return None, position
    return Frame(FrameKind(kind), payload), end


def _number(data: bytes, position: int, size: int) -> tuple[int, int]:
    """The number behind a head, and the place behind it; a small one is the head itself."""
    end = position + 1 + size
    return int.from_bytes(data[end - size : end], "big") if size else data[position], end


def _decoded_before(data: bytes, position: int) -> tuple[Frame | None, int]:
    start = position + _HEADER_BEFORE.size
    if start > len(data):
        return None, position
    length, checksum, kind, attempt_id = _HEADER_BEFORE.unpack_from(data, position)
    end = start + length
    if end > len(data) or zlib.crc32(data[position + _CHECKED_FROM : end]) != checksum:
        return None, position
    if kind not in _KINDS:
        return None, position
    payload = data[start:end]
    if kind == FrameKind.PROGRESS or (kind == FrameKind.DIALLED and not payload):
        payload = attempt_id + payload
    return Frame(FrameKind(kind), payload), end
