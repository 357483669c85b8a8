"""The one door out: which addresses may be dialled, dialling them, and the pool of open connections."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

MAX_BODY_BYTES = 32 * 1024 * 1024

# Host and port in; every literal address the name stands for out. Raises OSError when there is none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked base address. `host` is lower case, without brackets; `path` ends in no slash."""

    scheme: str
    host: str
    port: int
    path: str


class Response:
    """A response whose head has arrived. Close it: only a body read to its end frees the connection."""

    status: int
    headers: Mapping[str, str]

    async def read(self, *, by: float, limit: int = MAX_BODY_BYTES) -> bytes:
        """The whole decoded body, by `loop.time()` of `by`."""
        raise NotImplementedError

    async def chunk(self, *, by: float) -> bytes:
        """Everything decoded that has arrived, waiting for some; b"" at the proper end."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else abort it at once."""
        raise NotImplementedError


class Egress:
    """The shared HTTP/1.1 client of every adapter."""

    def __init__(
        self, allow: Sequence[str] = (), *, ca_file: str = "", resolve: Resolve | None = None
    ) -> None: ...

    def endpoint(self, base_uri: str) -> Endpoint:
        """Parse a base URI; ValueError, in our words, when it is not one we may use."""
        raise NotImplementedError

    async def send(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        connect_timeout: float,
        by: float,
    ) -> Response:
        """Send one request and wait for the response head until `loop.time()` is `by`."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close every pooled connection."""
