"""The local journal: what must outlive this process until the database has it.

One folder a process, held by a lock that the system drops when the process dies, with segments
of frames (`framing`).

An appended frame is the system's at once, so it outlives a killed process. `synced` makes it
outlive a dead machine, for everybody who waits at the same time by one call; a journal that syncs
behind does so by itself, a moment later, for everything appended meanwhile.
"""

import asyncio
import logging
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from llm_service.storage.framing import Frame, decoded
from llm_service.storage.journal_disk import Due, Syncs

logger = logging.getLogger(__name__)

_SEGMENT_BYTES = 8 << 20
_LOCK = "lock"


class JournalFull(Exception):
    """The journal has no room for another frame, or the disk has none for the journal."""


class Journal:
    """Appends frames to segments, and drops a segment when none of its attempts needs it.

    Args:
        folder: holds one folder for each process's journal.
        most_bytes: of all segments of this one.
        sync_seconds: how long a frame may be with the system before the disk is asked to take it;
            0: until somebody waits for `synced`.
    """

    _syncs: Syncs

    def __init__(
        self,
        folder: Path,
        most_bytes: int,
        sync_seconds: float = 0.0,
        segment_bytes: int = _SEGMENT_BYTES,
    ) -> None:
        self._folder = folder / str(uuid.uuid4())
        self._most_bytes = most_bytes
        self._sync_seconds = sync_seconds
        self._segment_bytes = min(segment_bytes, max(most_bytes // 8, 1))
        self._segments: list[_Segment] = []
        self._held: dict[str, tuple[_Segment, ...]] = {}
        self._rotations = 0
        self._bytes_before = 0  # of all segments but the last
        self._limit = -1  # of the last one's bytes; -1: nothing more goes into it
        self._retired: list[int] = []
        self._appended = 0
        self._turning = threading.Lock()  # of segments: the thread that syncs looks at the last
        self._lock = -1
        self._spoiled = False
        self._closed = False

    @classmethod
    def open(cls, folder: Path, most_bytes: int, sync_seconds: float = 0.0) -> Self:
        """Make this process's journal. It blocks.

        Raises:
            OSError: the folder cannot be made or written.
        """
        journal = cls(folder, most_bytes, sync_seconds)
        # Nobody may find it before it is held.
        draft = folder / f".{journal._folder.name}"
        draft.mkdir(parents=True, mode=0o700)
        journal._lock = _locked(draft, create=True)
        os.write(journal._lock, _boot())
        draft.rename(journal._folder)
        journal._rotate()
        journal._syncs = Syncs(journal._due, journal._spoil, sync_seconds)
        return journal

    @property
    def process(self) -> str:
        """A UUID text that tells this process from all others, also after its death."""
        return self._folder.name

    @property
    def fill(self) -> float:
        """The share of its bytes that is taken, 0 to 1 and a little above."""
        return (self._bytes_before + self._segments[-1].size) / self._most_bytes

    @property
    def attempts(self) -> int:
        """Attempts that still need the journal."""
        return len(self._held)

    @property
    def syncs_behind(self) -> bool:
        """Whoever appends need not wait for `synced`: the disk takes frames soon, as it did last.

        False also while the disk fails: then only those who wait know what it took.
        """
        return self._sync_seconds > 0 and not self._syncs.failing

    def append(self, attempt_id: str, frames: bytes) -> None:
        """Write an attempt's frames, all or none: in microseconds, for the system has them then.

        Raises:
            JournalFull: they are not written.
        """
        size = len(frames)
        segment = self._segments[-1]
        if segment.size + size > self._limit:
            segment = self._with_room(size)
        try:
            written = os.write(segment.descriptor, frames)
        except OSError as error:
            raise JournalFull("the usage journal cannot be written") from error
        if written < size:
            self._take_back(segment)
        segment.size += size
        self._appended += size
        holders = self._held.get(attempt_id)
        if holders is None or holders[-1] is not segment:
            self._held[attempt_id] = (*holders, segment) if holders else segment.alone
            segment.attempts += 1
        self._syncs.appended()

    async def synced(self) -> None:
        """Return when everything appended so far is on the disk.

        Raises:
            OSError: the disk failed.
        """
        mark = self._appended
        while self._syncs.durable < mark:
            await self._syncs.asked()

    def forget(self, attempt_ids: Iterable[str]) -> None:
        """The records of those are safe elsewhere; segments that nobody needs are removed."""
        for attempt_id in attempt_ids:
            for segment in self._held.pop(attempt_id, ()):
                segment.attempts -= 1
        # Once it is closed, the number of its file may be another's.
        if not (self._held or self._closed) and self._segments[-1].size:
            self._empty(self._segments[-1])
        for segment in self._segments[:-1]:
            if segment.attempts == 0:
                self._segments.remove(segment)
                self._bytes_before -= segment.size
                with suppress(OSError):
                    segment.path.unlink(missing_ok=True)
        self._bound()

    async def aclose(self) -> None:
        """Close, behind whatever is under way."""
        self._end()
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Let go of the journal; it is removed if no attempt needs it, else found by the next."""
        self._end()
        self._syncs.close()
        for descriptor in (*self._retired, self._segments[-1].descriptor):
            os.close(descriptor)
        if not self._held:
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def _with_room(self, size: int) -> "_Segment":
        """The segment that takes so many bytes; Raises: as `append`."""
        if self._closed:
            raise JournalFull("the usage journal is closed")
        if self._bytes_before + self._segments[-1].size + size > self._most_bytes:
            raise JournalFull("the usage journal is full")
        try:
            self._rotate()
        except OSError as error:
            raise JournalFull("the usage journal cannot have another segment") from error
        return self._segments[-1]

    def _bound(self) -> None:
        """All that `append` has to look at, as one number; once it is closed it stays below 0."""
        if self._closed:
            return
        self._limit = min(self._segment_bytes, self._most_bytes - self._bytes_before)
        # Looked at after that: another thread may have spoiled the segment or closed it meanwhile.
        if self._spoiled or self._closed:
            self._limit = -1

    def _end(self) -> None:
        self._closed = True
        self._limit = -1

    def _rotate(self) -> None:
        self._rotations += 1
        path = self._folder / f"{self._rotations:09d}.segment"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # Not before there is another: what is retired is closed, and its number is soon another's.
        with self._turning:
            if self._segments:
                self._retired.append(self._segments[-1].descriptor)
                self._bytes_before += self._segments[-1].size
            self._segments.append(_Segment(path, descriptor))
        self._spoiled = False
        self._bound()

    def _take_back(self, segment: "_Segment") -> NoReturn:
        """What there was no room for: a frame that is cut would hide all behind it."""
        try:
            os.ftruncate(segment.descriptor, segment.size)
        except OSError:
            self._spoil()
        raise JournalFull("the disk of the usage journal is full")

    def _empty(self, segment: "_Segment") -> None:
        # A new one would cost folders that the disk must take, too. Where the disk has not taken
        # this when the machine dies, what was in it is found again: all of it is stored, and an
        # attempt is stored once.
        with suppress(OSError):  # costs room, and nobody their call
            os.ftruncate(segment.descriptor, 0)
            segment.size = 0

    def _due(self) -> Due:
        mark = self._appended
        with self._turning:
            retired, self._retired = tuple(self._retired), []
            current = self._segments[-1].descriptor
        folder = self._folder if retired or not self._syncs.durable else None
        return Due(mark, retired, current, folder)

    def _spoil(self) -> None:
        # The system may have dropped what it could not write, and says so only once.
        self._spoiled = True
        self._limit = -1


@dataclass(slots=True, eq=False)
class _Segment:
    path: Path
    descriptor: int
    size: int = 0
    attempts: int = 0
    alone: "tuple[_Segment, ...]" = ()
    """This one: what holds most attempts, made once."""

    def __post_init__(self) -> None:
        self.alone = (self,)


class Orphan:
    """The journal of a process that died, held by this one. Its methods block."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self.damaged = False
        # What the process did last had been handed to the system, and went with it.
        self.machine_died = os.pread(lock, 64, 0) != _boot()

    @property
    def process(self) -> str:
        """As `Journal.process` of the one that died."""
        return self._folder.name

    def frames(self) -> Iterator[Frame]:
        """What was written, in order. What a dying machine left half written ends a segment."""
        for path in sorted(self._folder.glob("*.segment")):
            data = path.read_bytes()
            position = 0
            while position < len(data):
                frame, position = decoded(data, position)
                if frame is None:
                    self.damaged = True
                    break
                yield frame

    def discard(self) -> None:
        """Everything in it is safe elsewhere."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def release(self) -> None:
        """Leave it for another time."""
        os.close(self._lock)


def orphans(folder: Path) -> Iterator[Orphan]:
    """Journals whose processes are dead. It blocks."""
    for path in sorted(folder.glob("[!.]*")) if folder.is_dir() else ():
        # Gone meanwhile, or still held: by a living process, or by one that found it before us.
        try:
            lock = _locked(path)
        except OSError:
            continue
        yield Orphan(path, lock)


def _locked(folder: Path, *, create: bool = False) -> int:
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    descriptor = os.open(folder / _LOCK, flags, 0o600)
    if sys.platform == "win32":
        return descriptor
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _boot() -> bytes:
    """Tells one life of this machine from another; nothing where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b""
