"""Frames of the local journal, as bytes.

payload length (4 bytes) | CRC-32 of the rest (4) | kind (1) | attempt id (36) | payload
"""

import struct
import zlib
from enum import IntEnum

from llm_service.domain.value import value

ATTEMPT_ID_BYTES = 36
MAX_FRAME_BYTES = 4 << 20
_HEADER = struct.Struct(">IIB36s")
_CHECKED_FROM = 8  # kind, attempt id and payload are covered by the checksum


class FrameKind(IntEnum):
    """What a frame tells of its attempt. A DIALLED one may hold what OPENED would: it is both."""

    OPENED = 1
    DIALLED = 2
    PROGRESS = 3
    SETTLED = 4


_KINDS = frozenset(FrameKind)
_KIND_BYTES = [bytes([number]) for number in range(max(_KINDS) + 1)]


@value
class Frame:
    """One thing that happened to an attempt. `payload` is its writer's own."""

    kind: FrameKind
    attempt_id: str
    payload: bytes = b""


def encoded(kind: FrameKind, attempt_id: str, payload: bytes = b"") -> bytes:
    """A frame's bytes.

    Raises:
        ValueError: it is larger than a frame may be.
    """
    whose = attempt_id.encode()
    if len(whose) > ATTEMPT_ID_BYTES or len(payload) > MAX_FRAME_BYTES:
        raise ValueError("a frame is out of bounds")
    # Not by _HEADER: a module that nothing else of a call uses is out of the cache when it is.
    if len(whose) < ATTEMPT_ID_BYTES:
        whose = whose.ljust(ATTEMPT_ID_BYTES, b"\0")
    head = _KIND_BYTES[kind] + whose
    checksum = zlib.crc32(payload, zlib.crc32(head))
    return (len(payload) << 32 | checksum).to_bytes(_CHECKED_FROM, "big") + head + payload


def decoded(data: bytes, position: int) -> tuple[Frame | None, int]:
    """The frame at `position` and the place behind it; None where there is no whole, sound one."""
    start = position + _HEADER.size
    if start > len(data):
        return None, position
    length, checksum, kind, attempt_id = _HEADER.unpack_from(data, position)
    end = start + length
    if end > len(data) or zlib.crc32(data[position + _CHECKED_FROM : end]) != checksum:
        return None, position
    if kind not in _KINDS:
        return None, position
    text = attempt_id.rstrip(b"\0").decode("ascii", "replace")
    return Frame(FrameKind(kind), text, data[start:end]), end
