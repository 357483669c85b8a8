"""A running service, in this process or in its own, and a vendor for it to call."""

import shutil

import pytest

from llm_service import bootstrap
from tests.contract.vendor_server import vendor_server
from tests.e2e.process import serving
from tests.e2e.service import running, settings_in
from tests.integration.conftest import (  # noqa: F401 - fixtures
    database_url,
    migrated_postgres,
    migrated_sqlite,
    postgres,
    postgresql_url,
    sqlite_url,
)


@pytest.fixture(scope="session")
async def started_once(tmp_path_factory):
    """The data folder of a service that has started, and ended: its database and its key.

    Most of a first start is the migration, in a process of its own.
    """
    folder = tmp_path_factory.mktemp("started-once")
    async with bootstrap.application(settings_in(folder, {})):
        pass
    return folder


@pytest.fixture
def data_folder(started_once, tmp_path):
    """The data folder of a service in this process, which has started before."""
    return shutil.copytree(started_once, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def process_folder(started_once, tmp_path):
    """The folder of a service as a process, which has started before."""
    shutil.copytree(started_once, tmp_path / "data")
    return tmp_path


@pytest.fixture(scope="session")
async def service(started_once, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    shutil.copytree(started_once, folder, dirs_exist_ok=True)
    async with running(folder) as one:
        yield one


@pytest.fixture(scope="session")
async def process(tmp_path_factory):
    """Its folder is new: this one makes its own database and key, and says so."""
    async with serving(tmp_path_factory.mktemp("process")) as one:
        yield one


@pytest.fixture
async def vendor():
    async with vendor_server() as one:
        yield one
