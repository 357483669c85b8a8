"""Which addresses may be dialled."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.providers.addresses import AllowList, embedded, is_public, literal

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2001:200::",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
]
DENIED = [
    "0.0.0.0",  # noqa: S104  # a table, not a bind
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "100::1",
    "1fff:ffff::1",
    "2001::1",
    "2001:0:5ef5:79fd::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:a9fe:a9fe::",
    "2002:808:808::1",
    "3ffe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", DENIED)
def test_denied_addresses_are_not_public(address):
    assert not is_public(ip_address(address))


@given(st.integers(0, 2**32 - 1))
def test_nothing_python_calls_private_is_public(number):
    address = IPv4Address(number)

    assert not (is_public(address) and (address.is_private or address.is_multicast))


@given(st.integers(0, 2**32 - 1))
def test_no_ipv6_wrapping_of_an_ipv4_address_is_public(number):
    wrapped = [
        IPv6Address(number),
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | number << 80),
        IPv6Address((0x2001 << 112) | (number ^ 0xFFFFFFFF)),
    ]

    assert not any(is_public(address) for address in wrapped)


@pytest.mark.parametrize(
    ("address", "inner"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::10.0.0.1", "10.0.0.1"),
        ("64:ff9b::10.0.0.1", "10.0.0.1"),
        ("64:ff9b:1::10.0.0.1", "10.0.0.1"),
        ("2002:a00:1::", "10.0.0.1"),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", "10.0.0.1"),
        ("2606:4700::1", None),
        ("::1", None),
        ("10.0.0.1", None),
    ],
)
def test_the_carried_ipv4_address_is_found(address, inner):
    assert embedded(ip_address(address)) == (ip_address(inner) if inner else None)


@pytest.mark.parametrize("host", ["1.2.3.4", "2606:4700::1", "::1"])
def test_a_plain_address_is_a_literal(host):
    assert literal(host) == ip_address(host)


@pytest.mark.parametrize(
    "host", ["api.openai.com", "localhost", "ollama", "my_box.internal", "1.example", "a-b.c0"]
)
def test_a_name_is_no_literal(host):
    assert literal(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "2852039166",
        "0xa9fea9fe",
        "0x",
        "0251.0376.0251.0376",
        "169.254.0xa9fe",
        "127.1",
        "0",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "name.1",
        "１２７.０.０.１",  # noqa: RUF001  # resolvers fold full width
        "①②⑦.⓪.⓪.①",
        "fe80::1%eth0",
        "1:2",
        ".",
        "a..b",
        "a.",
        "-a.b",
        "a" * 64,
        "",
    ],
)
def test_what_a_resolver_might_take_for_an_address_is_refused(host):
    with pytest.raises(ValueError, match="the host"):
        literal(host)


@pytest.mark.parametrize(
    ("entry", "host", "address", "port"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", 8080),
        ("127.0.0.1:8080", "127.0.0.1", "127.0.0.1", 8080),
        ("10.0.0.0/8", "db.internal", "10.1.2.3", 443),
        ("10.0.0.0/8:9000", "db.internal", "10.1.2.3", 9000),
        ("::1", "::1", "::1", 1),
        ("[::1]:11434", "::1", "::1", 11434),
        ("fd00::/8", "x", "fd12::1", 80),
        ("[fd00::/8]:80", "x", "fd12::1", 80),
        ("[fd00::/8]", "x", "fd12::1", 80),
        ("Ollama.Internal:11434", "ollama.internal", "192.168.1.5", 11434),
        ("169.254.169.254", "x", "169.254.169.254", 80),
        ("64:ff9b::/96", "api.example", "64:ff9b::8.8.8.8", 443),
    ],
)
def test_an_entry_admits_what_it_names(entry, host, address, port):
    assert AllowList([entry]).permits("http", host, ip_address(address), port)


@pytest.mark.parametrize(
    ("entry", "host", "address", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", "127.0.0.1", 8081),
        ("127.0.0.1", "x", "127.0.0.2", 80),
        ("ollama.internal:11434", "ollama.internal", "10.0.0.1", 80),
        ("ollama.internal:11434", "evil.ollama.internal", "10.0.0.1", 11434),
        ("ollama.internal:80", "ollama.internal", "169.254.169.254", 80),
        ("169.254.0.0/16", "x", "169.254.169.254", 80),
        ("fd00::/8", "x", "fd00:ec2::254", 80),
        ("100.64.0.0/10", "x", "100.100.100.200", 80),
        ("64:ff9b::/96", "x", "64:ff9b::10.0.0.1", 443),
        ("64:ff9b::/96", "x", "64:ff9b::169.254.169.254", 443),
        ("10.0.0.0/8", "x", "::ffff:10.0.0.1", 443),
    ],
)
def test_an_entry_admits_nothing_else(entry, host, address, port):
    assert not AllowList([entry]).permits("https", host, ip_address(address), port)


def test_a_carried_address_is_admitted_by_its_own_entry():
    allow = AllowList(["64:ff9b::/96", "10.0.0.0/8"])

    assert allow.permits("https", "x", ip_address("64:ff9b::10.0.0.1"), 443)


def test_without_entries_only_public_https_at_its_own_port_is_permitted():
    allow = AllowList()
    address = ip_address("8.8.8.8")

    permitted = [
        allow.permits(scheme, "x", address, port)
        for scheme, port in (("https", 443), ("https", 8443), ("http", 443), ("http", 80))
    ]

    assert permitted == [True, False, False, False]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "name",
        "name:0",
        "name:65536",
        "name:x",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "127.1",
        "127.1:80",
        "[::1",
        "[::1]x",
        "[::1]:",
        "https://name:443",
        "na me:80",
        "*.internal:80",
        ":80",
    ],
)
def test_a_malformed_entry_is_refused(entry):
    with pytest.raises(ValueError, match="not an address, network or name:port"):
        AllowList([entry])
