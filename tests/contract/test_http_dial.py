"""Which address is dialled, and who answers there: DNS, its tricks, and TLS."""

import asyncio
import datetime
import ipaddress
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_peer import ScriptedPeer, sized

from llm_service.errors import EgressDenied, ProviderTimeout, ProviderUnreachable
from llm_service.providers import egress as module
from llm_service.providers.connection import Connection
from llm_service.providers.egress import Egress, _tls_context

OK = sized(b"ok", b"connection: close")
INNER = "127.0.0.1"
OUTER = "127.0.0.2"  # stands in for a public address: allowed, where INNER is not


@pytest.fixture(
    scope="module",
    params=[("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request):
    return request.param


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


def answers(*rounds):
    """A resolver whose n-th answer is the n-th round; they repeat."""
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return rounds[(len(asked) - 1) % len(rounds)]

    resolve.asked = asked
    return resolve


async def fetch(egress, base_uri, connect_timeout=5.0, by=None):
    by = soon() if by is None else by
    endpoint = egress.endpoint(base_uri)
    response = await egress.send(
        endpoint, "POST", "/", [], b"{}", connect_timeout=connect_timeout, by=by
    )
    return await response.read(by=by)


@pytest.fixture
def second_loopback():
    try:
        socket.create_server((OUTER, 0)).close()
    except OSError:
        pytest.skip("this machine's loopback interface has no second address, 127.0.0.2")


async def test_a_name_that_changes_its_address_never_reaches_the_inner_network(second_loopback):
    resolve = answers([OUTER], [INNER], [OUTER, INNER], [INNER, OUTER])
    egress = Egress([OUTER], resolve=resolve)
    async with (
        ScriptedPeer([OK], host=OUTER) as peer,
        ScriptedPeer([OK], host=INNER, port=peer.port) as canary,
    ):
        outcomes = []
        for _ in range(100):
            try:
                outcomes.append(await fetch(egress, f"http://vendor.example:{peer.port}"))
            except EgressDenied:
                outcomes.append(None)

    assert outcomes == [b"ok", None, None, None] * 25
    assert (canary.connections, peer.connections) == (0, 25)
    assert len(resolve.asked) == 100  # once for each dial: what was checked is what was dialled


@pytest.mark.parametrize(
    "answer",
    [
        ["169.254.169.254"],
        ["10.0.0.1"],
        ["::1"],
        ["64:ff9b::a9fe:a9fe"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
        ["fd00:ec2::254"],
        ["8.8.8.8", "127.0.0.1"],
        ["2606:4700::1", "0.0.0.0"],  # noqa: S104  # an answer, not a bind
    ],
)
async def test_one_denied_answer_denies_the_dial(answer):
    egress = Egress(resolve=answers(answer))

    with pytest.raises(EgressDenied):
        await fetch(egress, "https://vendor.example")


async def test_a_public_answer_is_no_licence_for_plain_http():
    egress = Egress(["10.0.0.0/8:8080"], resolve=answers(["8.8.8.8"]))

    with pytest.raises(EgressDenied):
        await fetch(egress, "http://vendor.example:8080")


async def test_a_name_of_this_machine_is_looked_up_and_denied():
    with pytest.raises(EgressDenied):
        await fetch(Egress(), "https://localhost")


async def test_a_name_on_the_allow_list_reaches_its_private_address():
    async with ScriptedPeer([OK]) as peer:
        egress = Egress([f"box.internal:{peer.port}"], resolve=answers([INNER]))

        assert await fetch(egress, f"http://box.internal:{peer.port}") == b"ok"

    assert b"host: box.internal:%d\r\n" % peer.port in peer.requests[0]


async def test_a_name_that_does_not_resolve_is_unreachable():
    async def resolve(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "nobody")

    for resolver in (resolve, answers([])):
        with pytest.raises(ProviderUnreachable, match="does not resolve"):
            await fetch(Egress(resolve=resolver), "https://vendor.example")


def closed_port():
    with socket.create_server((INNER, 0)) as listener:
        return listener.getsockname()[1]


async def test_a_refused_connection_is_unreachable():
    egress = Egress([INNER])

    with pytest.raises(ProviderUnreachable, match="could not be connected to"):
        await fetch(egress, f"http://{INNER}:{closed_port()}")

    assert not egress._live


async def test_the_next_address_is_tried_when_one_refuses(second_loopback):
    async with ScriptedPeer([OK]) as peer:
        egress = Egress([INNER, OUTER], resolve=answers([OUTER, INNER]))

        assert await fetch(egress, f"http://vendor.example:{peer.port}") == b"ok"


async def never(host, port):
    await asyncio.Event().wait()
    return ()


async def test_a_slow_look_up_is_unreachable_after_the_connect_timeout():
    with pytest.raises(ProviderUnreachable):
        await fetch(Egress(resolve=never), "https://vendor.example", connect_timeout=0.01)


async def test_a_slow_look_up_times_out_with_the_call():
    with pytest.raises(ProviderTimeout):
        await fetch(Egress(resolve=never), "https://vendor.example", by=soon(0.01))


async def test_a_peer_that_never_shakes_hands_is_unreachable_and_is_hung_up_on(authority):
    loop = asyncio.get_running_loop()
    with socket.create_server((INNER, 0)) as listener:
        listener.settimeout(0)
        egress = Egress([INNER], ca_file=authority.ca_file)
        call = asyncio.ensure_future(
            fetch(egress, f"https://{INNER}:{listener.getsockname()[1]}", connect_timeout=0.2)
        )
        accepted, _ = await loop.sock_accept(listener)

        with pytest.raises(ProviderUnreachable):
            await call

        with accepted:
            while await asyncio.wait_for(loop.sock_recv(accepted, 65536), 5):
                pass  # the client's greeting, then its end


class Authority:
    """A certificate authority that lives as long as the test run."""

    def __init__(self, folder, name):
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca_file = str(folder / f"{name}.pem")
        certificate = self._sign(
            self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0)
        )
        (folder / f"{name}.pem").write_bytes(_pem(certificate))

    def server(self, host):
        """A server's TLS context whose certificate names `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        certificate = self._sign(
            x509.Name([]), key.public_key(), x509.SubjectAlternativeName([name])
        )
        both = self._folder / "server.pem"
        both.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + _pem(certificate)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(both)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def _sign(self, subject, public_key, extension):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=True)
        )
        return builder.sign(self._key, hashes.SHA256())


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"), "trusted")


@pytest.mark.parametrize("host", ["vendor.example", INNER])
async def test_a_certificate_for_the_host_is_accepted_and_the_connection_kept(authority, host):
    context = authority.server(host)
    names = []
    context.sni_callback = lambda tls, name, _: names.append(name)
    async with ScriptedPeer([sized(b"ok")], tls=context) as peer:
        egress = Egress([INNER], ca_file=authority.ca_file, resolve=answers([INNER]))

        bodies = [await fetch(egress, f"https://{host}:{peer.port}") for _ in range(3)]
        (connection,) = egress._live
        chosen = connection._transport.get_extra_info("ssl_object").selected_alpn_protocol()
        await egress.aclose()

    assert (bodies, peer.connections) == ([b"ok"] * 3, 1)
    assert chosen == "http/1.1"
    assert names == [host if host == "vendor.example" else None]


async def test_a_certificate_for_another_host_is_refused(authority):
    async with ScriptedPeer([OK], tls=authority.server("other.example")) as peer:
        egress = Egress([INNER], ca_file=authority.ca_file, resolve=answers([INNER]))

        with pytest.raises(ProviderUnreachable, match="certificate"):
            await fetch(egress, f"https://vendor.example:{peer.port}")

    assert peer.requests == []


async def test_a_certificate_from_a_stranger_is_refused(authority, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    async with ScriptedPeer([OK], tls=stranger.server("vendor.example")) as peer:
        egress = Egress([INNER], ca_file=authority.ca_file, resolve=answers([INNER]))

        with pytest.raises(ProviderUnreachable, match="certificate"):
            await fetch(egress, f"https://vendor.example:{peer.port}")

    assert peer.requests == []


async def test_a_peer_without_tls_is_unreachable():
    async def answer_in_plain(_, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer_in_plain, INNER, 0) as server:
        port = server.sockets[0].getsockname()[1]

        with pytest.raises(ProviderUnreachable, match="agree on TLS"):
            await fetch(Egress([INNER]), f"https://{INNER}:{port}")


def test_the_environment_cannot_have_session_keys_logged(tmp_path, monkeypatch):
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))

    context = _tls_context.__wrapped__("")

    assert context.keylog_filename is None
    assert not log.exists()


async def test_tls_and_names_are_checked_by_default():
    tls = _tls_context("")

    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname
    assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_connection_that_is_lost_at_once_was_never_used_and_is_not_kept(monkeypatch):
    class Lost(Connection):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.abort()

    monkeypatch.setattr(module, "Connection", Lost)
    egress = Egress([INNER])
    async with ScriptedPeer([OK]) as peer, asyncio.timeout(5):
        with pytest.raises(ProviderUnreachable) as failure:
            await fetch(egress, f"http://{INNER}:{peer.port}")
        await egress.aclose()

    assert not failure.value.may_have_cost
