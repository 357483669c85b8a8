"""Fixtures every test may use."""

import pytest
from hypothesis import settings

# A deadline per example fails at random on a busy machine; pytest's own timeout bounds a test.
settings.register_profile("llm-service", deadline=None)
settings.load_profile("llm-service")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
