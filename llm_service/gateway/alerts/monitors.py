"""Monitors: what the usage records of the last minutes say of providers and prices.

They ask the database, off every call's way, so that all replicas' calls count together; of several
replicas one asks at a time. A window is looked at while it lasts and for as long after its end,
when the last of its records have come.

A look reads the records that came since this replica's last one, as feeds do: in the order of their
ids, and `SETTLE` behind the present. What is stored late has an id as new as that, and counts in
the window of its create_time. What has an older one is missed, as feeds miss it: of a replica whose
clock is behind, or whose transaction took longer than `SETTLE`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from llm_service.domain.alert import Alert, AlertKind, AlertUnit
from llm_service.domain.audit import tenant_of
from llm_service.domain.monitor import Look, ProviderWindow, Thresholds, UnpricedModel
from llm_service.errors import (
    EgressDenied,
    ProviderCredentialMissing,
    ProviderCredentialRejected,
    ProviderCredentialUnreadable,
    ProviderPermissionDenied,
    ProviderProtocolError,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    ProviderUnreachable,
    StorageUnavailable,
    StreamInterrupted,
)
from llm_service.gateway.alerts.alarm import Alarm
from llm_service.gateway.alerts.tally import Tally
from llm_service.gateway.ids import first_id, new_id
from llm_service.gateway.usage_reports import SETTLE
from llm_service.storage.database import Database, Transaction

LOOKS = 20
"""In each window: so late an alert may be that could have come at once."""

FAILURES = frozenset(
    error.reason
    for error in (
        EgressDenied,
        ProviderCredentialMissing,
        ProviderCredentialRejected,
        ProviderCredentialUnreadable,
        ProviderPermissionDenied,
        ProviderProtocolError,
        ProviderQuotaExhausted,
        ProviderRateLimited,
        ProviderTimeout,
        ProviderUnavailable,
        ProviderUnreachable,
        StreamInterrupted,
    )
)
"""Reasons for which a provider did not serve, and not its caller's."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = 100  # percent of its limit

_Measured = tuple[int, int, AlertUnit]
"""What was observed, its limit, and what both count."""

logger = logging.getLogger(__name__)


class Monitors:
    """Looks again and again, and sounds the alarm."""

    def __init__(
        self,
        database: Database,
        alarm: Alarm,
        thresholds: Thresholds,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._alarm = alarm
        self._thresholds = thresholds
        self._now = now
        self._tally = Tally()

    async def run(self) -> None:
        """Look, each time it is this replica's turn, until cancelled."""
        while True:
            try:
                await self.take_turn()
            except StorageUnavailable:
                logger.warning("nothing is monitored: the database does not answer")
            except Exception:  # later looks must still be taken
                logger.exception("the monitors could not look")
            await asyncio.sleep((self._thresholds.window / LOOKS).total_seconds())

    async def take_turn(self) -> tuple[Alert, ...]:
        """Look, unless another replica has looked a moment ago."""
        now = self._now()
        most = self._thresholds.window / LOOKS / 2
        async with self._database.read() as tx:
            seen = await tx.monitor.looked()
        if seen <= now < seen + most:
            return ()
        async with self._database.begin() as tx:
            if not await tx.monitor.take_turn(seen, now):
                return ()
        return await self.look()

    async def look(self) -> tuple[Alert, ...]:
        """The alerts that this look has raised first."""
        now, window = self._now(), self._thresholds.window
        start = now - (now - _EPOCH) % window - window
        async with self._database.read() as tx:
            tally = await self._count(tx, start, first_id(now - SETTLE))
            slow = {one: await self._slow(tx, one, tally.cursor) for one in tally.windows.values()}
        # Not before: whatever ends the read, the next one begins where this one did.
        self._tally = tally
        unpriced = tally.unpriced_models() if self._thresholds.unpriced else ()
        alerts = [*self._of_providers(slow, now), *_of_models(unpriced, now)]
        return await self._alarm.sound(alerts) if alerts else ()

    async def _count(self, tx: Transaction, start: datetime, end: str) -> Tally:
        """What there is before `end` of the window from `start`, and of the next."""
        tally = self._tally
        # Both windows whole, where some of them was before the last look, or the clock was put
        # back since: there may be records of a window that is forgotten.
        if not first_id(start) <= tally.cursor <= end:
            tally = Tally()
        look = Look(start, tally.cursor, end)
        limits = self._thresholds
        found = await tx.monitor.attempts(look, limits.window, FAILURES, limits.slow_seconds)
        return tally.with_(found, look)

    async def _slow(self, tx: Transaction, of: ProviderWindow, end: str) -> float | None:
        """The 95th percentile, in seconds, where it is slow, and worth an alert."""
        limits = self._thresholds
        if of.served + of.failed < limits.min_attempts:
            return None
        return await tx.monitor.slow(of, limits.window, limits.slow_seconds, end)

    def _of_providers(
        self, windows: Mapping[ProviderWindow, float | None], now: datetime
    ) -> Iterator[Alert]:
        limits = self._thresholds
        for one, slow in windows.items():
            attempts = one.served + one.failed
            if not one.served and 0 < limits.unavailable_attempts <= one.failed:
                measured = one.failed, limits.unavailable_attempts, AlertUnit.ATTEMPTS
                yield _alert(AlertKind.PROVIDER_UNAVAILABLE, one, measured, now)
            if attempts < limits.min_attempts:
                continue
            percent = one.failed * 100 // attempts
            if limits.error_rate_percent and percent >= limits.error_rate_percent:
                measured = percent, limits.error_rate_percent, AlertUnit.PERCENT
                yield _alert(AlertKind.ERROR_RATE, one, measured, now)
            if slow is not None:
                measured = _ms(slow), _ms(limits.slow_seconds), AlertUnit.MILLISECONDS
                yield _alert(AlertKind.SLOW_RESPONSES, one, measured, now)


def _alert(kind: AlertKind, of: ProviderWindow, measured: _Measured, now: datetime) -> Alert:
    observed, limit, unit = measured
    return Alert(
        alert_id=new_id(),
        tenant=tenant_of(of.provider),
        kind=kind,
        subject=of.provider,
        window_start_time=of.window_start_time,
        threshold_percent=_WHOLE,
        observed=observed,
        limit=limit,
        unit=unit,
        create_time=now,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _of_models(models: Iterable[UnpricedModel], now: datetime) -> Iterator[Alert]:
    """Once a day: whoever knows a price has time until then."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for one in models:
        yield Alert(
            alert_id=new_id(),
            tenant=tenant_of(one.model),
            kind=AlertKind.UNPRICED,
            subject=one.model,
            window_start_time=today,
            threshold_percent=_WHOLE,
            observed=one.attempts,
            limit=0,
            unit=AlertUnit.ATTEMPTS,
            create_time=now,
        )
