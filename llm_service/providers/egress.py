"""The one door out: checking a target, dialling it, and the pool of open connections."""

import asyncio
import errno
import re
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from ipaddress import ip_address

from llm_service.errors import (
    EgressDenied,
    GatewayError,
    ProviderTimeout,
    ProviderUnreachable,
)
from llm_service.providers.addresses import HTTPS_PORT, AllowList, literal, to_port
from llm_service.providers.connection import Connection
from llm_service.providers.http import MAX_BODY_BYTES, Response, exchange, request_head

__all__ = ["MAX_BODY_BYTES", "Egress", "Endpoint", "Resolve", "Response", "parse"]

MAX_IDLE_PER_ORIGIN = 100
MAX_URI_LENGTH = 2048

_HTTP_PORT = 80
_BASE_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]+))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)"
)
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?=/|\Z)", re.IGNORECASE)
_REFUSED = "the address is not one this service may dial"

Origin = tuple[str, str, int]

# Host and port in; every address the name stands for out, in the order to try them. Raises OSError
# when there is none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked base address. `host` is lower case, without brackets; `path` ends in no slash."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> Origin:
        """What connections are pooled by."""
        return (self.scheme, self.host, self.port)


class Egress:
    """The HTTP/1.1 client every adapter shares. It follows no redirect and knows no proxy.

    Args:
        allow: `AllowList` entries, the only way to loopback, private, plain http and other ports.
        ca_file: PEM certificates to trust beside the system's; "" for none.
        resolve: how names become addresses.
    """

    def __init__(
        self, allow: Sequence[str] = (), *, ca_file: str = "", resolve: Resolve | None = None
    ) -> None:
        self._allow = AllowList(allow)
        self._ca_file = ca_file
        # A broken CA file is known at once; the system's certificates are read when first needed.
        self._tls = _tls_context(ca_file) if ca_file else None
        self._resolve = resolve or _look_up
        self._user_agent = f"llm-service/{metadata.version('llm-service')}"
        self._idle: dict[Origin, deque[Connection]] = {}
        self._live: dict[Connection, Origin] = {}
        self._empty = asyncio.Event()
        self._closed = False

    def endpoint(self, base_uri: str) -> Endpoint:
        """Parse a base URI.

        Raises:
            EgressDenied: it spells out an address or a port that may not be dialled. What a name
                stands for is checked at each dial.
            ValueError: it is malformed, or plain http to what is not on the allow-list.
        """
        endpoint = parse(base_uri)
        address = literal(endpoint.host)
        if address is not None:
            if not self._allow.permits(endpoint.scheme, endpoint.host, address, endpoint.port):
                raise EgressDenied(_REFUSED)
            return endpoint
        if endpoint.scheme == "https" and endpoint.port == HTTPS_PORT:
            return endpoint
        if not self._allow.may_admit(endpoint.host, endpoint.port):
            if endpoint.scheme == "http":
                raise ValueError("plain http is only for targets the operator's allow-list admits")
            raise EgressDenied("the port is not one this service may dial")
        return endpoint

    async def send(  # noqa: PLR0913  # what a request is made of
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        connect_timeout: float,
        by: float,
        on_send: Callable[[], None] | None = None,
    ) -> Response:
        """Send one request, once, and wait for the response's head.

        Nothing is sent twice, whatever happens: the provider may have acted on what it got.

        Args:
            endpoint: from `endpoint`.
            method: any but HEAD and CONNECT.
            path: path and query below the endpoint's own path.
            headers: in order, beside Host, User-Agent, Accept-Encoding and the framing.
            body: b"" for none.
            connect_timeout: seconds for DNS, TCP and TLS, should a connection be needed.
            by: `loop.time()` by which the head must be there.
            on_send: told once a connection is there, just before the request goes out.

        Raises:
            EgressDenied: an address of the target may not be dialled.
            ProviderProtocolError: what came is not a response we can read.
            ProviderTimeout: there was no head in time.
            ProviderUnreachable: no connection could be made, or it closed before the head.
            ValueError: HTTP cannot carry the method, path, or a header.
        """
        own = _own_headers(endpoint, self._user_agent)
        head = request_head(method, endpoint.path + path, own, headers, len(body))
        origin = endpoint.origin
        connection = self._pooled(origin)
        if connection is None:
            connection = await self._dial(endpoint, connect_timeout, by)
        if on_send is not None:
            on_send()
        return await exchange(connection, head, body, by, self._release)

    async def aclose(self) -> None:
        """Abort every connection, and let none be pooled any more."""
        self._closed = True
        self._idle.clear()
        while self._live:
            self._empty.clear()
            for connection in tuple(self._live):
                connection.abort()
            await self._empty.wait()

    def _pooled(self, origin: Origin) -> Connection | None:
        """The connection used last, of those the peer has not closed."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if now < connection.usable_until and connection.is_quiet:
                return connection
            connection.abort()
        return None

    def _release(self, connection: Connection) -> None:
        if not connection.finish():
            return
        idle = self._idle.setdefault(self._live[connection], deque())
        if self._closed or len(idle) >= MAX_IDLE_PER_ORIGIN:
            connection.abort()
            return
        now = asyncio.get_running_loop().time()
        while idle and idle[0].usable_until <= now:
            idle.popleft().abort()
        idle.append(connection)

    def _forget(self, connection: Connection) -> None:
        origin = self._live.pop(connection, None)
        idle = self._idle.get(origin) if origin is not None else None
        if idle and connection in idle:
            idle.remove(connection)
        if not self._live:
            self._empty.set()

    async def _dial(self, endpoint: Endpoint, connect_timeout: float, by: float) -> Connection:
        try:
            return await self._dialled(endpoint, connect_timeout, by)
        except GatewayError as error:
            error.may_have_cost = False  # nothing was sent
            raise

    async def _dialled(self, endpoint: Endpoint, connect_timeout: float, by: float) -> Connection:
        if self._closed:
            raise ProviderUnreachable("this service is shutting down")
        until = asyncio.get_running_loop().time() + connect_timeout
        try:
            async with asyncio.timeout_at(min(until, by)):
                addresses = await self._addresses(endpoint)
                return await self._first_to_answer(endpoint, addresses, min(until, by))
        except TimeoutError as error:
            if by <= until:
                raise ProviderTimeout("the provider could not be reached in time") from error
            raise ProviderUnreachable("the provider took too long to connect") from error

    async def _addresses(self, endpoint: Endpoint) -> Sequence[str]:
        """Every address the endpoint stands for: all may be dialled, or none is."""
        host = endpoint.host
        if literal(host) is not None:
            found: Sequence[str] = (host,)
        else:
            try:
                found = await self._resolve(host, endpoint.port)
            except OSError as error:
                raise ProviderUnreachable("the provider's host name does not resolve") from error
        if not found:
            raise ProviderUnreachable("the provider's host name does not resolve")
        for text in found:
            address = ip_address(text)
            if not self._allow.permits(endpoint.scheme, host, address, endpoint.port):
                raise EgressDenied(_REFUSED)
        return found

    async def _first_to_answer(
        self, endpoint: Endpoint, addresses: Sequence[str], until: float
    ) -> Connection:
        """Try one address after the other; each may take an equal share of the time left."""
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for left in range(len(addresses), 0, -1):
            share = (until - loop.time()) / left if left > 1 else None
            try:
                async with asyncio.timeout(share):
                    return await self._connect(endpoint, addresses[-left])
            except OSError as error:
                failure = error
        raise ProviderUnreachable(_why(failure)) from failure

    async def _connect(self, endpoint: Endpoint, address: str) -> Connection:
        """Dial a literal address. The name is only for the certificate, SNI and the Host header."""
        loop = asyncio.get_running_loop()
        secure = endpoint.scheme == "https"
        if secure and self._tls is None:
            self._tls = await asyncio.to_thread(_tls_context, self._ca_file)
        _, connection = await loop.create_connection(
            lambda: Connection(loop, self._forget),
            address,
            endpoint.port,
            ssl=self._tls if secure else None,
            server_hostname=endpoint.host if secure else None,
        )
        if connection.is_closing:  # before anybody could use it; nobody is told of it again
            raise ConnectionResetError(errno.ECONNRESET, "the connection closed at once")
        self._live[connection] = endpoint.origin
        return connection


def parse(base_uri: str) -> Endpoint:
    """The endpoint a base URI spells, whether or not it may be dialled.

    Raises:
        ValueError: it is malformed.
    """
    _refuse_oddities(base_uri)
    match = _BASE_URI.fullmatch(base_uri)
    if match is None:
        raise ValueError("not a URI of the form https://host/path")
    scheme = match["scheme"].lower()
    if scheme not in ("https", "http"):
        raise ValueError("the scheme is not https")
    host = (match["v6"] or match["name"]).lower()
    if match["v6"] and ":" not in host:
        raise ValueError("only an IPv6 address goes in brackets")
    address = literal(host)
    default = HTTPS_PORT if scheme == "https" else _HTTP_PORT
    port = default if match["port"] is None else to_port(match["port"])
    if port is None:
        raise ValueError("the port is not from 1 to 65535")
    path = match["path"].rstrip("/")
    if _DOT_SEGMENT.search(path) or "//" in path:
        raise ValueError("the path has empty or dot segments")
    return Endpoint(scheme, host if address is None else str(address), port, path)


def _refuse_oddities(base_uri: str) -> None:
    """What a well-meant URI may hold by mistake gets a message of its own."""
    if len(base_uri) > MAX_URI_LENGTH:
        raise ValueError(f"the URI is longer than {MAX_URI_LENGTH} characters")
    if not base_uri.isascii() or not base_uri.isprintable() or " " in base_uri:
        raise ValueError("the URI has characters that are not printable ASCII")
    for mark, what in (("?", "a query"), ("#", "a fragment")):
        if mark in base_uri:
            raise ValueError(f"the URI has {what}")
    if "@" in base_uri.partition("://")[2].partition("/")[0]:
        raise ValueError("the URI has user information")


@lru_cache(maxsize=1024)
def _own_headers(endpoint: Endpoint, user_agent: str) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    default = HTTPS_PORT if endpoint.scheme == "https" else _HTTP_PORT
    where = host if endpoint.port == default else f"{host}:{endpoint.port}"
    return f"host: {where}\r\nuser-agent: {user_agent}\r\naccept-encoding: identity\r\n"


@cache  # reading the system's certificates takes some 20 ms
def _tls_context(ca_file: str) -> ssl.SSLContext:
    # As ssl.create_default_context, which beyond it logs session keys if SSLKEYLOGFILE says so.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


async def _look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _why(failure: OSError | None) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return "the provider's certificate is not one this service trusts"
    if isinstance(failure, ssl.SSLError):
        return "the provider and this service could not agree on TLS"
    return "the provider could not be connected to"
