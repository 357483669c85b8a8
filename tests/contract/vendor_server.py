"""A vendor on a local port: says what a test tells it to say, remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """What to answer. Pieces are written one by one.

    `cut`: the connection closes before the body's proper end. `held`: the end never comes; the
    connection stays open until the client closes it. `until`: the last piece waits for the event.
    `silent`: not even a status comes. `broken`: the connection is reset instead of an answer.
    `seconds`: the first piece takes so long.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Sequence[bytes] = ()
    cut: bool = False
    held: bool = False
    until: asyncio.Event | None = None
    silent: bool = False
    broken: bool = False
    seconds: float = 0


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Vendor:
    def __init__(self) -> None:
        self.replies: list[Reply | Callable[[Asked], Reply]] = []
        self.asked: list[Asked] = []
        self.heard = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.connections = 0
        self.beside: Callable[[Asked], Reply | None] = lambda _: None
        """Answers requests that are in no order with the others."""
        self.serving: set[asyncio.Task[None] | None] = set()
        self.port = 0
        self.ended = False

    @property
    def base_uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def say(self, *pieces: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.replies.append(Reply(status, named, pieces))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            while (asked := await _request(reader)) is not None:
                self.asked.append(asked)
                self.heard.set()
                reply = self.beside(asked) or self.replies.pop(0)
                if not isinstance(reply, Reply):
                    reply = reply(asked)
                if not await self._answer(reader, writer, reply):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        except asyncio.CancelledError:  # asyncio's own callback would log it as a failure
            if not self.ended:
                raise
        finally:
            self.serving.discard(asyncio.current_task())
            writer.close()
        self.hung_up.set()

    async def _answer(self, reader, writer, reply: Reply) -> bool:
        if reply.broken:
            writer.transport.abort()
            return False
        if reply.silent:
            await reader.read(1)
            return False
        headers = {"content-type": "application/json", **reply.headers}
        headers["transfer-encoding"] = "chunked"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} Said\r\n{lines}\r\n".encode())
        if reply.seconds:
            await asyncio.sleep(reply.seconds)
        pieces = [*filter(None, reply.pieces)]  # an empty chunk would end the body
        for number, piece in enumerate(pieces, 1):
            if reply.until is not None and number == len(pieces):
                await reply.until.wait()
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
        if reply.held:
            await reader.read(1)  # returns when the client hangs up
            return False
        if reply.cut:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def vendor_server() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    vendor.port = server.sockets[0].getsockname()[1]
    try:
        yield vendor
    finally:
        server.close()
        vendor.ended = True
        for task in tuple(vendor.serving):  # a silent one would never end
            task.cancel()


async def _request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().split("\r\n")[:-2]
    method, path, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body)
