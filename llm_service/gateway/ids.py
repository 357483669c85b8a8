"""Identifiers this service makes."""

import os
import struct
import time
from collections.abc import Iterator
from datetime import datetime

_NOISE = struct.Struct("10s")
_AT_ONCE = 256  # asking the system for ten bytes costs about what asking for these does
_VARIANT = "89ab"


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique, and in the order it was made to the millisecond."""
    global _noise  # noqa: PLW0603 - of the process
    piece = next(_noise, None)
    if piece is None:
        _noise = _more()
        return new_id()
    (noise,) = piece
    made, digits = f"{time.time_ns() // 1_000_000:012x}", noise.hex()
    variant = _VARIANT[noise[9] & 3]  # the RFC's, with two bits of noise
    return f"{made[:8]}-{made[8:]}-7{digits[:3]}-{variant}{digits[3:6]}-{digits[6:18]}"


def _more() -> Iterator[tuple[bytes]]:
    return _NOISE.iter_unpack(os.urandom(_NOISE.size * _AT_ONCE))


def _forget() -> None:
    global _noise  # noqa: PLW0603
    _noise = _more()


_noise = _more()
os.register_at_fork(after_in_child=_forget)  # two processes must not make the same ids


def first_id(moment: datetime, less: int = 0) -> str:
    """The smallest id made from then on, or a text just before it."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return _text((milliseconds << 80 | 0x7 << 76) - less)


def _text(value: int) -> str:
    """As `uuid.UUID` writes it, whose making would cost more than the text."""
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
