"""A running service, and a vendor for it to call."""

import pytest

from tests.contract.vendor_server import vendor_server
from tests.e2e.service import running


@pytest.fixture(scope="module")
async def service(tmp_path_factory):
    async with running(tmp_path_factory.mktemp("service")) as one:
        yield one


@pytest.fixture
async def vendor():
    async with vendor_server() as one:
        yield one
