"""Fixtures every test may use."""

import asyncio
import gc
import os
import sys

import pytest
from hypothesis import settings as hypothesis_settings

from llm_service import bootstrap
from llm_service.settings import Settings

# As in the Makefile: without the cache every process of a test would compile its libraries anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A deadline per example fails at random on a busy machine; pytest's own timeout bounds a test.
hypothesis_settings.register_profile("llm-service", deadline=None)
hypothesis_settings.load_profile("llm-service")


WAITING = (
    *("test_chaos", "test_outages", "test_database_outage", "test_replicas", "test_rolling"),
    *("test_budget_processes", "test_rotation", "test_alerts", "test_faults", "test_drained"),
)
"""Modules that mostly wait, for processes and for time to pass."""


def pytest_collection_modifyitems(items):
    """Tests on event loops of their own come first: a service of the session keeps its loop.

    Then those that wait: one worker begins with them, others fill the processors meanwhile.
    """
    items.sort(key=lambda item: (not _has_its_own_loop(item), item.path.stem not in WAITING))


def _has_its_own_loop(item) -> bool:
    return "anyio_backend" in getattr(getattr(item, "callspec", None), "params", ())


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def embedded_folder(tmp_path_factory):
    """A data folder as a first start leaves it; copy it, for making one takes a second."""
    folder = tmp_path_factory.mktemp("embedded") / "data"
    asyncio.run(_start_once(Settings.from_env({"LLM_DATA_DIR": str(folder)})))
    return folder


async def _start_once(settings: Settings) -> None:
    async with bootstrap.client_keys(settings):
        return


def pytest_collection_finish():
    """Collect garbage seldom, and not in what is loaded by now: that took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
