"""Who calls."""

import pytest

from llm_service.domain.access import ANYONE, Caller


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:[::1]:4711", "::1"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("unix:/run/socket", ""),
        ("", ""),
    ],
)
def test_a_peers_address_is_told_without_its_port(peer, address):
    assert Caller(ANYONE, peer=peer).peer_ip_address == address
