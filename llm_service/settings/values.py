"""What the text of a variable becomes: one reader for each kind of value.

A reader raises ValueError with what the value must be. None ever shows the value: it may be a
secret in the wrong variable.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import parse_qsl, urlsplit

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogFormat = Literal["json", "text"]
LedgerPlace = Literal["journal", "database"]
Auth = Literal["open", "required"]

OVERRIDE = "yes-i-know"

_MAX_PORT = 65535
_REDIS_OPTIONS = ("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_MAX_TEXT = 255
_TENANT = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_ALGORITHM = re.compile(r"(?:RS|PS|ES)(?:256|384|512)|EdDSA")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SECRET_PATH = re.compile(
    r"(?!.*(?:\A|/)\.+(?:/|\Z))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*", re.ASCII
)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# Not "127.1" or "0x7f000001": resolvers read those as addresses.
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?!(?:0x[0-9a-f]*|[0-9]+)\Z){_LABEL}")


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or an IP address without brackets, and a port; port 0 means any free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerUrl(str):
    """Where a server is, and how to log in. Its repr hides passwords; its text does not."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = re.sub(r"//([^:@/]*):.*@", r"//\1:***@", self)
        return repr(re.sub(r"(?i)([^?&]*pass[^=&]*=)[^&]*", r"\1***", shown))


class RedisUrl(ServerUrl):
    """Of a Redis or Valkey server."""

    __slots__ = ()


class DatabaseUrl(ServerUrl):
    """A SQLAlchemy URL with an async driver."""

    __slots__ = ()

    @property
    def is_sqlite(self) -> bool:
        return self.startswith("sqlite")

    @property
    def place(self) -> str:
        """Which database it is, whoever connects and how: no user, no password."""
        address, _, query = self.partition("?")
        scheme, _, rest = address.partition("://")
        where = re.findall(r"(?:host|hostaddr|port|dbname)=[^&]*", query)
        return "&".join([f"{scheme}://{rest.rpartition('@')[2]}", *where])


def text(value: str) -> str:
    if len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError(f"must be at most {_MAX_TEXT} printable characters")
    return value


def integer(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        # In plain digits: float() also reads "nan", "1_0" and "1e3".
        plain = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value)
        if not plain or not low <= float(value) <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(value)

    return read


