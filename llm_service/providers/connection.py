"""One HTTP/1.1 connection: requests written whole, responses parsed and counted as they arrive."""

import asyncio
import re
import select
from collections.abc import Callable
from typing import cast

import httptools

from llm_service.errors import (
    GatewayError,
    ProviderProtocolError,
    ProviderTimeout,
    ProviderUnreachable,
)

MAX_HEAD_BYTES = 64 * 1024
MAX_BUFFERED_BYTES = 256 * 1024
IDLE_SECONDS = 60.0

_ONE_WRITE_BYTES = 64 * 1024
_NO_BODY = frozenset((204, 304))
_CONTINUE = 100
_SWITCHING_PROTOCOLS = 101
_OK = 200
# Header names that many answers have: kept once, not with every open stream.
_USUAL = {
    name: name
    for name in (
        *("alt-svc", "cache-control", "cf-cache-status", "cf-ray", "connection"),
        *("content-encoding", "content-length", "content-type", "date", "keep-alive"),
        *("openai-organization", "openai-processing-ms", "openai-version", "request-id", "server"),
        *("set-cookie", "strict-transport-security", "transfer-encoding", "vary", "via"),
        *("x-content-type-options", "x-envoy-upstream-service-time", "x-request-id"),
        *("x-ratelimit-limit-requests", "x-ratelimit-limit-tokens"),
        *("x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"),
        *("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"),
    )
}
_KEEP_ALIVE_TIMEOUT = re.compile(r"timeout=([0-9]{1,6})")


