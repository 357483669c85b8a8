"""A first start with authentication on: its first key, a tenant's key, and the end of that one."""

import asyncio
import json
import shutil

import grpc
import pytest
from typer.testing import CliRunner

from llm_service import bootstrap
from llm_service.bootstrap.access import first_key
from llm_service.commands import app
from llm_service.domain.access import CALLER, Role
from llm_service.gateway.access.authenticator import KEPT_SECONDS
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_grpc
from tests.e2e.process import command, serving
from tests.e2e.service import asking, settings_in
from tests.rpc.guarded import Guarded, bearer, outcome
from tests.rpc.test_tls import Authority
from tests.unit.test_caller_tokens import AUDIENCE, KEYS, token
from tests.unit.test_caller_tokens import ISSUER as SIGNER

PATIENCE_SECONDS = 20  # less than a remembered key is kept: what ends it is not that


@pytest.fixture
async def required(tmp_path):
    """A process that serves by TLS and asks for keys."""
    authority = Authority("ours")
    certificate, key = authority.issue("service")
    for name, data in (("ca.pem", authority.pem), ("tls.crt", certificate), ("tls.key", key)):
        (tmp_path / name).write_bytes(data)
    tls = {
        "LLM_TLS_CERT_FILE": str(tmp_path / "tls.crt"),
        "LLM_TLS_KEY_FILE": str(tmp_path / "tls.key"),
    }
    async with serving(tmp_path, LLM_AUTH="required", **tls) as process:
        yield process


async def test_the_first_key_makes_a_tenants_key_that_ends_when_it_is_revoked(required):
    authority = required.folder / "ca.pem"
    operator = required.log.partition("shown this once: ")[2].split()[0]
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    async with grpc.aio.secure_channel(required.address, credentials) as channel:
        service = Guarded(channel, operator, {}, "")
        stub = completion_grpc.CompletionServiceStub(channel)
        anonymous = await outcome(stub.Complete(asking("echo-1")))
        name, key = await service.new_key(Role.INVOKE, tenant="acme")
        called = await command(
            *("call", "hello", "--model", "echo-1", "--address", required.address),
            *("--ca-file", str(authority)),
            LLM_API_KEY=key,
        )
        refused = await command(
            *("usage", "--address", required.address, "--ca-file", str(authority)), LLM_API_KEY=key
        )
        listed = await command(
            *("client-keys", "list", "--address", required.address),
            *("--ca-file", str(authority)),
            LLM_API_KEY=operator,
        )
        await revoke_beside_it(required, name)
        await until_refused(stub, key)

    assert anonymous.reason == "CALLER_UNAUTHENTICATED"
    assert (called.code, called.out) == (0, "hello\n"), called.err
    wanted = "llm-service: PERMISSION_DENIED: this method needs the role usage-read\n"
    assert (refused.code, refused.err) == (1, wanted)
    assert f"{name}\tactive\tinvoke\t\n" in listed.out, listed.err
    assert key not in called.err + listed.out + required.log
    assert required.log.count(operator) == 1


async def revoke_beside_it(process, name: str) -> None:
    """In the database itself, as another replica does: the process has to notice."""
    settings = settings_in(process.folder / "data", {"LLM_AUTH": "required"})
    async with bootstrap.client_keys(settings) as keys:
        _, tenant, _, key_id = name.split("/")
        await keys.revoke(tenant, key_id)


async def until_refused(stub, key: str) -> None:
    assert PATIENCE_SECONDS < KEPT_SECONDS
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await outcome(stub.Complete(asking("echo-1"), metadata=bearer(key)))
            if found.code is grpc.StatusCode.UNAUTHENTICATED:
                return
            assert found.code is grpc.StatusCode.OK, found


@pytest.fixture
def folder(embedded_folder, tmp_path):
    """A data folder of this test's own, with no key in it."""
    return shutil.copytree(embedded_folder, tmp_path / "data")


def run(folder, *words: str, **environment: str):
    ours = {"LLM_DATA_DIR": str(folder), "LLM_AUTH": "required", **environment}
    return CliRunner().invoke(app, words, env=ours)


def test_keys_are_made_listed_and_revoked_before_there_is_a_service(folder):
    made = run(folder, "client-keys", "create", "--role", "admin", "--name", "ci")
    listed = run(folder, "client-keys", "list")
    name = made.stderr.strip()
    revoked = run(folder, "client-keys", "revoke", name)
    after = run(folder, "client-keys", "list", "--tenant", "-")
    unknown = run(folder, "client-keys", "revoke", "clientKeys/aaaaaaaaaaaaaaaa")

    assert made.stdout.startswith("llm_")
    assert listed.stdout == f"{name}\tactive\tadmin\tci\n"
    assert revoked.stdout == f"revoked {name}\n"
    assert after.stdout == f"{name}\trevoked\tadmin\tci\n"
    assert (unknown.exit_code, unknown.stderr) == (1, "llm-service: no such client key\n")


