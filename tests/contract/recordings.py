"""Recorded vendor traffic, and the ways a stream of it can arrive."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

WIRE = Path(os.environ.get("WIRE") or Path(__file__).resolve().parents[3] / "shared" / "wire")
CHAT = WIRE / "openai-chat"


def streams() -> list:
    """Every streamed recording as SSE bytes; one skipped test if there are none."""
    found = [
        pytest.param(_bytes(path), id=path.name)
        for path in sorted(CHAT.glob("*"))
        if path.name.endswith((".chunks.txt", ".sse"))
    ]
    return found or [_missing()]


def answers() -> list:
    """Every whole answer."""
    found = [
        pytest.param(path.read_bytes(), id=path.name)
        for path in sorted(CHAT.glob("*.json"))
        if "error" not in path.name
    ]
    return found or [_missing()]


def _missing():
    return pytest.param(None, marks=pytest.mark.skip(reason=f"there are no recordings in {CHAT}"))


def _bytes(path: Path) -> bytes:
    if path.suffix == ".sse":
        return path.read_bytes()
    return sse(line for line in path.read_bytes().split(b"\n") if line.strip())


def sse(payloads: Iterable[bytes], *, done: bool = True) -> bytes:
    end = b"data: [DONE]\n\n" if done else b""
    return b"".join(b"data: " + payload + b"\n\n" for payload in payloads) + end


def arrivals(stream: bytes) -> dict[str, list[bytes]]:
    """The same bytes whole, one by one, and split at each event's end and start."""
    return {
        "whole": [stream],
        "byte by byte": list(byte_by_byte(stream)),
        "by event": by_event(stream),
    }


def by_event(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n") if event]


def byte_by_byte(stream: bytes) -> Iterator[bytes]:
    return map(_BYTES.__getitem__, stream)


_BYTES = [bytes([number]) for number in range(256)]
