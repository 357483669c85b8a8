"""Databases: each test that asks for one runs on SQLite and on PostgreSQL, with its own copy."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from llm_service.storage import migrations
from llm_service.storage.database import Database
from tests.integration import postgres_server
from tests.integration.importing import opened
from tests.integration.postgres_server import PostgresServer

HERE = Path(__file__).parent
NUMBERS = count(1)
SECONDS = 180  # for the first test, which waits for a server to be made

DIALECTS = ("sqlite", "postgresql")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres) -> str:
    postgres.execute("CREATE DATABASE migrated")
    migrations.upgrade(postgres.url("migrated"))
    return "migrated"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrations.upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def postgresql_url(postgres, migrated_postgres) -> Iterator[str]:
    yield from a_database(postgres, migrated_postgres)


@pytest.fixture
def sqlite_url(migrated_sqlite, tmp_path) -> str:
    path = tmp_path / "test.db"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def ordinary_user(postgres) -> str:
    """The tests' own user is a superuser, whom no policy holds."""
    postgres.execute("CREATE ROLE ordinary LOGIN NOSUPERUSER NOBYPASSRLS")
    return "ordinary"


@pytest.fixture
def confined_url(postgresql_url, ordinary_user) -> str:
    """The database of `postgresql_url`, as the ordinary user that owns it and its tables."""
    name = postgresql_url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(postgresql_url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} OWNER TO {ordinary_user}")
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in found.fetchall():
            connection.execute(f"ALTER TABLE {table} OWNER TO {ordinary_user}")
    return postgresql_url.replace("postgres@", f"{ordinary_user}@", 1)


@pytest.fixture(params=DIALECTS)
def database_url(request) -> str:
    """A migrated database of this test's own."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def empty_postgresql_url(postgres) -> Iterator[str]:
    yield from a_database(postgres, "template0")


@pytest.fixture(params=DIALECTS)
def empty_url(request, tmp_path) -> str:
    """A database of this test's own that nobody has migrated."""
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgresql_url")
    return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture
async def database(database_url):
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
async def any_database(sqlite_url):
    """For what is decided before a database is asked."""
    async with Database.open(sqlite_url) as database:
        yield database


@pytest.fixture
async def importing(request, database, database_url, tmp_path):
    """`importing(system)`: a database of the same kind to import from, and one to import into."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'other.db'}"
    if database.dialect == "postgresql":
        url = request.getfixturevalue("empty_postgresql_url")
    async with opened(database, url) as one:
        yield one


@pytest.fixture
async def importing_here(any_database, tmp_path):
    """As `importing`, for what is decided before a database is asked."""
    async with opened(any_database, f"sqlite+aiosqlite:///{tmp_path / 'other.db'}") as one:
        yield one


def a_database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{next(NUMBERS)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
