"""A caller is its certificate's one SPIFFE id, or nobody."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from grpc import StatusCode

from llm_service.domain.access import CALLER, Role
from llm_service.gateway.access.authenticator import Authenticator
from llm_service.gateway.access.identities import Identities
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.rpc.authentication import Authentication
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs import completion_service_pb2_grpc as service_grpc
from llm_service.rpc.tls import TlsFiles, server_credentials
from tests.rpc.guarded import failure
from tests.rpc.scripted import running
from tests.unit.key_store import KeyStore, a_vault

GOOD = "spiffe://corp.example/agents/one"
RULES = "spiffe://corp.example/agents/*  acme  invoke\nspiffe://corp.example/audit * audit-read\n"
HOUR = timedelta(hours=1)


class Authority:
    """A certificate authority that issues whatever it is asked for."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.key, ca=True)
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def issue(self, *uris: str, ca: bool = False, until: timedelta = HOUR) -> tuple[bytes, bytes]:
        """A certificate and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key, *uris, ca=ca, until=until)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), private

    def _sign(self, key, *uris, ca, until=HOUR):
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca" if ca else GOOD)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        names = [x509.IPAddress(ip_address("127.0.0.1"))]
        names += [x509.UniformResourceIdentifier(uri) for uri in uris]
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * HOUR)
            .not_valid_after(now + until)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )


OURS, ROGUE = Authority(), Authority()
CASES = {
    "no certificate": (None, {StatusCode.UNAVAILABLE}),
    "of another authority": (ROGUE.issue(GOOD), {StatusCode.UNAVAILABLE}),
    "past its end": (OURS.issue(GOOD, until=-HOUR), {StatusCode.UNAVAILABLE}),
    "two ids": (
        OURS.issue(GOOD, "spiffe://corp.example/agents/two"),
        {StatusCode.UNAUTHENTICATED},
    ),
    "of another trust domain": (
        OURS.issue("spiffe://other.example/agents/one"),
        {StatusCode.UNAUTHENTICATED},
    ),
    "an authority's own": (
        OURS.issue(GOOD, ca=True),
        {StatusCode.UNAVAILABLE, StatusCode.UNAUTHENTICATED},
    ),
    "no id but in its name": (OURS.issue(), {StatusCode.UNAUTHENTICATED}),
    "an id that is no SPIFFE id": (
        OURS.issue("https://corp.example/agents/one"),
        {StatusCode.UNAUTHENTICATED},
    ),
}


@pytest.fixture(scope="module")
async def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    files = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.pem")
    certificate, key = OURS.issue()
    for path, data in zip(files.paths(), (certificate, key, OURS.pem), strict=True):
        path.write_bytes(data)
    authenticator = Authenticator(
        KnownKeys(KeyStore()), a_vault(), identities=Identities.from_text(RULES)
    )
    async with running(
        credentials=server_credentials(files), authenticate=Authentication(authenticator)
    ) as one:
        one.servicer.unary = who_calls
        yield one


async def who_calls(context):
    principal = CALLER.get().principal
    answer = pb.Completion(id=f"{principal.name} for {principal.tenant}")
    return service_pb.CompleteResponse(completion=answer)


async def complete(server, issued, metadata=()) -> str:
    """Complete over a connection of its own; returns who the server says we are."""
    certificate, key = issued or (None, None)
    credentials = grpc.ssl_channel_credentials(OURS.pem, key, certificate)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        stub = service_grpc.CompletionServiceStub(channel)
        answer = await stub.Complete(pb.CompletionRequest(), metadata=metadata, timeout=10)
        return answer.completion.id


async def test_a_mapped_certificate_is_its_tenants_caller(server):
    assert await complete(server, OURS.issue(GOOD)) == f"{GOOD} for acme"


@pytest.mark.parametrize("case", CASES)
async def test_a1_a_certificate_that_does_not_name_one_known_caller_is_denied(server, case):
    issued, codes = CASES[case]

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await complete(server, issued)

    assert caught.value.code() in codes


async def test_a_certificate_opens_only_what_its_roles_do(server):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await complete(server, OURS.issue("spiffe://corp.example/audit"))

    refused = failure(caught.value)
    assert (refused.code, refused.reason) == (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert Role.INVOKE in refused.details


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer llm_x")],
        [("authorization", "Basic dXNlcjpwdw==")],
        [("authorization", "")],
        [("authorization", "Bearer a"), ("authorization", "Bearer b")],
    ],
)
async def test_a_bad_credential_is_not_made_good_by_a_certificate(server, metadata):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await complete(server, OURS.issue(GOOD), metadata)

    assert caught.value.code() is StatusCode.UNAUTHENTICATED
