"""Monitors: what the usage records of the last minutes say of providers and prices.

They ask the database, off every call's way, so that all replicas' calls count together; of several
replicas one asks at a time. A window is looked at while it lasts and once more after its end, when
the last of its records have come.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from llm_service.domain.alert import Alert, AlertKind, AlertUnit
from llm_service.domain.audit import tenant_of
from llm_service.domain.monitor import ProviderWindow, Thresholds, UnpricedModel
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
from llm_service.gateway.ids import new_id
from llm_service.storage.database import Database

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
            slow = self._thresholds.slow_seconds
            windows = await tx.monitor.providers(start, window, FAILURES, slow)
            unpriced: tuple[UnpricedModel, ...] = ()
            if self._thresholds.unpriced:
                unpriced = await tx.monitor.unpriced(start, start + 2 * window)
        alerts = [*self._of_providers(windows, now), *_of_models(unpriced, now)]
        return await self._alarm.sound(alerts) if alerts else ()

    def _of_providers(self, windows: Iterable[ProviderWindow], now: datetime) -> Iterator[Alert]:
        limits = self._thresholds
        for one in windows:
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
            slow = one.slow_seconds
            if limits.slow_seconds and slow is not None and slow >= limits.slow_seconds:
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
