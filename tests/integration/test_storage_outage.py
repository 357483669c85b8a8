"""What callers see of a database that is down, slow or ill."""

import asyncio
import gc
import logging
import sqlite3

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from llm_service.errors import StorageUnavailable
from llm_service.storage import engines
from llm_service.storage.database import PING_SECONDS, Database
from tests.integration.postgres_server import PATIENCE_MS
from tests.integration.samples import a_credential, a_provider

SECRET = "sealed-canary-9f3a"
PASSWORD = "password-canary-77"


@pytest.fixture
async def stopped(postgres):
    """A server that is down during the test."""
    postgres.stop()
    yield postgres
    postgres.start()


async def test_a_database_that_is_down_is_known_and_why(stopped):
    async with Database.open(stopped.url("migrated")) as database:
        with pytest.raises(StorageUnavailable) as failure:
            await database.ping()

    assert failure.value.__cause__ is not None


async def test_a_server_that_takes_calls_and_never_answers_is_known_in_time(monkeypatch):
    assert PING_SECONDS == 2.0
    monkeypatch.setattr("llm_service.storage.database.PING_SECONDS", 0.2)
    hung_up = asyncio.Event()

    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    url = f"postgresql+psycopg://u@127.0.0.1:{port}/d?connect_timeout=60&sslmode=disable"

    async with Database.open(url) as database:
        with pytest.raises(StorageUnavailable):
            await database.ping()

    while not hung_up.is_set():  # psycopg leaves a half-made connection to the collector
        gc.collect()
        await asyncio.sleep(0)
    silent.close()
    await silent.wait_closed()


async def test_every_method_says_that_the_database_is_down(stopped):
    async with Database.open(stopped.url("migrated")) as database:
        with pytest.raises(StorageUnavailable):
            async with database.begin():
                pass
        with pytest.raises(StorageUnavailable):
            async with database.read():
                pass
        with pytest.raises(StorageUnavailable):
            await database.check_schema()
        with pytest.raises(StorageUnavailable):
            await database.deployment_id()


async def test_a_server_that_came_back_is_used_again_without_a_failed_call(
    postgres, postgresql_url
):
    async with Database.open(postgresql_url) as database:
        await database.ping()

        postgres.stop()
        postgres.start()

        await database.ping()
        async with database.begin() as tx:
            await tx.providers.add(a_provider())


async def test_a_server_that_goes_away_inside_a_block_is_unavailable(postgres, postgresql_url):
    async with Database.open(postgresql_url) as database:

        async def interrupted() -> None:
            async with database.begin() as tx:
                await tx.providers.add(a_provider())
                postgres.stop()
                postgres.start()
                await tx.config.bump("acme")

        with pytest.raises(StorageUnavailable):
            await interrupted()

        async with database.read() as tx:
            assert await tx.providers.of_tenant("acme") == ()


async def test_a_row_locked_for_too_long_is_unavailable(postgresql_url):
    impatient = make_url(postgresql_url).difference_update_query(["options"])
    async with Database.open(str(impatient)) as database, database.begin() as holding:
        await holding.config.bump("acme")

        with pytest.raises(StorageUnavailable):
            async with database.begin() as tx:
                await tx.config.bump("rival")


async def test_the_urls_own_options_stand_beside_our_limits(postgresql_url):
    """Its `options` say nothing of a process that stands still, which must not hold up others."""
    assert "options=-c" in postgresql_url.replace("%3D", "=")
    async with Database.open(postgresql_url) as database, database.read() as tx:
        found = await tx.config._connection.execute(
            text(
                "SELECT current_setting('statement_timeout'),"
                " current_setting('idle_in_transaction_session_timeout')"
            )
        )
        assert found.one() == (f"{PATIENCE_MS // 1000}s", "5s")


