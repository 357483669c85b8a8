"""Replicas that lack a key, or have another under its name, and what they can still do."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs import provider_pb2
from llm_service.storage.database import Database
from llm_service.vault import (
    Keyring,
    Scheme,
    Vault,
    add_key,
    generate_key,
    promote_key,
    remove_key,
)
from tests.e2e.rotations import Answers
from tests.e2e.service import asking, running
from tests.rpc.administered import refusal

ADMIN = "llmservice.v1.ProviderAdminService"
SECRET = "sk-canary-0123456789abcdef"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SECONDS = 20


def a_line(key_id: str) -> str:
    return f"{key_id} fernet-v1 {generate_key(Scheme.FERNET_V1)}"


@asynccontextmanager
async def replica(folder, url: str, ring: str):
    """A replica whose key file holds this; "": it has none."""
    environment = {"LLM_DATABASE_URL": url, "LLM_CONFIG_POLL_SECONDS": "0.05"}
    if ring:
        path = folder / f"ring-{len(list(folder.iterdir()))}"
        path.write_text(ring)
        environment["LLM_KEYRING_FILE"] = str(path)
    async with running(folder, **environment) as service:
        service.ring = path if ring else None
        yield service


async def health(service, name: str = ADMIN) -> int:
    stub = health_pb2_grpc.HealthStub(service.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


async def becomes(service, status: int) -> None:
    stub = health_pb2_grpc.HealthStub(service.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=ADMIN), timeout=SECONDS)
    async for answer in watch:
        if answer.status == status:
            watch.cancel()
            return


async def keyring(service) -> pb.GetKeyringStatusResponse:
    return await service.admin.GetKeyringStatus(pb.GetKeyringStatusRequest())


async def until(service, true) -> None:
    """Return once what the service says of its keys is as wanted."""
    async with asyncio.timeout(SECONDS):
        while True:
            if true(await keyring(service)):
                return
            await asyncio.sleep(0.02)


async def readable(url: str, ring: str) -> list[str]:
    """Every stored secret's key id; it is an error that one cannot be opened with the ring."""
    from llm_service.gateway.manager import binding

    async with Database.open(url) as database:
        vault = Vault(Keyring.from_text(ring), await database.deployment_id())
        async with database.read() as tx:
            providers = {one.uid: one for one in await tx.providers.of_tenant("")}
            found = await tx.credentials.of_tenant("")
    for one in found:
        vault.open(one.sealed, binding(providers[one.provider_uid], one))
    return [Vault.describe(one.sealed)[1] for one in found]


def creating(service, provider_id: str):
    return service.add_provider(provider_id, "https://api.example.com/v1", key=SECRET)


@pytest.mark.parametrize("wrong", ["", a_line("k1")], ids=["no-key", "wrong-key"])
async def test_s4_a_replica_without_the_right_key_says_so_and_writes_no_secret(
    tmp_path,
    postgresql_url,
    wrong,
):
    ring = a_line("k1")
    async with replica(tmp_path, postgresql_url, ring) as right:
        await creating(right, "one")
        async with replica(tmp_path, postgresql_url, wrong) as other:
            await becomes(other, NOT_SERVING)
            refused = await refusal(creating(other, "two"))
            alive = await health(other, "")
            others = await health(right)

    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.reason == "ENCRYPTION_KEY_MISSING"
    assert (alive, others) == (SERVING, SERVING)
    assert await readable(postgresql_url, ring) == ["k1"]


async def test_s4_a_replica_with_only_the_old_key_reads_and_keeps_the_new_one_waiting(
    tmp_path,
    postgresql_url,
    vendor,
):
    vendor.replies = Answers()
    ring = a_line("k1")
    async with (
        replica(tmp_path, postgresql_url, ring) as ahead,
        replica(tmp_path, postgresql_url, ring) as behind,
    ):
        await ahead.add_provider("live", vendor.base_uri, key=SECRET)
        add_key(ahead.ring, new := a_line("k2"))
        promote_key(ahead.ring, "k2")  # by hand, past the command that would refuse
        await until(ahead, lambda now: any(key.id == "k2" and key.primary for key in now.keys))

        early = await refusal(ahead.admin.RewrapSecrets(pb.RewrapSecretsRequest()))
        answer = await behind.completions.Complete(asking("providers/live/models/m", "x"))
        add_key(behind.ring, new)
        await until(ahead, lambda now: all("k2" in one.key_ids for one in now.replicas))
        done = await ahead.admin.RewrapSecrets(pb.RewrapSecretsRequest())

    assert early.reason == "RESOURCE_IN_USE"
    assert answer.completion.message.parts[0].text == "x"
    assert (done.rewrapped_count, done.remaining_count) == (1, 0)
    assert await readable(postgresql_url, new) == ["k2"]


async def test_a_running_replica_takes_over_its_file_and_keeps_the_last_good_one(
    tmp_path,
    postgresql_url,
):
    async with replica(tmp_path, postgresql_url, a_line("k1")) as service:
        good = service.ring.read_text()
        service.ring.write_text("canary nonsense")
        await until(service, lambda now: any("line 1" in one.problem for one in now.replicas))
        status = await keyring(service)
        await creating(service, "one")
        service.ring.write_text(good)
        await until(service, lambda now: not any(one.problem for one in now.replicas))

        service.ring.write_text(a_line("k1"))
        await becomes(service, NOT_SERVING)
        refused = await refusal(creating(service, "two"))
        service.ring.write_text(good)
        await becomes(service, SERVING)
        await creating(service, "three")

    assert "canary" not in str(status)
    assert refused.reason == "ENCRYPTION_KEY_MISSING"
    assert await readable(postgresql_url, good) == ["k1", "k1"]


async def test_a_key_that_left_the_file_still_opens_for_calls_that_began_before(
    tmp_path,
    postgresql_url,
):
    async with replica(tmp_path, postgresql_url, a_line("k1")) as service:
        await creating(service, "one")
        add_key(service.ring, a_line("k2"))
        promote_key(service.ring, "k2")
        remove_key(service.ring, "k1")
        await until(service, lambda now: [list(one.key_ids) for one in now.replicas] == [["k2"]])

        done = await service.admin.RewrapSecrets(pb.RewrapSecretsRequest())
        name = "providers/one/credentials/default"
        credential = provider_pb2.Credential(api_key=SECRET)
        request = pb.RotateCredentialRequest(name=name, credential=credential)
        await service.admin.RotateCredential(request)

    assert (done.rewrapped_count, done.unreadable_count) == (1, 0)
    assert await readable(postgresql_url, service.ring.read_text()) == ["k2"]
