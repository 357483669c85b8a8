"""What a start has made, settled in memory for all that follows."""

import gc
import sys
from collections.abc import Iterator
from contextlib import suppress

_HUGE = 2 << 20
"""Bytes of a large page, on x86-64 and on ARM with the usual small ones."""

_CHOICE = "/sys/kernel/mm/transparent_hugepage/enabled"
_MADV_COLLAPSE = 25  # <linux/mman.h>, from Linux 6.1


def settle() -> None:
    """Have the collector leave alone what is there, and put it on large pages.

    A full collection would hold every call up for 75 ms to look at all of it, for nothing; without
    it, one takes 2 to 8 ms.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        # A system may hide its files, or have no such call.
        with suppress(OSError, AttributeError):
            _use_large_pages()


def _use_large_pages() -> None:
    """Where the system can: else a sixteenth of a call goes into finding pages (docs/adr/0035)."""
    import ctypes

    with open(_CHOICE, "rb") as choice:
        if b"[never]" in choice.read():  # the operator's
            return
    advise = ctypes.CDLL(None).madvise
    with open("/proc/self/maps", "rb") as maps:
        for address in _large_pages(maps.read()):
            # A system that cannot, or has none free, says so and leaves the page as it was.
            advise(ctypes.c_size_t(address), ctypes.c_size_t(_HUGE), _MADV_COLLAPSE)


def _large_pages(maps: bytes) -> Iterator[int]:
    """Where whole ones lie in memory that may be written, is private, and is no file's."""
    for line in maps.splitlines():
        where, access, _, _, file, *name = line.split()
        if access == b"rw-p" and file == b"0" and name in ([], [b"[heap]"]):
            start, end = (int(one, 16) for one in where.split(b"-"))
            yield from range(-(-start // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE)
