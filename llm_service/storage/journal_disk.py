"""What asks the disk to take what was appended: a thread, and one call of it for everybody."""

import asyncio
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from llm_service.domain.value import value

logger = logging.getLogger(__name__)

_Waiting = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


@value
class Due:
    """What the disk is to take: files to be closed after, and the one that is written.

    `mark` counts the bytes appended so far. `folder`: has files that may not yet be in it after a
    crash of the machine.
    """

    mark: int
    retired: tuple[int, ...]
    current: int
    folder: Path | None


class Syncs:
    """Asks the disk when somebody waits, or of itself some time after something was appended.

    It keeps its own time: a timer of the event loop would wake that for nothing.

    Args:
        due: says what there is to be taken now; called in the thread.
        failed: told in the thread that the disk failed.
        seconds: how long what was appended may be left to the system; 0: until somebody waits.
    """

    def __init__(self, due: Callable[[], Due], failed: Callable[[], None], seconds: float) -> None:
        self._due = due
        self._failed = failed
        self._seconds = seconds
        self._waiting: deque[_Waiting] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._asleep = True
        self._behind = False
        self._closed = False
        self.durable = 0
        """Bytes that the disk has."""
        self.failing = False
        """The disk did not take what it was given last."""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def appended(self) -> None:
        """There is more that is the system's."""
        if not self._seconds:
            return
        self._behind = True
        if self._asleep:
            self._asleep = False
            self._bell.put(None)

    async def asked(self) -> None:
        """Return when the disk has what was appended before, or more.

        Raises:
            OSError: the disk failed, or is asked nothing any more.
        """
        if self._closed:
            raise OSError("the usage journal is closed")
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        self._waiting.append((loop, answered))
        loop.call_soon(self._bell.put, None)  # when all that run now have said what they wait for
        await answered

    def close(self) -> None:
        """Answer whoever waits, and ask the disk for nothing more. It blocks."""
        self._closed = True
        self._bell.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            if not (self._behind or self._waiting):
                self._sleep()
            while self._gathered():
                self._sync()
        if self._waiting:
            self._sync()

    def _sleep(self) -> None:
        """Until somebody rings."""
        self._asleep = True
        # Looked at after saying so: whoever comes later rings.
        if not (self._behind or self._waiting or self._closed):
            self._bell.get()
        self._asleep = False

    def _gathered(self) -> bool:
        """Whether the disk is to be asked, after a moment if nobody waits.

        Not asleep meanwhile: where calls follow each other none has to wake this thread up.
        """
        # Before looking why: whoever comes later rings again.
        while not self._bell.empty():
            self._bell.get()
        if not (self._waiting or self._closed):
            with suppress(Empty):
                self._bell.get(timeout=self._seconds)
        return not self._closed and bool(self._behind or self._waiting)

    def _sync(self) -> None:
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._behind = False
        failure = self._synchronised()
        for loop, answered in waiting:
            with suppress(RuntimeError):  # a loop that is closed
                loop.call_soon_threadsafe(_answer, answered, failure)

    def _synchronised(self) -> OSError | None:
        due = self._due()
        try:
            _synchronise(due)
        except OSError as error:
            if not self.failing:
                logger.critical("the disk of the usage journal fails", exc_info=True)
            self.failing = True
            self._failed()
            return error
        self.failing = False
        self.durable = due.mark
        return None


def _answer(answered: "asyncio.Future[None]", failure: OSError | None) -> None:
    if answered.done():  # whoever waited has left
        return
    if failure is None:
        answered.set_result(None)
    else:
        answered.set_exception(failure)


def _synchronise(due: Due) -> None:
    failed: OSError | None = None
    for descriptor in due.retired:
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            failed = error
        os.close(descriptor)
    if failed is not None:
        raise failed
    os.fdatasync(due.current)
    if due.folder is not None and sys.platform != "win32":
        for path in (due.folder, due.folder.parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
