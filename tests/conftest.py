"""Fixtures every test may use."""

import os
import sys

import pytest
from hypothesis import settings

# As in the Makefile: without the cache every process of a test would compile its libraries anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A deadline per example fails at random on a busy machine; pytest's own timeout bounds a test.
settings.register_profile("llm-service", deadline=None)
settings.load_profile("llm-service")


def pytest_collection_modifyitems(items):
    """Tests on event loops of their own come first: a service of the session keeps its loop."""
    items.sort(key=lambda item: not _has_its_own_loop(item))


def _has_its_own_loop(item) -> bool:
    return "anyio_backend" in getattr(getattr(item, "callspec", None), "params", ())


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
