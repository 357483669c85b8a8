"""Where new calls are refused once the server stops, with a status that says to try again."""

import asyncio

from llm_service.errors import Overloaded

QUIET_SECONDS = 0.05
"""Without a new call for so long, whoever called has been told and waits, or has gone elsewhere."""

LONGEST_SECONDS = 0.25
"""When it never gets quiet. A client's library that tries again later finds its connection ending,
and takes another."""


class Door:
    """Lets calls in until it is closed; then refuses them as `Overloaded`, which is retriable.

    gRPC's own stop cancels a call that meets it, and nobody tries again after CANCELLED: the door
    is closed first, and the server stopped when nobody knocks any more.
    """

    def __init__(self) -> None:
        self._closed = False
        self._knocked = asyncio.Event()

    def close(self) -> None:
        self._closed = True

    async def until_quiet(self) -> None:
        """Return when no call was refused for `QUIET_SECONDS`, or after `LONGEST_SECONDS`."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                while await self._is_knocked():
                    pass
        except TimeoutError:
            return

    async def _is_knocked(self) -> bool:
        self._knocked.clear()
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                return await self._knocked.wait()
        except TimeoutError:
            return False

    def enter(self) -> None:
        """Let a call in, or raise `Overloaded`."""
        if self._closed:
            self._knocked.set()
            raise Overloaded("the service is stopping")
