"""A server on loopback that does to each request what its script says."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence

CLOSE = "close"  # send what is pending, then end the connection
RESET = "reset"  # drop the connection with a TCP reset
HOLD = "hold"  # wait until the client ends the connection

Step = bytes | str | asyncio.Event


def sized(body, *extra):
    head = b"".join(b"%s\r\n" % line for line in extra)
    return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)


def chunked(*pieces, extra=(), ended=True):
    head = b"".join(b"%s\r\n" % line for line in extra)
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    end = b"0\r\n\r\n" if ended else b""
    return b"HTTP/1.1 200 OK\r\n%stransfer-encoding: chunked\r\n\r\n%s%s" % (head, body, end)


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


class ScriptedPeer:
    """Serves while it is entered. The n-th request gets the n-th script; the last serves the rest.

    Attributes:
        connections: how many were accepted.
        requests: each request, head and body as they came.
        left: set once a client ended a connection that was on HOLD; `left_at` is the loop's time.
    """

    def __init__(self, *scripts: Sequence[Step], host="127.0.0.1", port=0, tls=None):
        self._scripts = scripts
        self._host = host
        self._tls = tls
        self._tasks = set()
        self.port = port
        self.connections = 0
        self.requests = []
        self.left = asyncio.Event()
        self.left_at = 0.0

    async def __aenter__(self):
        self._server = await asyncio.start_server(
            self._serve, self._host, self.port, ssl=self._tls, limit=2**26
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self):
        return f"http://{self._host}:{self.port}"

    async def _serve(self, reader, writer):
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        try:
            while True:
                self.requests.append(await _request(reader))
                script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
                for step in script:
                    if await self._take(step, reader, writer):
                        return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client, or the test, is done
        finally:
            writer.close()

    async def _take(self, step, reader, writer):
        """Whether the connection is over."""
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        elif isinstance(step, asyncio.Event):
            await step.wait()
        elif step == RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return True
        elif step == HOLD:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            self.left_at = asyncio.get_running_loop().time()
            self.left.set()
            return True
        return step == CLOSE


async def _request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head
