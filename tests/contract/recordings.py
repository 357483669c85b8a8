"""Recorded vendor traffic, and the ways a stream of it can arrive."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from llm_service.errors import GatewayError
from llm_service.providers.base import Answer

WIRE = Path(os.environ.get("WIRE") or Path(__file__).resolve().parents[3] / "shared" / "wire")
CHAT = WIRE / "openai-chat"


def streams() -> list:
    """Every recorded stream of an answer as SSE bytes."""
    return stream_params(CHAT, _framed, _is_chunk)


def answers() -> list:
    """Every whole answer."""
    return answer_params(CHAT, _is_answer)


def no_answers() -> list:
    """Everything else: errors, and what is no Chat Completions at all."""
    return other_params(CHAT, _framed, _is_answer, _is_chunk)


Judge = Callable[[dict], bool]
Frame = Callable[[list[bytes]], bytes]


def stream_params(folder: Path, frame: Frame, judge: Judge) -> list:
    """The streams whose every event passes; one skipped test if there are none."""
    paths = [path for path in _streams_in(folder) if _all(lines_of(path), judge)]
    return _params({path.name: _stream(path, frame) for path in paths}, folder)


def answer_params(folder: Path, judge: Judge) -> list:
    """The whole answers that pass; one skipped test if there are none."""
    found = {p.name: p.read_bytes() for p in sorted(folder.glob("*.json"))}
    return _params({name: data for name, data in found.items() if _all([data], judge)}, folder)


def other_params(folder: Path, frame: Frame, is_answer: Judge, is_event: Judge) -> list:
    """(whether it is whole, the bytes) of every recording that does not pass."""
    whole = {p.name: p.read_bytes() for p in sorted(folder.glob("*.json"))}
    found = {n: (True, data) for n, data in whole.items() if not _all([data], is_answer)}
    streams = [path for path in _streams_in(folder) if not _all(lines_of(path), is_event)]
    found |= {path.name: (False, _stream(path, frame)) for path in streams}
    return _params(found, folder)


def lines_of(path: Path) -> list[bytes]:
    """The events of a recorded stream, each one's JSON."""
    lines = [line.strip() for line in path.read_bytes().split(b"\n")]
    if path.suffix == ".sse":
        data = (line.removeprefix(b"data:").strip() for line in lines if line[:5] == b"data:")
        return [line for line in data if line not in (b"", b"[DONE]")]
    return [line for line in lines if line not in (b"", b"[DONE]")]


def _stream(path: Path, frame: Frame) -> bytes:
    """The bytes as they came, or as the vendor frames the events."""
    return path.read_bytes() if path.suffix == ".sse" else frame(lines_of(path))


def _streams_in(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.glob("*")) if p.name.endswith((".chunks.txt", ".sse"))]


def _all(events: list[bytes], judge: Judge) -> bool:
    try:
        said = [json.loads(event) for event in events]
    except ValueError:
        return False
    return bool(said) and all(type(event) is dict and judge(event) for event in said)


def _params(found: dict, folder: Path) -> list:
    reason = f"there are no such recordings in {folder}"
    missing = pytest.param(None, marks=pytest.mark.skip(reason=reason))
    return [pytest.param(data, id=name) for name, data in found.items()] or [missing]


def _is_answer(said: dict) -> bool:
    return bool(said.get("choices")) and not said.get("error")


def _is_chunk(said: dict) -> bool:
    return not said.get("error") and said.get("object") != "error" and "type" not in said


def _framed(lines: list[bytes]) -> bytes:
    return sse(lines)


def sse(payloads: Iterable[bytes], *, done: bool = True) -> bytes:
    end = b"data: [DONE]\n\n" if done else b""
    return b"".join(b"data: " + payload + b"\n\n" for payload in payloads) + end


def ending(read: Callable[[], Answer]) -> Answer | None:
    """The answer that is read; None: a failure in our words came instead of one."""
    try:
        return read()
    except GatewayError:
        return None


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