def test_a_key_that_ends_and_does_more_than_one_thing_is_made(folder):
    made = run(
        folder,
        *("client-keys", "create", "--tenant", "acme", "--expires-days", "7"),
        *("--role", "invoke", "--role", "usage-read", "--role", "invoke"),
    )
    listed = run(folder, "client-keys", "list", "--tenant", "acme")

    assert made.exit_code == 0, made.stderr
    assert listed.stdout.split("\t")[1:3] == ["active", "invoke,usage-read"]


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(folder):
    called = run(folder, "call", "hello", LLM_API_KEY="kéy-canary")

    assert called.exit_code == 2
    assert "canary" not in called.output


async def test_a_service_that_is_open_says_so(folder):
    async with bootstrap.application(settings_in(folder, {})) as (_, notes):
        [note] = [note for note in notes if note.startswith("open")]

    assert "LLM_AUTH=required" in note
    assert CALLER.get().principal.name == "llm-service"


TLS = ("LLM_TLS_CERT_FILE", "LLM_TLS_KEY_FILE", "LLM_TLS_CLIENT_CA_FILE")
ISSUER = {"LLM_JWT_ISSUER": "https://issuer.example", "LLM_JWT_AUDIENCE": "llm"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LLM_JWT_KEYS": "https://10.0.0.1/keys", **ISSUER}, "LLM_JWT_KEYS"),
        ({"LLM_AUTH_IDENTITIES_FILE": "missing"}, "No such file"),
        ({"LLM_AUTH_IDENTITIES_FILE": "wrong"}, "line 1"),
        ({"LLM_AUTH_IDENTITIES_FILE": "binary"}, "is not text"),
        (
            {"LLM_LISTEN": "0.0.0.0:0", "LLM_ALLOW_INSECURE_REMOTE": "yes-i-know"},
            "nobody could call",  # no key ring, no tokens, no certificates
        ),
    ],
)
async def test_what_cannot_say_who_calls_keeps_the_service_from_starting(
    folder, tmp_path, environment, said
):
    (tmp_path / "wrong").write_text("everybody may everything")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    given = {"LLM_AUTH": "required", **environment}
    if "LLM_AUTH_IDENTITIES_FILE" in given:
        given |= dict.fromkeys(TLS, "unread")
        given["LLM_AUTH_IDENTITIES_FILE"] = str(tmp_path / given["LLM_AUTH_IDENTITIES_FILE"])

    with pytest.raises(bootstrap.CannotStart, match=said):
        async with bootstrap.application(settings_in(folder, given)):
            pass


async def test_a_token_of_a_configured_issuer_is_let_in(folder, tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps({"keys": KEYS}))
    settings = settings_in(
        folder,
        {
            "LLM_AUTH": "required",
            "LLM_JWT_ISSUER": SIGNER,
            "LLM_JWT_AUDIENCE": AUDIENCE,
            "LLM_JWT_KEYS": str(tmp_path / "keys.json"),
        },
    )
    async with bootstrap.application(settings) as (service, _):
        port = service.listen("127.0.0.1:0")
        await service.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = completion_grpc.CompletionServiceStub(channel)
            good = await outcome(stub.Complete(asking("echo-1"), metadata=bearer(token())))
            bad = await outcome(
                stub.Complete(asking("echo-1"), metadata=bearer(token(aud="another")))
            )
        await service.drain(grace=0)

    assert good.code is grpc.StatusCode.OK
    assert bad.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_first_key_is_made_only_where_nobody_could_call_without_it(folder, tmp_path):
    rules = tmp_path / "identities"
    rules.write_text("spiffe://corp.example/ops * admin")
    mapped = {"LLM_AUTH_IDENTITIES_FILE": str(rules), **dict.fromkeys(TLS, "unread")}
    by_certificate = settings_in(folder, {"LLM_AUTH": "required", **mapped})
    by_key = settings_in(folder, {"LLM_AUTH": "required"})

    async with bootstrap.application(by_certificate):
        notes = [
            await first_key(settings)
            for settings in (settings_in(folder, {}), by_certificate, by_key, by_key)
        ]

    assert [len(note) for note in notes] == [0, 0, 1, 0]
