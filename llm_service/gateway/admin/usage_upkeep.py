"""What the table of usage needs now and then: months, sums of old days, an end to old records."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta

from llm_service.errors import StorageUnavailable
from llm_service.storage.database import Database
from llm_service.storage.usage_months import earlier

SWEEP_SECONDS = 600.0

SETTLED = timedelta(hours=1)
"""After a day most of its records are stored."""

logger = logging.getLogger(__name__)


class UsageUpkeep:
    """Of several replicas one does the work. `retention_months` 0: records are kept for good."""

    def __init__(
        self,
        database: Database,
        retention_months: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._retention_months = retention_months
        self._now = now

    async def run(self, pause_seconds: float = SWEEP_SECONDS) -> None:
        """Sweep now and after each pause, until cancelled. What fails is tried again then."""
        while True:
            for work in (self.prepare_months, self.sum_up, self.divide, self.forget):
                try:
                    await work()
                except StorageUnavailable:
                    logger.warning("usage was not tidied: the database does not answer")
                except Exception:  # the rest, and later sweeps, must still be made
                    logger.exception("usage was not tidied")
            await asyncio.sleep(pause_seconds)

    async def prepare_months(self) -> None:
        async with self._database.begin() as tx:
            made = await tx.usage_months.prepare(self._now().date())
        if made:
            logger.info("made months of usage: %s", ", ".join(f"{one:%Y-%m}" for one in made))

    async def sum_up(self) -> int:
        """Sum up days that are older than their sums, the latest first; how many there were."""
        count = 0
        while await self._sum_up_one():
            count += 1
        if count:
            logger.info("summed up %d days of usage", count)
        return count

    async def _sum_up_one(self) -> bool:
        async with self._database.begin() as tx:
            summed_from, kept_from = await tx.usage_days.horizons()
            if summed_from == date.min:
                return False
            recorded = await tx.usage_days.recorded()
            oldest = max(recorded[0], kept_from) if recorded else date.max
            day = summed_from - timedelta(days=1)
            if day < oldest:
                await tx.usage_days.set_summed_from(date.min)
                return False
            await tx.usage_days.rebuild(day)
            await tx.usage_days.set_summed_from(day)
        return True

    async def divide(self) -> int:
        """Sum up the parts of days that are over, and anew of those with late records; how many."""
        until = (self._now() - SETTLED).date()
        async with self._database.begin() as tx:
            bounds = await tx.usage_days.horizons()
            days = await tx.usage_day_parts.stale(max(bounds), until)
        for day in days:
            async with self._database.begin() as tx:
                if await tx.usage_day_parts.stale(day, day + timedelta(days=1)):
                    await tx.usage_day_parts.make(day)
        return len(days)

    async def forget(self) -> int:
        """Drop months past their retention, and delete what is in none; how many those were.

        Their sums stay. Nothing is forgotten before it is summed up.
        """
        if not self._retention_months:
            return 0
        until = earlier(self._now().date().replace(day=1), self._retention_months)
        async with self._database.begin() as tx:
            summed_from, _ = await tx.usage_days.horizons()
            if summed_from > until:
                return 0
            # An attempt that started before midnight may have ended after it.
            await tx.usage_days.set_kept_from(until + timedelta(days=1))
            dropped = await tx.usage_months.drop(until)
        if dropped:
            logger.info("dropped usage records past their retention: %s", ", ".join(dropped))
        count = 0
        while True:
            async with self._database.begin() as tx:
                some = await tx.usage_months.delete_some(until)
            count += some
            if not some:
                return count

    async def rebuild(self) -> AsyncIterator[date]:
        """Make the sums of every day anew that all records are kept of; each as it is done."""
        async for day in self._recorded():
            async with self._database.begin() as tx:
                await tx.usage_days.rebuild(day)
            if day < (self._now() - SETTLED).date():
                async with self._database.begin() as tx:
                    await tx.usage_day_parts.make(day)
            yield day

    async def check(self) -> AsyncIterator[tuple[date, int]]:
        """Each day that all records are kept of, and how many of its figures are wrong."""
        async for day in self._recorded():
            async with self._database.begin() as tx:
                summed_from, _ = await tx.usage_days.horizons()
                wrong = await tx.usage_days.differences(day) if day >= summed_from else 0
                wrong += await tx.usage_day_parts.differences(day)
            yield day, wrong

    async def _recorded(self) -> AsyncIterator[date]:
        async with self._database.read() as tx:
            recorded = await tx.usage_days.recorded()
            _, kept_from = await tx.usage_days.horizons()
        if recorded is None:
            return
        day = max(recorded[0], kept_from)
        while day <= recorded[1]:
            yield day
            day += timedelta(days=1)
