"""What the journal holds of an attempt, as frames' payloads, and attempts again from frames."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from llm_service.domain.usage import AttemptProgress, OpenedAttempt, UsageRecord
from llm_service.storage import positional
from llm_service.storage.framing import ATTEMPT_ID_BYTES, Frame, FrameKind, unmarked

opened = positional.opened
"""Payload of an OPENED frame, or of a DIALLED one where both are one."""
settled = positional.settled
"""Payload of a SETTLED frame."""
progress: Callable[[AttemptProgress], bytes] = msgspec.msgpack.Encoder().encode
"""Payload of a PROGRESS frame, behind its mark."""
_progress = msgspec.msgpack.Decoder(AttemptProgress)


@dataclass(slots=True)
class Unsettled:
    """An attempt whose end nobody wrote down."""

    opened: OpenedAttempt
    dialled: bool = False
    progress: AttemptProgress | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What frames tell. `unreadable`: frames of another release, or of nothing that was opened."""

    settled: tuple[UsageRecord, ...]
    unsettled: tuple[Unsettled, ...]
    unreadable: int


def record(settled_payload: bytes) -> UsageRecord:
    """What `settled` was given."""
    return positional.to_record(positional.read(settled_payload))


def unsettled(opened_payload: bytes, progress_payload: bytes | None) -> Unsettled:
    """An attempt whose dialling was not marked: it is taken to have been."""
    so_far = _progress.decode(progress_payload) if progress_payload else None
    return Unsettled(positional.to_opened(opened_payload), dialled=True, progress=so_far)


def replay(frames: Iterable[Frame], *, marks_lost: bool = False) -> Replayed:
    """Read a journal: the last word on each of its attempts.

    `marks_lost`: whatever was opened may have been dialled, and is taken to have been.
    """
    done: dict[str, UsageRecord] = {}
    begun: dict[str, Unsettled] = {}
    unreadable = 0
    for frame in frames:
        try:
            _apply(frame, done, begun)
        except (msgspec.MsgspecError, KeyError):
            unreadable += 1
    for one in begun.values():
        one.dialled |= marks_lost
    left = tuple(one for attempt_id, one in begun.items() if attempt_id not in done)
    return Replayed(tuple(done.values()), left, unreadable)


def _apply(frame: Frame, done: dict[str, UsageRecord], begun: dict[str, Unsettled]) -> None:
    match frame.kind:
        case FrameKind.SETTLED:
            settled = record(frame.payload)
            done[settled.attempt_id] = settled
        case FrameKind.PROGRESS:
            attempt_id, so_far = unmarked(frame.payload)
            begun[attempt_id].progress = _progress.decode(so_far)
        case FrameKind.DIALLED if len(frame.payload) == ATTEMPT_ID_BYTES:
            begun[unmarked(frame.payload)[0]].dialled = True
        case kind:  # opened, and dialled at once
            attempt = positional.to_opened(frame.payload)
            begun[attempt.attempt_id] = Unsettled(attempt, dialled=kind == FrameKind.DIALLED)
