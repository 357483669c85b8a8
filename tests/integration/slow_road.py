"""A TCP proxy before PostgreSQL that an outage can be played on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Road:
    """Passes bytes on, until it is told otherwise."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._delay = 0.0
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """As a server that is not there: what is open is cut, what is dialled refused."""
        self._server.close()
        for task in tuple(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def swallow(self) -> None:
        """As a network that drops everything: bytes are taken and none come back."""
        self._open.clear()

    def dawdle(self, seconds: float) -> None:
        """Every answer takes that much longer."""
        self._delay = seconds

    async def recover(self) -> None:
        self._open.set()
        self._delay = 0.0
        if not self._server.is_serving():
            await self.start()

    async def _pass(self, reader, writer) -> None:
        task = asyncio.current_task()
        self._passing.add(task)
        try:
            await self._open.wait()
            there, back = await asyncio.open_unix_connection(self._target)
            try:
                await asyncio.gather(self._copy(reader, back, 0), self._copy(there, writer, 1))
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._passing.discard(task)
            writer.close()

    async def _copy(self, source, sink, slowed: int) -> None:
        while data := await source.read(65536):
            await self._open.wait()
            await asyncio.sleep(self._delay * slowed)
            sink.write(data)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()


@asynccontextmanager
async def road(socket: Path) -> AsyncIterator[Road]:
    one = Road(socket)
    await one.start()
    try:
        yield one
    finally:
        await one.refuse()
