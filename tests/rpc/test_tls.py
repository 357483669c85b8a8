"""TLS from files: new certificates, half-written ones, and callers without one."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2_grpc as service_grpc
from llm_service.rpc.tls import TlsFiles, UnusableTls, _Certificates, server_credentials
from tests.rpc.scripted import running


class Authority:
    """A certificate authority of its own."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _sign(name, self.key, name, self.key, ca=True)
        self.pem = self.certificate.public_bytes(Encoding.PEM)
        self.name = name

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A certificate for 127.0.0.1 and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(name, key, self.name, self.key, ca=False)
        return certificate.public_bytes(Encoding.PEM), key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )


def _sign(name, key, issuer, issuer_key, *, ca):
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture
def files(tmp_path, authority) -> TlsFiles:
    files = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    write(files, authority.issue("first"))
    return files


def write(files: TlsFiles, issued: tuple[bytes, bytes]) -> None:
    """As Kubernetes does: each file appears whole."""
    for path, data in zip((files.certificate, files.private_key), issued, strict=True):
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.rename(path)


async def call(port: int, roots: bytes, *, client: tuple[bytes, bytes] | None = None) -> str:
    """Complete over a connection of its own; returns the id."""
    certificate, key = client or (None, None)
    credentials = grpc.ssl_channel_credentials(roots, key, certificate)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        stub = service_grpc.CompletionServiceStub(channel)
        return (await stub.Complete(pb.CompletionRequest(), timeout=10)).completion.id


async def test_calls_go_through_tls(files, authority):
    async with running(credentials=server_credentials(files)) as server:
        assert await call(server.port, authority.pem) == "c-1"


async def test_a2_a_new_certificate_serves_new_connections_and_leaves_old_ones_alone(
    files, authority
):
    other = Authority("other")
    release = asyncio.Event()

    async def stream(context):
        yield pb.StreamCompleteResponse(sequence=1)
        await release.wait()
        yield pb.StreamCompleteResponse(sequence=2)

    async with running(credentials=server_credentials(files)) as server:
        server.servicer.stream = stream
        credentials = grpc.ssl_channel_credentials(authority.pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
            held = service_grpc.CompletionServiceStub(channel).StreamComplete(
                pb.CompletionRequest()
            )
            assert (await held.read()).sequence == 1

            write(files, other.issue("second"))

            assert await call(server.port, other.pem) == "c-1"
            with pytest.raises(grpc.aio.AioRpcError):
                await call(server.port, authority.pem)
            release.set()
            assert (await held.read()).sequence == 2


@pytest.mark.parametrize("damage", ["half", "empty", "missing", "mismatch", "garbage"])
async def test_a2_while_the_files_are_no_good_the_last_good_ones_serve(
    files, authority, damage, caplog
):
    caplog.set_level(logging.WARNING, "llm_service")
    good = files.certificate.read_bytes()
    async with running(credentials=server_credentials(files)) as server:
        if damage == "missing":
            files.certificate.unlink()
        else:
            files.certificate.write_bytes(
                {
                    "half": good[: len(good) // 2],
                    "empty": b"",
                    "mismatch": authority.issue("another")[0],
                    "garbage": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                }[damage]
            )

        assert await call(server.port, authority.pem) == "c-1"
        assert await call(server.port, authority.pem) == "c-1"

        assert len(caplog.records) == 1
        write(files, authority.issue("repaired"))
        assert await call(server.port, authority.pem) == "c-1"
    assert len(caplog.records) == 1


async def test_mutual_tls_takes_our_callers_and_nobody_else(tmp_path, authority, files):
    callers, rogue = Authority("callers"), Authority("callers")
    ca = tmp_path / "callers.pem"
    ca.write_bytes(callers.pem)
    mutual = TlsFiles(files.certificate, files.private_key, ca)

    async with running(credentials=server_credentials(mutual)) as server:
        assert await call(server.port, authority.pem, client=callers.issue("me")) == "c-1"
        for client in (None, rogue.issue("me")):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call(server.port, authority.pem, client=client)
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("damage", ["missing", "half", "mismatch", "garbage"])
def test_a_server_does_not_start_on_files_that_are_no_good(files, authority, damage):
    match damage:
        case "missing":
            files.private_key.unlink()
        case "half":
            files.private_key.write_bytes(files.private_key.read_bytes()[:40])
        case "mismatch":
            files.private_key.write_bytes(authority.issue("another")[1])
        case _:
            files.private_key.write_bytes(
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
            )

    with pytest.raises(UnusableTls, match=r"tls\.(key|crt)") as failure:
        server_credentials(files)

    assert "AAAA" not in str(failure.value)


def test_a2_a_handshake_reads_the_files_only_when_they_changed_and_only_good_ones(files, authority):
    certificates = _Certificates(files)
    certificates.first()

    unchanged = certificates.newer()
    write(files, authority.issue("second"))
    changed = certificates.newer()
    files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    damaged = certificates.newer()

    assert unchanged is None
    assert changed is not None
    assert damaged is None