def usd(value: str) -> int:
    """Nano-USD."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) or not float(value):
        raise ValueError("must be an amount in USD above 0, like 100.00")
    return int(Decimal(value) * 1_000_000_000)


def log_level(value: str) -> LogLevel:
    levels = get_args(LogLevel)
    if value.upper() not in levels:
        raise ValueError(f"must be one of {', '.join(levels)}")
    return cast("LogLevel", value.upper())


def log_format(value: str) -> LogFormat:
    if value not in get_args(LogFormat):
        raise ValueError("must be json or text")
    return cast("LogFormat", value)


def ledger_place(value: str) -> LedgerPlace:
    if value not in get_args(LedgerPlace):
        raise ValueError("must be journal or database")
    return cast("LedgerPlace", value)


def auth(value: str) -> Auth:
    if value not in get_args(Auth):
        raise ValueError("must be open or required")
    return cast("Auth", value)


def key_set(value: str) -> str:
    """Where an issuer of tokens publishes its keys."""
    if "://" in value and not value.startswith("https://"):
        raise ValueError("must be an https:// address or a file")
    return text(value)


def algorithms(value: str) -> tuple[str, ...]:
    names = tuple(_items(value))
    if not names or not all(map(_ALGORITHM.fullmatch, names)):
        raise ValueError("must be of RS256, PS256, ES256 (or 384, 512) and EdDSA, between commas")
    return names


def tenants(value: str) -> tuple[str, ...]:
    names = tuple(name.removeprefix("tenants/") for name in _items(value))
    if not all(name == "*" or _TENANT.fullmatch(name) for name in names):
        raise ValueError('must be names like "tenants/acme" between commas, or *')
    return names


def override(value: str) -> bool:
    if value != OVERRIDE:
        raise ValueError(f"must be exactly {OVERRIDE}, or not set")
    return True


def switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def path(value: str) -> Path:
    if not value.isprintable():
        raise ValueError("must be a path of printable characters")
    return Path(value)


def folder(value: str) -> Path:
    """A path that a database URL can hold."""
    if "?" in value:
        raise ValueError("must be a folder without a question mark in its name")
    return path(value)


def database_url(value: str) -> DatabaseUrl:
    scheme, _, rest = value.partition("://")
    if scheme in {"sqlite", "sqlite+aiosqlite"}:
        if not re.fullmatch(r"/.+", rest):
            raise ValueError("must read sqlite:///<file>")
        return DatabaseUrl(f"sqlite+aiosqlite://{rest}")
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ValueError("must start with sqlite:///, postgresql:// or postgres://")
    with suppress(ValueError):
        _ = urlsplit(value).port  # raises unless host and port are well-formed
        return DatabaseUrl(f"postgresql+psycopg://{rest}")
    # Outside the handler: the parser's error shows a part of the URL.
    raise ValueError("is not a URL; write special characters of a password as %XX")


def redis_url(value: str) -> RedisUrl:
    with suppress(ValueError):
        parts = urlsplit(value)
        _ = parts.port  # raises unless it is one
        local = parts.scheme == "unix" and parts.path
        remote = parts.scheme in {"redis", "rediss"} and parts.hostname
        known = all(
            name in _REDIS_OPTIONS
            for name, _ in parse_qsl(parts.query, strict_parsing=bool(parts.query))
        )
        if value.isprintable() and (local or remote) and known and not parts.fragment:
            return RedisUrl(value)
    raise ValueError(
        "must be redis://host:port/number, rediss:// (TLS) or unix:///path, with no options but "
        + ", ".join(_REDIS_OPTIONS)
    )


def address(value: str) -> Address:
    host, _, port = value.lower().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        known = _is_ipv6(host)
    else:
        known = _is_ipv4(host) or _HOST_NAME.fullmatch(host) is not None
    if not known or not _is_port(port, lowest=0):
        raise ValueError("must be host:port or [IPv6 address]:port")
    return Address(host, int(port))


def endpoint(value: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(value)
        plain = value.isprintable() and parts.username is None and not parts.query
        if plain and parts.scheme in {"http", "https"} and parts.hostname and parts.port:
            return value
    raise ValueError("must be http://host:port or https://host:port, without a user or a query")


def store_address(value: str) -> str:
    """The address of a server that is trusted with secrets: encrypted, or on this machine."""
    with suppress(ValueError):
        parts = urlsplit(value)
        bare = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username)
        host = parts.hostname or ""
        port = parts.port or 0  # raises unless it is one
        local = parts.scheme == "http" and Address(host, port).is_loopback
        if value.isprintable() and bare and host and (parts.scheme == "https" or local):
            return value.rstrip("/")
    raise ValueError("must be https://host:port, or http://127.0.0.1:port")


def folders(value: str) -> tuple[Path, ...]:
    found = tuple(map(path, _items(value)))
    if not all(folder.is_absolute() and ".." not in folder.parts for folder in found):
        raise ValueError("must be absolute paths of folders, separated by commas")
    return found


def secret_paths(value: str) -> tuple[str, ...]:
    return tuple(map(secret_path, _items(value)))


def secret_path(value: str) -> str:
    if not _SECRET_PATH.fullmatch(value):
        raise ValueError("must be paths like secret/llm, of letters, digits, '.', '_' and '-'")
    return value


def variable_names(value: str) -> tuple[str, ...]:
    names = tuple(_items(value))
    if not all(_VARIABLE_NAME.fullmatch(name) for name in names):
        raise ValueError("must be names of environment variables, separated by commas")
    return names


def egress_entries(value: str) -> tuple[str, ...]:
    entries = tuple(_items(value.lower()))
    for position, entry in enumerate(entries, start=1):
        if not _is_egress_entry(entry):
            raise ValueError(
                f"entry {position} is not address, address:port, network/bits, network/bits:port"
                " or name:port (IPv6 with a port: in brackets)"
            )
    return entries


def _items(value: str) -> Iterator[str]:
    return (item.strip() for item in value.split(",") if item.strip())


def _is_egress_entry(entry: str) -> bool:
    if entry.startswith("["):
        network, closing, tail = entry[1:].partition("]")
        port_is_fine = not tail or (tail.startswith(":") and _is_port(tail[1:]))
        return bool(closing) and _is_network(network) and port_is_fine
    host, colon, port = entry.partition(":")
    if not colon or ":" in port:
        return _is_network(entry)
    return _is_port(port) and (_is_network(host) or _HOST_NAME.fullmatch(host) is not None)


def _is_network(value: str) -> bool:
    try:
        ip_network(value)
    except ValueError:
        return False
    return True


def _is_ipv4(value: str) -> bool:
    try:
        IPv4Address(value)
    except ValueError:
        return False
    return True


def _is_ipv6(value: str) -> bool:
    try:
        return IPv6Address(value).scope_id is None
    except ValueError:
        return False


def _is_port(value: str, lowest: int = 1) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", value) is not None and lowest <= int(value) <= _MAX_PORT
