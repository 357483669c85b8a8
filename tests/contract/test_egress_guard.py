"""E1 to E3: no address inside is ever dialled, whatever a URI or a resolver says."""

import asyncio
import itertools
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scripted_peer import ScriptedPeer, sized

from llm_service.errors import EgressDenied, ProviderUnreachable
from llm_service.providers.addresses import is_public
from llm_service.providers.egress import Egress
from tests.unit.test_egress_addresses import DENIED, PUBLIC

REBINDINGS = 1000
INSIDE = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"]
OUTSIDE = ["8.8.8.8", "2606:4700:4700::1111"]
METADATA = [
    pytest.param("169.254.169.254", id="aws, gcp, azure"),
    pytest.param("169.254.170.2", id="aws containers"),
    pytest.param("fd00:ec2::254", id="aws over ipv6"),
    pytest.param("fd20:ce::254", id="gcp over ipv6"),
    pytest.param("168.63.129.16", id="azure wireserver"),
    pytest.param("100.100.100.200", id="alibaba"),
    pytest.param("192.0.0.192", id="oracle"),
]


class Dialled(Egress):
    """Notes whom it would dial, and dials nobody."""

    def __init__(self, allow=(), *, resolve=None) -> None:
        super().__init__(allow, resolve=resolve)
        self.addresses: list[str] = []

    async def _connect(self, endpoint, address):
        self.addresses.append(address)
        raise ConnectionRefusedError


async def attempt(egress: Egress, base_uri: str) -> type[Exception]:
    """How a request ends that nobody answers."""
    try:
        endpoint = egress.endpoint(base_uri)
        by = asyncio.get_running_loop().time() + 10
        await egress.send(endpoint, "POST", "/", [], b"{}", connect_timeout=10, by=by)
    except (ValueError, EgressDenied, ProviderUnreachable) as error:
        return type(error)
    raise AssertionError("somebody answered")


def said(*rounds):
    """A resolver with no memory: each look-up gets the next answer."""
    turns = itertools.cycle(rounds)

    async def resolve(host, port):
        return next(turns)

    return resolve


def uri_of(address: str) -> str:
    return f"https://[{address}]" if ":" in address else f"https://{address}"


async def test_e1_every_denied_address_is_denied_as_a_literal_and_through_dns():
    wrong = []
    for address in DENIED:
        named = Dialled(resolve=said([address]))
        spelled = Dialled()
        outcomes = (
            await attempt(named, "https://vendor.example"),
            await attempt(spelled, uri_of(address)),
        )
        if outcomes[0] is not EgressDenied or outcomes[1] not in (EgressDenied, ValueError):
            wrong.append((address, outcomes))
        wrong += named.addresses + spelled.addresses

    assert wrong == []
    assert len(DENIED) > 45


async def test_e1_every_public_address_is_dialled_as_a_literal_and_through_dns():
    for address in PUBLIC:
        named, spelled = Dialled(resolve=said([address])), Dialled()

        await attempt(named, "https://vendor.example")
        await attempt(spelled, uri_of(address))

        assert named.addresses == spelled.addresses == [address]


@pytest.mark.parametrize("address", METADATA)
async def test_e1_no_clouds_metadata_service_is_reached_by_a_neighbouring_allowance(address):
    egress = Dialled(["10.0.0.0/8", "192.168.0.0/16"], resolve=said([address]))

    assert await attempt(egress, "https://vendor.example") is EgressDenied
    assert egress.addresses == []


async def test_e2_a_rebinding_name_never_leads_inside():
    rounds = [
        [outside] if turn % 2 else [inside]
        for turn, (inside, outside) in enumerate(itertools.product(INSIDE, OUTSIDE))
    ]
    rounds += [[outside, inside] for inside, outside in itertools.product(INSIDE, OUTSIDE)]
    rounds += [[inside, outside] for inside, outside in itertools.product(INSIDE, OUTSIDE)]
    rounds += [OUTSIDE, INSIDE]
    looked_up = 0
    turns = itertools.cycle(rounds)

    async def resolve(host, port):
        nonlocal looked_up
        looked_up += 1
        return next(turns)

    egress = Dialled(resolve=resolve)
    outcomes = [await attempt(egress, "https://rebinding.example") for _ in range(REBINDINGS)]

    assert set(egress.addresses) <= set(OUTSIDE)
    assert looked_up == REBINDINGS  # once an attempt: what was checked is what was dialled
    assert outcomes.count(ProviderUnreachable) > 0
    assert outcomes.count(EgressDenied) > REBINDINGS / 2


AUTHORITIES = st.one_of(
    st.text(st.sampled_from("0123456789abxX.:@[]%#?/\\ \t_-①。"), max_size=24),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.integers(0, 2**33).map(str),
    st.integers(0, 2**32).map(hex),
    st.sampled_from(["0251.0376.0251.0376", "127.1", "0", "①②⑦.⓪.⓪.①", "[::ffff:127.0.0.1]"]),
)


@given(
    scheme=st.sampled_from(["https", "http", "HTTPS", "ftp", ""]),
    authority=AUTHORITIES,
    port=st.sampled_from(["", ":443", ":80", ":8443", ":0", ":65536", ":"]),
    answer=st.ip_addresses().map(str),
)
@example("https", "127.0.0.1", "", "8.8.8.8")
@example("https", "vendor.example", "", "127.0.0.1")
@example("https", "vendor.example", "", "8.8.8.8")
@example("https", "1.0.0.0", ":443", "127.0.0.1")
async def test_e3_what_is_dialled_is_what_was_checked_and_what_the_uri_says(
    scheme, authority, port, answer
):
    base_uri = f"{scheme}://{authority}{port}"
    asked = []

    async def resolve(host, to_port):
        asked.append((host, to_port))
        return [answer]

    egress = Dialled(resolve=resolve)
    await attempt(egress, base_uri)

    if egress.addresses:
        split = urlsplit(base_uri)
        [address] = egress.addresses
        assert is_public(ip_address(address))
        assert (split.scheme, split.port or 443, split.username) == ("https", 443, None)
        assert asked in ([], [(split.hostname, 443)])
        assert address == (answer if asked else split.hostname)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_e3_a_redirect_is_an_answer_and_is_not_followed(status):
    async with ScriptedPeer([sized(b"inside")]) as canary:
        moved = sized(b"", b"location: http://127.0.0.1:%d/" % canary.port)
        moved = moved.replace(b"200 OK", b"%d Moved" % status)
        async with ScriptedPeer([moved]) as peer:
            egress = Egress(["127.0.0.1"])
            endpoint = egress.endpoint(f"http://127.0.0.1:{peer.port}")
            by = asyncio.get_running_loop().time() + 10
            response = await egress.send(
                endpoint, "POST", "/", [], b"{}", connect_timeout=10, by=by
            )
            await response.read(by=by)
            await egress.aclose()

    assert response.status == status
    assert (peer.connections, canary.connections) == (1, 0)


async def test_e3_the_environments_proxies_are_not_asked(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    egress = Dialled(resolve=said(["8.8.8.8"]))

    await attempt(egress, "https://vendor.example")

    assert egress.addresses == ["8.8.8.8"]
