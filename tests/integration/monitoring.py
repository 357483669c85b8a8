"""Monitors by a clock of the test's, and attempts for them to look at."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from llm_service.domain.completion import Attribution, ServedBy
from llm_service.domain.monitor import Thresholds
from llm_service.gateway.alerts.alarm import Alarm
from llm_service.gateway.alerts.monitors import Monitors
from llm_service.gateway.ids import first_id
from llm_service.gateway.usage_reports import SETTLE
from llm_service.telemetry import Telemetry
from tests.integration.samples import a_record, an_attempt

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
THRESHOLDS = Thresholds(min_attempts=10, slow_seconds=2.0, unavailable_attempts=3)
SHARED = "providers/p"
OWN = "tenants/acme/providers/own"

SETTLED = SETTLE + timedelta(milliseconds=1)
"""So long after it was stored a record is looked at."""


def monitors(database, clock, thresholds=THRESHOLDS):
    telemetry = Telemetry.start(service_version="test")
    return Monitors(database, Alarm(database, telemetry), thresholds, clock)


class Records:
    """Stores attempts of the window from START, with ids of when they are stored."""

    def __init__(self, database, clock):
        self.database = database
        self.clock = clock
        self.number = 0

    async def add(self, count, error="", **changes):
        """And let them settle."""
        await self.add_fresh(count, error, **changes)
        self.clock.now += SETTLED

    async def add_fresh(self, count, error="", *, provider=SHARED, seconds=1.0, **changes):
        at = changes.pop("at", START + timedelta(minutes=1))
        target = ServedBy(provider, f"{provider}/models/m")
        made = []
        for _ in range(count):
            self.number += 1
            record = a_record(
                self.number,
                attempt=an_attempt(target=target, cost=changes.get("cost")),
                attribution=Attribution("acme", "agent", "user"),
                error_reason=error,
                first_token=seconds,
                create_time=at,
            )
            first = first_id(self.clock.now)
            made.append(replace(record, record_id=f"{first[:-12]}{self.number:012}"))
        async with self.database.begin() as tx:
            await tx.usage.add_many(made)
