"""A running administration for each test that asks for one."""

import shutil

import pytest

from llm_service.storage import migrations
from tests.rpc.administered import administered


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("administered") / "migrated.db"
    migrations.upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def database_url(migrated_database, tmp_path) -> str:
    path = tmp_path / "test.db"
    shutil.copyfile(migrated_database, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
async def service(database_url):
    async with administered(database_url) as running:
        yield running
