"""Vault's key/value engine, version 2, over a real socket: who asks, for what, and what is told."""

import json

import pytest

from llm_service.domain.provider import SecretReference
from llm_service.errors import ProviderCredentialMissing, ProviderCredentialUnreadable
from llm_service.gateway.secret_stores.vault_kv import (
    KubernetesLogin,
    TokenFile,
    Vault,
    VaultKeyValues,
)
from llm_service.providers.egress import Egress
from tests.contract.vendor_server import Asked, Reply, vendor_server

OPENAI = SecretReference("vault", "secret/llm/openai", "api_key")
CANARY = "sk-canary-0123456789"


class Server:
    """A Vault of a few secrets: looks at the token, the namespace and the path."""

    def __init__(self, vendor, folder) -> None:
        self.vendor = vendor
        self.tokens = {"hvs.good"}
        self.secrets = {"/v1/secret/data/llm/openai": {"api_key": CANARY, "org": "o"}}
        self.leases = iter(["hvs.first", "hvs.second", "hvs.third"])
        self.token_file = folder / "token"
        self.token_file.write_text("hvs.good\n")

    def answers(self, times: int) -> None:
        self.vendor.replies += [self.answer] * times

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/v1/auth/k8s/login":
            token = next(self.leases)
            self.tokens = {token}
            return said({"auth": {"client_token": token, "lease_duration": 3600}})
        if asked.headers.get("x-vault-token") not in self.tokens:
            return said({"errors": ["permission denied canary"]}, 403)
        path, _, query = asked.path.partition("?")
        data = self.secrets.get(path)
        if data is None:
            return said({"errors": []}, 404)
        if query == "version=1":
            data = {"api_key": "sk-old"}
        return said({"data": {"data": data, "metadata": {"version": 2}}})

    @property
    def reads(self) -> list[Asked]:
        return [asked for asked in self.vendor.asked if "login" not in asked.path]


def said(body, status=200, **headers) -> Reply:
    return Reply(status, headers, [json.dumps(body).encode()])


@pytest.fixture
async def server(tmp_path):
    async with vendor_server() as vendor:
        yield Server(vendor, tmp_path)


@pytest.fixture
async def egress(server):
    egress = Egress([f"127.0.0.1:{server.vendor.port}"])
    yield egress
    await egress.aclose()


@pytest.fixture
def store(server, egress):
    return a_store(server, egress, TokenFile(server.token_file))


def a_store(server, egress, login, namespace=""):
    endpoint = egress.endpoint(f"http://127.0.0.1:{server.vendor.port}")
    return VaultKeyValues(Vault(egress, endpoint, namespace), login, ["secret/llm", "team"])


async def test_an_entry_of_a_secret_is_read_with_the_token(server, store):
    server.answers(1)

    assert await store.read(OPENAI) == CANARY

    (asked,) = server.vendor.asked
    assert (asked.method, asked.path) == ("GET", "/v1/secret/data/llm/openai")
    assert asked.headers["x-vault-token"] == "hvs.good"
    assert "x-vault-namespace" not in asked.headers


async def test_a_version_and_a_namespace_are_asked_for(server, egress):
    store = a_store(server, egress, TokenFile(server.token_file), namespace="team/a")
    server.answers(1)

    assert await store.read(SecretReference("vault", OPENAI.path, "api_key", "1")) == "sk-old"

    (asked,) = server.vendor.asked
    assert asked.headers["x-vault-namespace"] == "team/a"


async def test_a_token_file_is_read_anew_each_time(server, store):
    server.answers(2)
    await store.read(OPENAI)
    server.token_file.write_text("hvs.next")
    server.tokens = {"hvs.next"}

    assert await store.read(OPENAI) == CANARY


async def test_the_one_entry_of_a_secret_needs_no_name(server, store):
    server.secrets["/v1/team/data/one"] = {"value": "sk-one"}
    server.answers(2)

    assert await store.read(SecretReference("vault", "team/one")) == "sk-one"
    with pytest.raises(ProviderCredentialUnreadable):
        await store.read(SecretReference("vault", OPENAI.path))