class Connection(asyncio.Protocol):
    """One connection: one request and its response at a time.

    `on_closed` is told once it is gone. The parser calls the methods named `on_…`.
    """

    # There is one for every open stream.
    __slots__ = (
        "_buffered",
        "_busy",
        "_deadline",
        "_head_bytes",
        "_interim",
        "_keep_alive",
        "_late",
        "_loop",
        "_on_closed",
        "_parser",
        "_parts",
        "_paused",
        "_poll",
        "_quiet_bytes",
        "_surplus",
        "_timer",
        "_transport",
        "_until_close",
        "_waiter",
        "complete",
        "failure",
        "head_complete",
        "headers",
        "lost",
        "on_body",
        "status",
        "usable_until",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_closed: Callable[["Connection"], None],
    ) -> None:
        self._loop = loop
        self._on_closed = on_closed
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._late = False
        self.failure: GatewayError | None = None
        self.lost = False
        self.usable_until = 0.0
        self._poll: select.poll | None = None
        self._parts: list[bytes] = []
        self.on_body = self._parts.append  # the parser calls the list itself: nothing in between
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head_complete = False
        self.complete = False
        self._interim = False
        self._until_close = False
        self._keep_alive = False
        self._surplus = False
        self._paused = False
        self._head_bytes = 0
        self._quiet_bytes = 0
        self._buffered = 0

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy or self.complete:  # nobody asked
            self._surplus = True
            self.abort()
            return
        parts = self._parts
        held = len(parts)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._parse_failed(error)
        if len(parts) > held:
            self._quiet_bytes = 0
            self._buffered += len(data)
            if self._buffered > MAX_BUFFERED_BYTES and not self.complete:
                self._pause()
        elif not self.complete:
            self._count_quiet(len(data))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._busy and not self.complete and self.failure is None:
            if self._until_close and exc is None:
                self.complete = True
            else:
                self._fail(ProviderUnreachable("the provider closed the connection early"), exc)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()
        del self._parser  # holds this connection's methods: the two would wait for the collector
        self._on_closed(self)

    # The parser calls these.

    def on_message_begin(self) -> None:
        if self.complete:
            raise ProviderProtocolError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self.head_complete:  # a trailer
            return
        key = name.decode("latin-1").lower()
        key = _USUAL.get(key, key)
        text = value.decode("latin-1")
        known = self.headers.get(key)
        self.headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ProviderProtocolError("the provider's response head is too large")
        if status < _CONTINUE or status == _SWITCHING_PROTOCOLS:
            raise ProviderProtocolError("the provider did not answer in HTTP/1.1")
        if status < _OK:
            self._interim = True
            self.headers = {}
            return
        coding = self.headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise ProviderProtocolError("the provider used a transfer coding nobody asked for")
        self.status = status
        self.head_complete = True
        self._until_close = (
            coding is None and "content-length" not in self.headers and status not in _NO_BODY
        )

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        self.complete = True
        self._keep_alive = self._parser.should_keep_alive()

    # `Response` and the pool call these.

    def begin(self, head: bytes, body: bytes) -> None:
        """Write a request. The connection is new, or `finish` said it can carry another."""
        transport = self._transport
        self._reset()
        self._busy = True
        if len(body) <= _ONE_WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    async def arrival(self, by: float, late: str) -> None:
        """Wait until something changes.

        If nothing did until `loop.time()` is `by`, `failure` is a ProviderTimeout saying `late`,
        and the connection is aborted, as it is on cancellation.
        """
        waiter = self._waiter = self._loop.create_future()
        self._arm(by)
        try:
            await waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None
        if self._late:
            self._late = False
            self._fail(ProviderTimeout(late))

    def take(self) -> bytes:
        """The body bytes that have arrived since the last call."""
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            if not self.lost:
                self._transport.resume_reading()
        return data

    @property
    def holds_body(self) -> bool:
        """Whether body bytes wait to be taken."""
        return bool(self._parts)

    def finish(self) -> bool:
        """End the exchange; whether the connection can carry another. If not, it is aborted."""
        transport = self._transport
        self._parts.clear()
        reusable = (
            self.complete
            and self._keep_alive
            and not (self._surplus or self.lost or self._paused or transport.is_closing())
            and self.failure is None
            and transport.get_write_buffer_size() == 0
        )
        self._busy = False
        if not reusable:
            self._fail(ProviderUnreachable("the response was closed before its end"))
            return False
        self.usable_until = self._loop.time() + self._idle_seconds()
        return True

    def abort(self) -> None:
        """Close at once, sending nothing more."""
        if not self.lost:
            self._transport.abort()

    @property
    def is_closing(self) -> bool:
        """Gone, or about to be: what is written would go nowhere."""
        return self.lost or self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Open, and nothing waits to be read, not even the end.

        The event loop may not have come round to telling us; a request written now could be lost,
        and may not be sent again.
        """
        if self.is_closing:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    # Private.

    def _idle_seconds(self) -> float:
        promised = _KEEP_ALIVE_TIMEOUT.search(self.headers.get("keep-alive", ""))
        if promised is None:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, int(promised[1]) - 1.0)  # close before the server does

    def _parse_failed(self, error: Exception) -> None:
        if self.complete:  # the answer is whole; what follows it is nobody's
            self._surplus = True
            return
        ours = error.__context__
        if isinstance(ours, GatewayError):
            self._fail(ours)
        else:
            self._fail(ProviderProtocolError("the provider did not answer in HTTP/1.1"), error)

    def _count_quiet(self, size: int) -> None:
        """Bound what is not body: heads, interim responses, trailers, chunk extensions."""
        self._quiet_bytes += size
        if self._quiet_bytes > MAX_HEAD_BYTES:
            self._fail(ProviderProtocolError("the provider's response head is too large"))

    def _fail(self, failure: GatewayError, cause: BaseException | None = None) -> None:
        if self.failure is None:
            failure.__cause__ = cause
            self.failure = failure
        self.abort()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _arm(self, by: float) -> None:
        """Set the deadline. The timer moves only when it would ring too late: most never ring."""
        self._deadline = by
        if self._timer is None:
            self._timer = self._loop.call_at(by, self._ring)
        elif by < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(by, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
            return
        self._late = True
        self._waiter.set_result(None)
