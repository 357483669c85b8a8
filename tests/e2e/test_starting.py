"""What a service needs to start, and what it says when it does not have it."""

import asyncio
import sqlite3

import grpc
import pytest

from llm_service import bootstrap
from llm_service.rpc.stubs.provider_admin_service_pb2 import (
    DeleteProviderRequest,
    ListProvidersRequest,
)
from llm_service.settings import SettingsError
from llm_service.storage import migrations
from tests.e2e.service import asking, running, settings_in
from tests.e2e.test_failures import details
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)

POSTGRES = "postgresql://nobody@127.0.0.1:1/none"


async def started(folder, **environment) -> list[str]:
    async with bootstrap.application(settings_in(folder, environment)) as (_, notes):
        return notes


async def test_the_first_start_prepares_a_database_and_a_key_and_says_so(tmp_path):
    first = await started(tmp_path)
    second = await started(tmp_path)

    assert any("database" in note for note in first)
    assert any("encryption key" in note for note in first)
    assert second == []
    assert (tmp_path / "vault.key").stat().st_mode & 0o777 == 0o600


async def test_d6_a_second_service_on_one_sqlite_file_is_refused_and_commands_are_not(tmp_path):
    async with running(tmp_path):
        with pytest.raises(bootstrap.CannotStart, match="another process serves from"):
            async with bootstrap.application(settings_in(tmp_path, {})):
                pass
        assert await bootstrap.seed(settings_in(tmp_path, {}))
        assert await asyncio.to_thread(bootstrap.migrate, settings_in(tmp_path, {}))

    async with running(tmp_path):
        pass


async def test_a_new_embedded_service_has_the_echo_provider_and_one_for_each_key(tmp_path):
    async with running(tmp_path, OPENAI_API_KEY="sk-from-the-environment") as service:
        answer = await service.admin.ListProviders(ListProvidersRequest())

    assert sorted(p.name for p in answer.providers) == ["providers/echo", "providers/openai"]


async def test_seeding_twice_is_as_seeding_once(data_folder):
    allowed = {"LLM_EGRESS_ALLOW": "127.0.0.1:11434"}
    first = await bootstrap.seed(settings_in(data_folder, allowed))
    second = await bootstrap.seed(settings_in(data_folder, allowed))

    assert "providers/echo is there already" in first
    assert len([line for line in first if line.startswith("created providers/")]) == 7 + 11
    assert len([line for line in first if line.startswith("created modelConfigs/")]) == 1 + 5
    assert {line.endswith("is there already") for line in second} == {True}
    assert len(second) == len(first)


async def test_an_embedded_database_of_the_release_before_is_upgraded_and_keeps_what_it_has(
    tmp_path,
):
    async with running(tmp_path) as service:
        answer = await service.completions.Complete(asking("echo-1"))
        await service.add_provider("mine", "https://mine.example")
        await service.admin.DeleteProvider(DeleteProviderRequest(name="providers/echo"))
    migrations.downgrade(settings_in(tmp_path, {}).database_url, "0001")

    notes = await started(tmp_path, OPENAI_API_KEY="sk-from-the-environment")

    assert [note.split(" in ")[0] for note in notes] == ["upgraded the embedded database"]
    async with running(tmp_path) as service:
        answered = await service.admin.ListProviders(ListProvidersRequest())
        (record,) = await service.records(answer.completion.id)
    assert [p.name for p in answered.providers] == ["providers/mine"]
    assert record.operation == "chat"


async def test_a_database_of_a_newer_release_is_refused(data_folder):
    with sqlite3.connect(data_folder / "llm-service.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()

    with pytest.raises(bootstrap.CannotStart, match="9999"):
        await started(data_folder)


async def test_a_database_that_does_not_answer_is_refused(tmp_path):
    with pytest.raises(bootstrap.CannotStart, match="does not answer"):
        await started(tmp_path, LLM_DATABASE_URL=POSTGRES)


async def test_a_broken_key_file_is_refused_without_a_word_of_it(data_folder):
    (data_folder / "vault.key").write_text("k1 fernet-v1 not-a-key-at-all primary\n")

    with pytest.raises(bootstrap.CannotStart) as failure:
        await started(data_folder)

    assert "not-a-key-at-all" not in str(failure.value)


@pytest.mark.timeout(180)  # it may be the first to need a PostgreSQL server
async def test_without_a_key_ring_secrets_are_neither_taken_nor_written(tmp_path, postgresql_url):  # noqa: F811
    async with running(tmp_path, LLM_DATABASE_URL=postgresql_url) as service:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.add_provider("secretive", "https://vendor.example/v1")
        listed = await service.admin.ListProviders(ListProvidersRequest())

    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(failure.value)["ErrorInfo"].reason == "ENCRYPTION_KEY_MISSING"
    assert not listed.providers


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:50051", "10.1.2.3:50051"])
def test_other_machines_are_not_served_without_tls_and_authentication(tmp_path, listen):
    with pytest.raises(SettingsError, match="LLM_LISTEN"):
        settings_in(tmp_path, {"LLM_LISTEN": listen})
