"""D1: calls go on while the database is away, slow or read-only, also after a restart."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import make_url

from llm_service import bootstrap
from llm_service.bootstrap.access import first_key
from llm_service.domain.access import Role
from llm_service.gateway.access.client_keys import ClientKeyDraft
from llm_service.gateway.snapshots import Snapshot
from llm_service.rpc.stubs import common_pb2, provider_pb2
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.storage import engines
from llm_service.vault import Scheme, generate_key
from tests.e2e.service import asking, running, settings_in
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)
from tests.integration.slow_road import road

KEY = generate_key(Scheme.FERNET_V1)
SECONDS = 20
CALLS = 20


@pytest.fixture
async def way(postgresql_url, monkeypatch):  # noqa: F811
    """A road to a database of this test's own, and its URL, with less patience than usual."""
    monkeypatch.setattr(engines, "ANSWER_SECONDS", 1.0)
    url = make_url(postgresql_url)
    async with road(Path(url.query["host"]) / ".s.PGSQL.5432") as one:
        one.url = f"postgresql://postgres@127.0.0.1:{one.port}/{url.database}"
        one.database = url.database
        yield one


def environment(way, **more: str) -> dict[str, str]:
    return {"LLM_DATABASE_URL": way.url, "LLM_ENCRYPTION_KEY": KEY, **more}


async def read_only(way, postgres):  # noqa: F811
    postgres.execute(f"ALTER DATABASE {way.database} SET default_transaction_read_only = on")
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", way.database
    )


async def writable(way, postgres):  # noqa: F811
    postgres.execute(f"ALTER DATABASE {way.database} RESET default_transaction_read_only")
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", way.database
    )


@pytest.mark.parametrize("kind", ["refused", "swallowed", "slow", "read-only"])
async def test_d1_calls_go_on_through_an_outage_and_writes_fail_fast(
    kind,
    way,
    postgres,  # noqa: F811
    tmp_path,
):
    begin = {
        "refused": way.refuse,
        "swallowed": lambda: soon(way.swallow),
        "slow": lambda: soon(way.dawdle, 20.0),
        "read-only": lambda: read_only(way, postgres),
    }
    async with running(tmp_path, **environment(way)) as service:
        await service.add_provider("main", "", kind="echo", key="")
        await service.completions.Complete(asking("echo-1"), timeout=SECONDS)

        await begin[kind]()
        writing = asyncio.create_task(refused_write(service))
        for _ in range(CALLS):
            await service.completions.Complete(asking("echo-1"), timeout=SECONDS)
        code, text = await writing
        assert (code, "STORAGE_UNAVAILABLE" in text) == (StatusCode.UNAVAILABLE, True)
        assert await health(service) == health_pb2.HealthCheckResponse.SERVING

        await way.recover()
        await writable(way, postgres)
        await eventually(disable, service)
        with pytest.raises(grpc.aio.AioRpcError, match="disabled"):
            await service.completions.Complete(asking("echo-1"), timeout=SECONDS)


async def test_d1_a_replica_restarted_during_an_outage_serves_from_its_snapshot(way, tmp_path):
    async with running(tmp_path, **environment(way)) as service:
        await service.add_provider("main", "", kind="echo", key="")
        await service.completions.Complete(asking("echo-1"), timeout=SECONDS)
    await way.refuse()

    async with running(tmp_path, **environment(way)) as service:
        await service.completions.Complete(asking("echo-1"), timeout=SECONDS)
        with pytest.raises(grpc.aio.AioRpcError, match="does not answer") as unknown:
            await service.completions.Complete(
                asking("echo-1", attribution=common_pb2.Attribution(tenant="tenants/stranger")),
                timeout=SECONDS,
            )
        assert unknown.value.code() == StatusCode.UNAVAILABLE

        await way.recover()
        await eventually(disable, service)
        with pytest.raises(grpc.aio.AioRpcError, match="disabled"):
            await service.completions.Complete(asking("echo-1"), timeout=SECONDS)


async def test_d1_keys_that_were_known_open_after_a_restart_and_new_ones_wait(way, tmp_path):
    guarded = environment(way, LLM_AUTH="required")
    settings = settings_in(tmp_path, guarded)
    async with running(tmp_path, **environment(way)) as service:
        await service.add_provider("main", "", kind="echo", key="")
        await service.completions.Complete(asking("echo-1"), timeout=SECONDS)
    async with bootstrap.client_keys(settings) as keys:
        known = await keys.create_first()
    async with running(tmp_path, **guarded) as service:
        await completed(service, known)
    async with bootstrap.client_keys(settings) as keys:
        _, text = await keys.create("", ClientKeyDraft("late", frozenset(Role)))
    await way.refuse()

    async with running(tmp_path, **guarded) as service:
        assert await first_key(settings) == []
        await completed(service, known)
        for credential, code, reason in (
            (text, StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
            (text[:-1], StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await completed(service, credential)
            details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
            assert (refused.value.code(), reason.encode() in details) == (code, True)

        await way.recover()
        await eventually(completed, service, text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({}, "is older", id="too-old"),
        pytest.param(
            {"LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1)}, "key", id="another-key"
        ),
        pytest.param({"LLM_SNAPSHOT_FILE": "{folder}/none"}, "there is no", id="no-snapshot"),
        pytest.param(
            {"LLM_DATABASE_URL": "postgresql://postgres@127.0.0.1:1/other"}, "another", id="another"
        ),
    ],
)
async def test_d2_an_unusable_snapshot_starts_nothing(change, words, way, tmp_path, monkeypatch):
    async with running(tmp_path, **environment(way)) as service:
        await service.add_provider("main", "", kind="echo", key="")
    await way.refuse()
    if not change:
        monkeypatch.setattr(Snapshot, "age", lambda *_: 901.0)
    changed = {name: value.format(folder=tmp_path) for name, value in change.items()}

    with pytest.raises(bootstrap.CannotStart, match=words):
        async with bootstrap.application(settings_in(tmp_path, {**environment(way), **changed})):
            pass


async def completed(service, credential: str) -> None:
    by = (("authorization", f"Bearer {credential}"),)
    await service.completions.Complete(asking("echo-1"), metadata=by, timeout=SECONDS)


async def soon(act, *arguments) -> None:
    act(*arguments)


async def refused_write(service) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await service.add_provider("new", "", kind="echo", key="")
    details = dict(failure.value.trailing_metadata())["grpc-status-details-bin"]
    return failure.value.code(), details.decode(errors="replace")


async def health(service) -> int:
    stub = health_pb2_grpc.HealthStub(service.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)).status


async def eventually(act, *arguments) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await act(*arguments)
            except grpc.aio.AioRpcError as error:
                if error.code() != StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


async def disable(service) -> None:
    await service.admin.UpdateProvider(
        admin_pb.UpdateProviderRequest(
            provider=provider_pb2.Provider(name="providers/main", disabled=True),
            update_mask=FieldMask(paths=["disabled"]),
        )
    )