async def test_a_pod_logs_in_once_and_again_when_its_token_is_refused(server, egress, tmp_path):
    account = tmp_path / "account"
    account.write_text("eyJ.pod.account")
    store = a_store(server, egress, KubernetesLogin("llm", account, "k8s"))
    server.answers(8)

    await store.read(OPENAI)
    await store.read(OPENAI)
    server.tokens = set()
    again = await store.read(OPENAI)

    logins = [asked for asked in server.vendor.asked if "login" in asked.path]
    assert again == CANARY
    assert [asked.json for asked in logins] == [{"role": "llm", "jwt": "eyJ.pod.account"}] * 2
    assert [asked.headers["x-vault-token"] for asked in server.reads] == [
        "hvs.first",
        "hvs.first",
        "hvs.first",
        "hvs.second",
    ]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(said({"errors": []}, 404), ProviderCredentialMissing, id="none"),
        pytest.param(said({"data": {"data": None}}), ProviderCredentialMissing, id="deleted"),
        pytest.param(said({"data": None}), ProviderCredentialMissing, id="nothing"),
        pytest.param(said({"errors": ["canary"]}, 500), ProviderCredentialUnreadable, id="failed"),
        pytest.param(said({"errors": ["canary"]}, 503), ProviderCredentialUnreadable, id="sealed"),
        pytest.param(
            said({}, 307, location="http://127.0.0.1:1/canary"),
            ProviderCredentialUnreadable,
            id="redirect",
        ),
        pytest.param(
            said({"data": {"data": {"api_key": 7}}}), ProviderCredentialUnreadable, id="no-text"
        ),
        pytest.param(
            said({"data": {"data": {"api_key": ""}}}), ProviderCredentialUnreadable, id="empty"
        ),
        pytest.param(
            Reply(200, {}, [b'{"data": "canary"']), ProviderCredentialUnreadable, id="no-json"
        ),
        pytest.param(Reply(cut=True), ProviderCredentialUnreadable, id="cut-short"),
    ],
)
async def test_a_failure_is_typed_and_says_nothing_of_what_the_store_said(
    server, store, reply, error
):
    server.vendor.replies.append(reply)

    with pytest.raises(error) as caught:
        await store.read(OPENAI)

    assert "canary" not in f"{caught.value!r} {caught.value.__context__!r}"
    assert len(server.vendor.asked) == 1, "a redirect is not followed"


async def test_a_token_that_is_refused_twice_is_unreadable(server, store):
    server.tokens = set()
    server.answers(2)

    with pytest.raises(ProviderCredentialUnreadable):
        await store.read(OPENAI)


@pytest.mark.parametrize("written", ["", "two words", "ünïcode", None])
async def test_without_a_token_nothing_is_asked(server, store, written):
    if written is None:
        server.token_file.unlink()
    else:
        server.token_file.write_text(written)

    with pytest.raises(ProviderCredentialUnreadable):
        await store.read(OPENAI)

    assert server.vendor.connections == 0


async def test_a_login_that_is_refused_or_nonsense_is_unreadable(server, egress, tmp_path):
    account = tmp_path / "account"
    account.write_text("eyJ.pod.account")
    store = a_store(server, egress, KubernetesLogin("llm", account, "k8s"))

    for reply in (said({"errors": ["canary"]}, 400), said({"auth": {"client_token": "a b"}})):
        server.vendor.replies.append(reply)
        with pytest.raises(ProviderCredentialUnreadable) as caught:
            await store.read(OPENAI)
        assert "canary" not in str(caught.value)


async def test_a_server_that_is_not_there_is_unreadable(server, tmp_path):
    egress = Egress(["127.0.0.1:1"])
    vault = Vault(egress, egress.endpoint("http://127.0.0.1:1"))
    store = VaultKeyValues(vault, TokenFile(server.token_file), ["secret"])

    with pytest.raises(ProviderCredentialUnreadable):
        await store.read(OPENAI)

    await egress.aclose()


@pytest.mark.parametrize(
    "reference",
    [
        SecretReference("vault", "secret/other/openai"),
        SecretReference("vault", "secret/llm"),
        SecretReference("vault", "secret/llm/"),
        SecretReference("vault", "secret/llmore/openai"),
        SecretReference("vault", "secret/llm/../other"),
        SecretReference("vault", "secret/llm/./a"),
        SecretReference("vault", "secret/llm//a"),
        SecretReference("vault", "secret/llm/a?version=1"),
        SecretReference("vault", "secret/llm/a%2f..%2fb"),
        SecretReference("vault", "/secret/llm/a"),
        SecretReference("vault", "secret/llm/ä"),
        SecretReference("vault", "secret/llm/a\n"),
        SecretReference("vault", ""),
        SecretReference("vault", OPENAI.path, version="0"),
        SecretReference("vault", OPENAI.path, version="latest"),
    ],
)
async def test_a_place_that_is_not_lent_is_refused_and_never_asked_for(server, store, reference):
    assert store.refuse(reference)

    with pytest.raises(ProviderCredentialMissing):
        await store.read(reference)

    assert server.vendor.connections == 0
