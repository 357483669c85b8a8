"""Identifiers this service makes."""

import os
import time
from collections.abc import Iterator
from datetime import datetime

_NOISE_BYTES = 10  # of an id, six of its bits are not used
_AT_ONCE = 64
"""Whoever comes when none is left makes so many ends of ids, in 30 us."""
_VARIANT = "89ab"


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique, and in the order it was made to the millisecond."""
    global _ends  # noqa: PLW0603 - of the process
    end = next(_ends, None)
    if end is None:
        _ends = _more()
        return new_id()
    # A call makes three, and finds none of this in the cache: the less it is, the better.
    return (time.time_ns() // 1_000_000).to_bytes(6, "big").hex("-", -4) + end


def _more() -> Iterator[str]:
    """What comes behind the milliseconds: version, variant and noise."""
    noise = os.urandom(_NOISE_BYTES * _AT_ONCE).hex()
    each = (noise[at : at + 2 * _NOISE_BYTES] for at in range(0, len(noise), 2 * _NOISE_BYTES))
    return iter(
        [f"-7{one[:3]}-{_VARIANT[int(one[3], 16) & 3]}{one[4:7]}-{one[7:19]}" for one in each]
    )


def _forget() -> None:
    global _ends  # noqa: PLW0603
    _ends = _more()


_ends = _more()
os.register_at_fork(after_in_child=_forget)  # two processes must not make the same ids


def first_id(moment: datetime, less: int = 0) -> str:
    """The smallest id made from then on, or a text just before it."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return _text((milliseconds << 80 | 0x7 << 76) - less)


def _text(value: int) -> str:
    """As `uuid.UUID` writes it, whose making would cost more than the text."""
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
