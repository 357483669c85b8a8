"""Alerts: what raises them, what delivers them, and how they are read."""

from collections.abc import Coroutine
from datetime import timedelta

from llm_service.bootstrap.foundation import Foundation
from llm_service.domain.monitor import Thresholds
from llm_service.gateway.alerts.alarm import Alarm
from llm_service.gateway.alerts.delivery import Deliverer
from llm_service.gateway.alerts.feed import AlertFeed
from llm_service.gateway.alerts.monitors import Monitors
from llm_service.gateway.alerts.webhooks import Webhooks
from llm_service.rpc.alert import AlertServicer
from llm_service.rpc.webhook import WebhookServicer
from llm_service.settings import Settings


def servicers(base: Foundation) -> tuple[object, ...]:
    webhooks = Webhooks(base.database, base.vault, base.egress)
    return AlertServicer(AlertFeed(base.database)), WebhookServicer(webhooks)


def work(
    settings: Settings, base: Foundation, alarm: Alarm
) -> tuple[Coroutine[object, object, None], ...]:
    """What must run in the background."""
    monitors = Monitors(base.database, alarm, thresholds(settings))
    deliverer = Deliverer(base.database, base.vault, base.egress, base.telemetry)
    return monitors.run(), deliverer.run()


def thresholds(settings: Settings) -> Thresholds:
    return Thresholds(
        window=timedelta(seconds=settings.alert_window_seconds),
        min_attempts=settings.alert_min_attempts,
        error_rate_percent=settings.alert_error_rate_percent,
        slow_seconds=settings.alert_slow_seconds,
        unavailable_attempts=settings.alert_unavailable_attempts,
        unpriced=settings.alert_unpriced,
    )
