import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, make_url, text

from llm_service.domain.usage import Operation
from llm_service.errors import StorageUnavailable
from llm_service.storage import migrations, tables
from llm_service.storage.database import Database
from llm_service.storage.migrations import SchemaError, SchemaNewer, SchemaOutdated
from tests.integration.samples import a_full_model, a_full_record, a_provider

ROOT = Path(__file__).parents[2]


def execute(url: str, *statements: str) -> None:
    engine = create_engine(make_url(url).set(drivername=SYNC[make_url(url).get_backend_name()]))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def table_names(url: str) -> set[str]:
    engine = create_engine(make_url(url).set(drivername=SYNC[make_url(url).get_backend_name()]))
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return {name for name in names if not name.startswith("usage_records_")}


SYNC = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
OURS = set(tables.METADATA.tables)


def test_migrations_make_what_the_tables_say_up_and_down_and_up_again(empty_url):
    migrations.upgrade(empty_url)
    migrations.check(empty_url)
    migrations.downgrade(empty_url, "base")
    gone = table_names(empty_url)
    migrations.upgrade(empty_url)
    migrations.check(empty_url)

    assert gone == {"alembic_version"}
    assert table_names(empty_url) == OURS | {"alembic_version"}


async def test_a_record_older_than_its_columns_is_still_read(empty_url):
    full = a_full_record()
    migrations.upgrade(empty_url)
    async with Database.open(empty_url) as database, database.begin() as tx:
        await tx.usage.add_many([full])
    migrations.downgrade(empty_url, "0001")
    migrations.upgrade(empty_url)

    async with Database.open(empty_url) as database, database.read() as tx:
        (record,) = await tx.usage.since("", None, 2)

    assert full.attempt.usage.cache_write_1h_input_tokens == 2
    assert full.attempt.usage.provider_tool_uses
    assert record.attempt.usage == replace(
        full.attempt.usage,
        cache_write_1h_input_tokens=0,
        provider_tool_uses=(),
        reported_nano_usd=None,
    )
    assert record.operation is Operation.CHAT


async def test_a_model_older_than_its_dated_prices_is_still_read(empty_url):
    provider = a_provider()
    full = a_full_model(provider)
    migrations.upgrade(empty_url)
    async with Database.open(empty_url) as database, database.begin() as tx:
        await tx.providers.add(provider)
        await tx.models.add(provider.uid, full)
    migrations.downgrade(empty_url, "0002")
    migrations.upgrade(empty_url)

    async with Database.open(empty_url) as database, database.read() as tx:
        model = await tx.models.get(provider.uid, full.model_id)

    assert full.dated_prices
    assert model == replace(full, dated_prices=())


def test_upgrading_again_changes_nothing(empty_url):
    migrations.upgrade(empty_url)

    migrations.upgrade(empty_url)

    migrations.check(empty_url)


def test_a_table_that_differs_from_the_migrations_is_noticed(empty_url):
    migrations.upgrade(empty_url)
    execute(empty_url, "ALTER TABLE providers DROP COLUMN weight")

    with pytest.raises(SchemaError):
        migrations.check(empty_url)


def test_a_file_is_written_ahead_before_several_connections_want_to_be_the_first(sqlite_url):
    """Of three that ask a file for it at the same time one in ten is told that it is locked."""
    with closing(sqlite3.connect(make_url(sqlite_url).database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_processes_may_upgrade_at_once(empty_url):
    program = f"from llm_service.storage import migrations; migrations.upgrade({empty_url!r})"

    runs = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(2)]

    assert [run.wait() for run in runs] == [0, 0]
    migrations.check(empty_url)


def test_d5_a_migration_backs_off_from_a_table_in_use_and_comes_back(postgresql_url, monkeypatch):
    migrations.downgrade(postgresql_url, "0002")
    engine = create_engine(make_url(postgresql_url))
    user = engine.connect()
    user.exec_driver_sql("LOCK TABLE providers IN ROW EXCLUSIVE MODE")
    backed_off = []

    def let_go(_seconds):
        backed_off.append(True)
        user.close()

    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(migrations.time, "sleep", let_go)

    migrations.upgrade(postgresql_url)

    engine.dispose()
    assert backed_off == [True]
    migrations.check(postgresql_url)


def test_upgrade_refuses_a_newer_schema(database_url):
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaNewer, match="9999"):
        migrations.upgrade(database_url)


def test_upgrade_of_a_database_that_is_not_there_says_so(tmp_path):
    with pytest.raises(StorageUnavailable):
        migrations.upgrade(f"postgresql+psycopg://u@/d?host={tmp_path}")


async def test_serving_refuses_a_database_without_a_schema(empty_url):
    async with Database.open(empty_url) as database:
        with pytest.raises(SchemaOutdated, match="migrate"):
            await database.check_schema()


async def test_serving_refuses_a_newer_schema(database_url):
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")

    async with Database.open(database_url) as database:
        with pytest.raises(SchemaNewer, match="9999"):
            await database.check_schema()


def test_serving_refuses_an_older_schema(monkeypatch):
    monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, "9999"))

    with pytest.raises(SchemaOutdated, match="0003"):
        migrations.require("0003")


async def test_a_migrated_database_is_served_and_has_one_identity(database):
    await database.check_schema()

    first, second = await database.deployment_id(), await database.deployment_id()

    assert len(first) == 36
    assert first == second


def test_the_revisions_the_code_knows_are_the_ones_there_are():
    scripts = ScriptDirectory(str(ROOT / "alembic"))

    known = [script.revision for script in scripts.walk_revisions()]

    assert tuple(reversed(known)) == migrations.REVISIONS
    assert scripts.get_current_head() == migrations.head()


def test_serving_does_not_load_alembic_nor_the_other_databases_driver():
    program = (
        "import sys; from llm_service.storage.engines import create;"
        "create('sqlite+aiosqlite:///x'); print(*sys.modules)"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert "sqlalchemy" in loaded
    assert not {"alembic", "psycopg"} & set(loaded)
