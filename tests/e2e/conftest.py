"""A running service, in this process or in its own, and a vendor for it to call."""

import pytest

from tests.contract.vendor_server import vendor_server
from tests.e2e.process import serving
from tests.e2e.service import running
from tests.integration.conftest import (  # noqa: F401 - fixtures
    database_url,
    migrated_postgres,
    migrated_sqlite,
    postgres,
    postgresql_url,
    sqlite_url,
)


@pytest.fixture(scope="session")
async def service(tmp_path_factory):
    async with running(tmp_path_factory.mktemp("service")) as one:
        yield one


@pytest.fixture(scope="session")
async def process(tmp_path_factory):
    async with serving(tmp_path_factory.mktemp("process")) as one:
        yield one


@pytest.fixture
async def vendor():
    async with vendor_server() as one:
        yield one
