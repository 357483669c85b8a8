"""Monitors, their clock, and the attempts they look at."""

from datetime import timedelta

import pytest

from tests.integration.alerting import Clock
from tests.integration.monitoring import START, Records, monitors


@pytest.fixture
def clock():
    return Clock(START + timedelta(minutes=2))


@pytest.fixture
def here(database, clock):
    return monitors(database, clock)


@pytest.fixture
def records(database, clock):
    return Records(database, clock)
