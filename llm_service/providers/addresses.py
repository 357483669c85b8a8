"""Which network addresses may be dialled: our own table, and the operator's allow-list."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HTTPS_PORT = 443
MAX_PORT = 65535
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
    r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)

# Not `ipaddress.is_global`: its answers differ between Python's patch releases, and it calls
# NAT64, 6to4, multicast and some metadata services global.
_DENIED_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local; the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Everything outside it is denied: loopback, mapped and compatible IPv4, NAT64, unique local,
# link-local, multicast.
_GLOBAL_V6 = IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, given back
        "3fff::/20",  # documentation
    )
)
# They hand a machine's own credentials to whoever asks, and lie inside ranges an operator may have
# good reason to allow: only an entry for the very address admits one.
_METADATA = frozenset(
    ip_address(address)
    for address in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "169.254.0.23",  # Tencent
        "169.254.42.42",  # Scaleway
        "169.254.169.254",  # AWS, Azure, Google, Oracle and others
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS
        "fd20:ce::254",  # Google
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")


def is_public(address: Address) -> bool:
    """Whether anybody's packet to `address` leaves this machine's own network, by our table."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _DENIED_V4)
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return False
    return not any(address in block for block in _DENIED_V6)


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address a translator or tunnel would reach for `address`, if it carries one."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low_bits = any(address in block for block in (_NAT64, _NAT64_LOCAL, _COMPATIBLE))
    return IPv4Address(int(address) & 0xFFFFFFFF) if low_bits and int(address) > 1 else None


def literal(host: str) -> Address | None:
    """The address `host` spells in full; None when it is a name.

    Raises:
        ValueError: neither. Resolvers also read `127.1`, `0x7f000001`, `2130706433` as addresses.
    """
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise ValueError("the host is not a well-formed IPv6 address") from None
        if address.scope_id is not None:
            raise ValueError("the host carries an IPv6 zone")
        return address
    last = host.rpartition(".")[2]
    if last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last):
        try:
            return IPv4Address(host)
        except ValueError:
            raise ValueError("the host is a number but not a plain IPv4 address") from None
    if not HOST_NAME.fullmatch(host):
        raise ValueError("the host is not a well-formed name")
    return None


@dataclass(frozen=True, slots=True)
class _Rule:
    """One entry of the allow-list: a network or a name, at one port or (0) at any."""

    network: Network | None
    name: str
    port: int

    def covers(self, host: str, address: Address) -> bool:
        if self.network is None:
            return self.name == host and address not in _METADATA
        if address not in self.network:
            return False
        return address not in _METADATA or self.network.num_addresses == 1


class AllowList:
    """What the operator lets this service dial beyond the public internet's port 443.

    Entries read `address`, `address:port`, `network/bits`, `network/bits:port` or `name:port`; IPv6
    with a port in brackets: `[fd00::/8]:8080`.

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, entries: Sequence[str] = ()) -> None:
        self._rules = tuple(_parse(entry.strip().lower()) for entry in entries)

    def may_admit(self, host: str, port: int) -> bool:
        """Whether some entry can admit what a name resolves to."""
        return any(
            rule.port in (0, port) and (rule.network is not None or rule.name == host)
            for rule in self._rules
        )

    def admits(self, host: str, address: Address, port: int) -> bool:
        """Whether an entry admits `address`, reached as `host`, at `port`.

        An IPv6 address that carries an IPv4 one is admitted only if that one could be dialled too:
        behind an allowed NAT64 prefix the private network stays closed.
        """
        if not any(rule.port in (0, port) and rule.covers(host, address) for rule in self._rules):
            return False
        inner = embedded(address)
        return inner is None or is_public(inner) or self.admits(host, inner, port)

    def permits(self, scheme: str, host: str, address: Address, port: int) -> bool:
        """Whether the target may be dialled: public https at port 443, or on this list."""
        if scheme == "https" and port == HTTPS_PORT and is_public(address):
            return True
        return self.admits(host, address, port)


def _parse(entry: str) -> _Rule:
    wrong = ValueError(f"not an address, network or name:port: {entry!r}")
    host, port = _split_port(entry)
    if port is None or not host:
        raise wrong
    try:
        return _Rule(ip_network(host), "", port)
    except ValueError:
        pass
    try:
        address = literal(host)
    except ValueError:
        raise wrong from None
    if address is not None or port == 0:
        raise wrong
    return _Rule(None, host, port)


def _split_port(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry; port 0 when it names none, None when it names nonsense."""
    if entry.startswith("["):
        host, closing, tail = entry[1:].partition("]")
        if not closing or (tail and not tail.startswith(":")):
            return "", None
        return host, to_port(tail[1:]) if tail else 0
    if entry.count(":") != 1:
        return entry, 0
    host, _, tail = entry.partition(":")
    return host, to_port(tail)


def to_port(digits: str) -> int | None:
    """A port from 1 to 65535, or None."""
    if not re.fullmatch(r"[0-9]{1,5}", digits):
        return None
    port = int(digits)
    return port if 1 <= port <= MAX_PORT else None
