"""E4: no credential is sent to an address it was not entered for."""

import asyncio
import json
import sqlite3
from contextlib import closing, suppress

import grpc
import pytest

from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from tests.contract.vendor_server import Asked, Reply, vendor_server
from tests.e2e.service import KEY, asking, running
from tests.rpc.administered import refusal

STATE = provider_pb2.Credential.State
ENVIRONMENT_KEY = "sk-environment-0123456789abcdef"
FILE_KEY = "sk-mounted-0123456789abcdef"
VAULT_KEY = "sk-vault-0123456789abcdef"


def answer(asked: Asked) -> Reply:
    body = {"object": "list", "data": [{"id": "m", "object": "model"}]}
    if asked.method == "POST":
        body = {
            "id": "c",
            "model": "m",
            "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
    return Reply(pieces=[json.dumps(body).encode()])


@pytest.fixture
async def listener():
    """What an attacker listens with; answers as a vendor would."""
    async with vendor_server() as vendor:
        vendor.replies = [answer] * 100
        yield vendor


@pytest.fixture(scope="module")
async def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origins")
    (folder / "mounted").write_text(FILE_KEY)
    environment = {
        "LLM_CREDENTIAL_ENV_ALLOW": "THE_KEY",
        "THE_KEY": ENVIRONMENT_KEY,
        "LLM_SECRET_FOLDERS": str(folder),
    }
    async with running(folder, **environment) as one:
        one.folder = folder
        yield one


SOURCES = {
    "sealed": lambda folder: provider_pb2.Credential(api_key=KEY),
    "environment": lambda folder: provider_pb2.Credential(environment_variable="THE_KEY"),
    "file": lambda folder: provider_pb2.Credential(
        secret_reference=provider_pb2.SecretReference(store="file", path=f"{folder}/mounted")
    ),
}


async def a_provider(service, name, vendor, source):
    vendor.replies = [answer] * 100
    created = await service.admin.CreateProvider(
        admin_pb.CreateProviderRequest(
            provider_id=name,
            provider=provider_pb2.Provider(kind="openai-compatible", base_uri=vendor.base_uri),
            credential=SOURCES[source](service.folder),
        )
    )
    await service.completions.Complete(asking(f"providers/{name}/models/m"), timeout=20)
    return created.provider


async def everything_that_dials(service, name):
    """Test, Complete, ListModels: whatever comes of each."""
    credential = f"{name}/credentials/default"
    for request in (
        admin_pb.CheckProviderRequest(name=name, model="m"),
        admin_pb.CheckProviderRequest(name=name, credential=credential, model="m"),
    ):
        await service.admin.CheckProvider(request, timeout=20)
    for call in (
        service.completions.Complete(asking(f"{name}/models/m"), timeout=20),
        service.admin.SyncModels(admin_pb.SyncModelsRequest(name=name), timeout=20),
    ):
        with suppress(grpc.aio.AioRpcError):
            await call


def secrets_received(listener) -> list[str]:
    heard = "".join(f"{asked.path} {asked.headers} {asked.body!r}" for asked in listener.asked)
    return [s for s in (KEY, ENVIRONMENT_KEY, FILE_KEY, "authorization") if s in heard]


def keys_of(vendor) -> set[str]:
    return {asked.headers.get("authorization", "") for asked in vendor.asked}


@pytest.mark.parametrize("source", SOURCES)
async def test_e4_who_moves_a_provider_to_a_listener_receives_no_credential(
    service, vendor, listener, source
):
    provider = await a_provider(service, f"moved-{source}", vendor, source)
    assert keys_of(vendor) != {""}

    moved = await service.admin.UpdateProvider(
        admin_pb.UpdateProviderRequest(
            provider=provider_pb2.Provider(name=provider.name, base_uri=listener.base_uri)
        )
    )
    await everything_that_dials(service, provider.name)

    assert moved.provider.state == provider_pb2.Provider.STATE_NEEDS_CREDENTIAL
    assert secrets_received(listener) == []
    assert listener.asked, "without a credential it was called"


async def test_e4_moving_back_makes_the_credential_usable_again(service, vendor, listener):
    provider = await a_provider(service, "back", vendor, "sealed")

    for base_uri in (listener.base_uri, vendor.base_uri):
        await service.admin.UpdateProvider(
            admin_pb.UpdateProviderRequest(
                provider=provider_pb2.Provider(name=provider.name, base_uri=base_uri)
            )
        )
    vendor.asked.clear()
    check = await service.admin.CheckProvider(
        admin_pb.CheckProviderRequest(name=provider.name, model="m"), timeout=20
    )

    assert not check.HasField("error")
    assert keys_of(vendor) == {f"Bearer {KEY}"}


def forge(folder, name, base_uri, origin):
    """Write to the database beside the service; `origin` None: only the address."""
    with closing(sqlite3.connect(folder / "llm-service.db", timeout=20)) as database, database:
        database.execute("BEGIN IMMEDIATE")  # one that reads first is not let wait for the service
        database.execute(
            "UPDATE providers SET base_uri = ?, version = version + 1 WHERE provider_id = ?",
            (base_uri, name),
        )
        if origin is not None:
            database.execute(
                "UPDATE credentials SET origin = ? WHERE provider_uid = "
                "(SELECT uid FROM providers WHERE provider_id = ?)",
                (origin, name),
            )


@pytest.mark.parametrize("forged", ["address", "address and origin", "address and no origin"])
async def test_e4_who_writes_to_the_database_sends_no_sealed_secret_elsewhere(
    service, vendor, listener, forged
):
    name = forged.replace(" ", "-")
    provider = await a_provider(service, name, vendor, "sealed")
    origin = f"http://127.0.0.1:{listener.port}" if forged == "address and origin" else ""
    changed = None if forged == "address" else origin
    # In a thread: while it waits for the service's own writer, that one must go on.
    await asyncio.to_thread(forge, service.folder, name, listener.base_uri, changed)
    # Any change of the owner's makes the snapshot be read again.
    await service.add_provider(f"{name}-other", vendor.base_uri)

    await everything_that_dials(service, provider.name)

    assert secrets_received(listener) == []


async def test_a_secret_that_is_not_mounted_is_a_missing_credential(service, vendor):
    await service.admin.CreateProvider(
        admin_pb.CreateProviderRequest(
            provider_id="unmounted",
            provider=provider_pb2.Provider(kind="openai-compatible", base_uri=vendor.base_uri),
            credential=provider_pb2.Credential(
                secret_reference=provider_pb2.SecretReference(
                    store="file", path=f"{service.folder}/not-there"
                )
            ),
        )
    )

    refused = await refusal(
        service.completions.Complete(asking("providers/unmounted/models/m"), timeout=20)
    )

    assert refused.reason == "PROVIDER_CREDENTIAL_MISSING"
    assert not vendor.asked


async def test_a_secret_in_vault_is_used_and_no_provider_can_dial_vault(tmp_path, vendor):
    token = tmp_path / "token"
    token.write_text("hvs.good")

    def kept(asked: Asked) -> Reply:
        known = (asked.path, asked.headers.get("x-vault-token"))
        if known != ("/v1/secret/data/llm/openai", "hvs.good"):
            return Reply(403, {}, [b"{}"])
        return Reply(pieces=[json.dumps({"data": {"data": {"key": VAULT_KEY}}}).encode()])

    async with vendor_server() as vault:
        vault.replies = [kept] * 10
        environment = {
            "LLM_VAULT_ADDR": f"http://127.0.0.1:{vault.port}",
            "LLM_VAULT_PATHS": "secret/llm",
            "LLM_VAULT_TOKEN_FILE": str(token),
            "LLM_EGRESS_ALLOW": f"127.0.0.1:{vendor.port}",
        }
        async with running(tmp_path, **environment) as service:
            vendor.replies = [answer] * 10
            place = provider_pb2.SecretReference(store="vault", path="secret/llm/openai", key="key")
            await service.admin.CreateProvider(
                admin_pb.CreateProviderRequest(
                    provider_id="vaulted",
                    provider=provider_pb2.Provider(
                        kind="openai-compatible", base_uri=vendor.base_uri
                    ),
                    credential=provider_pb2.Credential(secret_reference=place),
                )
            )
            for _ in range(3):
                await service.completions.Complete(asking("providers/vaulted/models/m"), timeout=20)
            refused = await refusal(service.add_provider("thief", f"http://127.0.0.1:{vault.port}"))

        assert keys_of(vendor) == {f"Bearer {VAULT_KEY}"}
        assert len(vault.asked) == 1, "it is remembered for a minute"
        assert refused.fields == ("provider.base_uri",)
