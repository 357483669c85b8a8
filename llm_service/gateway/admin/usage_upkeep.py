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
"""So long after a day its parts are summed up: most of its records are stored by then."""

RECENT = timedelta(days=4)
"""Days that each sweep looks at for late records; at all days only the first one of a day does."""

logger = logging.getLogger(__name__)


class UsageUpkeep:
    """Any replica does it, of parts of days one at a time.

    `retention_months` 0: records are kept for good.
    """

    def __init__(
        self,
        database: Database,
        retention_months: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._retention_months = retention_months
        self._now = now
        self._looked_at_all: date | None = None  # when divide last did
        self._left: set[date] = set()  # days that it found and could not make

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
        """Sum up the parts of days that are over, and anew of those with late records; how many.

        The newest first. A day that fails is left to the next sweep, and all are to whoever is at
        it already.
        """
        if not self._divides:
            return 0
        today, until = self._now().date(), (self._now() - SETTLED).date()
        async with self._database.read() as tx:
            first = max(await tx.usage_days.horizons())
            if self._looked_at_all == today:
                first = max(first, until - RECENT)
            self._left.update(await tx.usage_day_parts.stale(first, until))
        self._looked_at_all = today
        count = 0
        for day in sorted(self._left, reverse=True):
            made = await self._divide_or_tell(day)
            if made is None:
                break
            count += made
        return count

    @property
    def _divides(self) -> bool:
        return self._database.dialect == "postgresql"

    async def _divide_or_tell(self, day: date) -> bool | None:
        """Whether it was done; None: somebody else is at it."""
        try:
            return await self._divide_one(day)
        except StorageUnavailable:
            await self._database.ping()  # else it is the day that takes too long
            logger.warning("parts of %s were not summed up: it took too long", day)
        except Exception:  # the other days must still be made
            logger.exception("parts of %s were not summed up", day)
        return False

    async def _divide_one(self, day: date) -> bool | None:
        async with self._database.begin() as tx:
            if not await tx.usage_day_parts.turn():
                return None
            # Somebody may have made it since, or its records may be gone.
            first = max(day, *await tx.usage_days.horizons())
            stale = await tx.usage_day_parts.stale(first, day + timedelta(days=1))
            if stale:
                await tx.usage_day_parts.make(day)
        self._left.discard(day)
        return bool(stale)

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
            if self._divides and day < (self._now() - SETTLED).date():
                async with self._database.begin() as tx:
                    await tx.usage_day_parts.make(day)
            yield day

    async def check(self) -> AsyncIterator[tuple[date, int]]:
        """Each day that all records are kept of, and how many of its figures are wrong."""
        async for day in self._recorded():
            async with self._database.begin() as tx:
                summed_from, _ = await tx.usage_days.horizons()
                wrong = await tx.usage_days.differences(day) if day >= summed_from else 0
            if self._divides:
                async with self._database.read() as tx:  # in which nobody who stores usage waits
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
