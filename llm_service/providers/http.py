"""A request and its response in HTTP/1.1: writing the head, reading the body."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from llm_service.errors import ProviderProtocolError, ProviderUnreachable
from llm_service.providers.connection import Connection
from llm_service.providers.decoding import Inflate

MAX_BODY_BYTES = 32 * 1024 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_TARGET = re.compile(r"/[\x21-\x22\x24-\x7e]*")  # no space, no control character, no fragment
_OTHERWISE_FRAMED = frozenset(("HEAD", "CONNECT"))
# They frame the message, name its target or say who asks: one place decides them.
_RESERVED = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    )
)


def request_head(
    method: str, target: str, own: str, headers: Sequence[tuple[str, str]], body_size: int
) -> bytes:
    r"""The request line and headers, ready to send.

    Args:
        method: any but HEAD and CONNECT, whose responses are framed otherwise.
        target: path and query.
        own: this client's own header lines, each ended by "\r\n".
        headers: the caller's; none of those that frame the message, name its target or its sender.
        body_size: bytes.

    Raises:
        ValueError: HTTP cannot carry the method, the target, a name or a value. Quotes no value.
    """
    if not _TOKEN.fullmatch(method) or method in _OTHERWISE_FRAMED:
        raise ValueError("not a method this client can send")
    if not _TARGET.fullmatch(target):
        raise ValueError("the path has characters a request line cannot carry")
    lines = [f"{method} {target} HTTP/1.1\r\n{own}"]
    for name, value in headers:
        _check_name(name)
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name} has characters HTTP cannot carry")
        lines.append(f"{name}: {value}\r\n")
    if body_size or method != "GET":
        lines.append(f"content-length: {body_size}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("ascii")


@lru_cache(maxsize=256)
def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header name has characters HTTP cannot carry")
    if name.lower() in _RESERVED:
        raise ValueError(f"header {name} is not the caller's to set")


class Response:
    """A response whose head has arrived.

    Always `close` it. Only a body read to its end (where `chunk` gives b"") leaves the connection
    open for the next request: after a stream's last event, read on to that end.
    """

    __slots__ = ("_connection", "_ended", "_inflate", "_release", "headers", "status")

    def __init__(self, connection: Connection, release: Callable[[Connection], None]) -> None:
        self.status: int = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self._connection: Connection | None = connection
        self._release = release
        self._ended = False
        self._inflate = _inflate(connection.headers)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"

    async def read(self, *, by: float, limit: int = MAX_BODY_BYTES) -> bytes:
        """The whole decoded body, by `loop.time()` of `by`; at most `limit` bytes.

        Raises:
            ProviderProtocolError: the body is larger, or not what it claims to be.
            ProviderTimeout: not all of it was there in time.
            ProviderUnreachable: it was cut short.
        """
        size = 0
        pieces: list[bytes] = []
        while piece := await self.chunk(by=by):
            size += len(piece)
            if size > limit:
                self.close()
                raise ProviderProtocolError("the provider's answer is too large")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunk(self, *, by: float) -> bytes:
        """Everything decoded that has arrived, waiting for some; b"" at the proper end.

        Raises:
            ProviderProtocolError: the body is not what it claims to be.
            ProviderTimeout: nothing arrived until `loop.time()` was `by`.
            ProviderUnreachable: the body was cut short, or closed.
        """
        connection = self._connection
        if connection is None:
            return self._past_the_end()
        while True:
            if data := self._arrived(connection):
                return data
            if connection.complete:
                return self._end()
            if connection.failure is not None:
                raise connection.failure
            await connection.arrival(by, "the provider's answer stalled")

    def close(self) -> None:
        """Keep the connection if the whole body has arrived, else abort it at once. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection)

    def _arrived(self, connection: Connection) -> bytes:
        inflate = self._inflate
        if inflate is None:
            return connection.take() if connection.holds_body else b""
        compressed = connection.take() if inflate.starved and connection.holds_body else b""
        return inflate.decode(compressed)

    def _end(self) -> bytes:
        self._ended = True
        self.close()
        return self._past_the_end()

    def _past_the_end(self) -> bytes:
        if not self._ended:
            raise ProviderUnreachable("the response was closed before its end")
        if self._inflate is not None and not self._inflate.complete:
            raise ProviderProtocolError("the provider's answer ends inside its compression")
        return b""


async def exchange(
    connection: Connection,
    head: bytes,
    body: bytes,
    by: float,
    release: Callable[[Connection], None],
) -> Response:
    """Send a request on an idle connection; wait for the head until `loop.time()` is `by`.

    The connection is aborted when this raises. `release` is called once, when the response is done.

    Raises:
        ProviderProtocolError: what came is not a response we can read.
        ProviderTimeout: no head came in time.
        ProviderUnreachable: the connection closed first.
    """
    connection.begin(head, body)
    while not connection.head_complete:
        if connection.failure is not None:
            raise connection.failure
        await connection.arrival(by, "the provider did not begin to answer in time")
    try:
        return Response(connection, release)
    except ProviderProtocolError:
        connection.abort()
        raise


def _inflate(headers: Mapping[str, str]) -> Inflate | None:
    encoding = headers.get("content-encoding")
    if encoding is None:
        return None
    match encoding.lower():
        case "identity" | "":
            return None
        case "gzip" | "x-gzip":
            return Inflate("gzip")
        case "deflate":
            return Inflate("deflate")
    raise ProviderProtocolError("the provider used an encoding nobody asked for")
