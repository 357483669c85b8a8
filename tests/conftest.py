"""Fixtures every test may use."""

import pytest
from hypothesis import settings

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