async def test_who_stands_still_in_a_block_loses_its_locks_and_knows_it(postgresql_url):
    hasty = f"{postgresql_url}%20-c%20idle_in_transaction_session_timeout%3D100"
    async with Database.open(postgresql_url) as database, Database.open(hasty) as frozen:
        held_it = []

        async def overtaken() -> None:
            async with frozen.begin() as held:
                await held.config.bump("acme")
                held_it.append(True)
                async with database.begin() as tx:
                    await tx.config.bump("rival")  # waits until the other's locks are gone
                await held.config.bump("acme")

        with pytest.raises(StorageUnavailable):
            await overtaken()

        assert held_it


async def test_a_pool_in_use_is_unavailable(database, monkeypatch):
    monkeypatch.setattr(database._reader.pool, "_timeout", 0.05)
    taken = [asyncio.Event() for _ in range(engines.POOL_SIZE)]
    release = asyncio.Event()

    async def hold(number: int) -> None:
        async with database.read() as tx:
            await tx.config.since(0)
            taken[number].set()
            await release.wait()

    size = engines.POOL_SIZE if database.dialect == "postgresql" else engines.SQLITE_READERS
    holders = [asyncio.create_task(hold(number)) for number in range(size)]
    for event in taken[:size]:
        await event.wait()

    with pytest.raises(StorageUnavailable, match="busy"):
        async with database.read():
            pass
    with pytest.raises(StorageUnavailable, match="busy"):
        await database.pulse()

    release.set()
    await asyncio.gather(*holders)


async def test_writers_at_once_all_get_their_turn(database):
    async def add(number: int) -> None:
        async with database.begin() as tx:
            await tx.providers.add(a_provider(f"p{number}"))

    await asyncio.gather(*map(add, range(8)))

    async with database.read() as tx:
        assert len(await tx.providers.of_tenant("acme")) == 8


async def test_a_sqlite_file_another_process_holds_is_unavailable(tmp_path, migrated_sqlite):
    path = tmp_path / "held.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    async with Database.open(f"sqlite+aiosqlite:///{path}?timeout=0.05") as database:
        with pytest.raises(StorageUnavailable):
            async with database.begin():
                pass

    holder.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    path = tmp_path / "not.db"
    path.write_bytes(b"not a database" * 100)

    async with Database.open(f"sqlite+aiosqlite:///{path}") as database:
        with pytest.raises(StorageUnavailable):
            await database.check_schema()


async def test_a_statement_of_ours_that_is_wrong_is_not_called_an_outage(tmp_path):
    async with Database.open(f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}") as database:
        with pytest.raises(OperationalError):
            async with database.read() as tx:
                await tx.providers.of_tenant("acme")


async def test_sqlite_is_durable_and_checks_its_references(any_database):
    async with any_database.begin() as tx:
        values = {
            name: (await tx.providers._connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "query_only")
        }

    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "query_only": 0}


async def test_a_password_is_in_no_repr_error_or_log(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    url = f"postgresql+psycopg://user:{PASSWORD}@/d?host={tmp_path}"

    async with Database.open(url) as database:
        with pytest.raises(StorageUnavailable) as failure:
            await database.ping()
        shown = [repr(database), repr(database._writer), repr(failure.value)]
    shown += [str(failure.value.__cause__), caplog.text]

    assert PASSWORD not in "".join(shown)


async def test_a_sealed_secret_is_in_no_log_or_error(database, caplog):
    caplog.set_level(logging.DEBUG)
    provider = a_provider()

    async with database.begin() as tx:
        await tx.providers.add(provider)
        await tx.credentials.add(a_credential(provider, sealed=SECRET))
        await tx.credentials.of_tenant("acme")
        failing = tx.credentials._connection.execute(
            text("INSERT INTO credentials (sealed, nothing) VALUES (:sealed, 1)"),
            {"sealed": SECRET},
        )
        with pytest.raises(Exception, match="nothing") as failure:
            await failing

    assert SECRET not in str(failure.value) + caplog.text
