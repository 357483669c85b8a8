"""Identifiers this service makes."""

import os
import time
from datetime import datetime


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique, and in the order it was made to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10))
    value = (milliseconds & 0xFFFFFFFFFFFF) << 80 | noise
    value = value & ~(0xF << 76) | 0x7 << 76  # version 7
    value = value & ~(0x3 << 62) | 0x2 << 62  # the RFC's variant
    return _text(value)


def first_id(moment: datetime, less: int = 0) -> str:
    """The smallest id made from then on, or a text just before it."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return _text((milliseconds << 80 | 0x7 << 76) - less)


def _text(value: int) -> str:
    """As `uuid.UUID` writes it, whose making would cost more than the text."""
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
