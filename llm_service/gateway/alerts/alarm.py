"""Raising alerts: stored once, counted and logged by the replica that was first."""

import logging
import re
from collections.abc import Iterable

from llm_service.domain.access import as_service
from llm_service.domain.alert import Alert
from llm_service.storage.database import Database
from llm_service.telemetry import Telemetry

logger = logging.getLogger(__name__)

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,512}")
"""A caller may name a model nobody listed; its own words have no place in the log."""


class Alarm:
    """For whoever sees something of which an operator must hear.

    It hears of every alert that is stored through this database, whoever raises it.
    """

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry
        database.after_alert(self._heard)

    async def sound(self, alerts: Iterable[Alert]) -> tuple[Alert, ...]:
        """Store what nobody has stored before, with its deliveries; gives those alerts.

        Raises:
            StorageUnavailable: nothing is stored; whoever still sees it may try again.
        """
        with as_service():
            async with self._database.begin() as tx:
                return tuple([alert for alert in alerts if await tx.alerts.add_once(alert)])

    def _heard(self, alert: Alert) -> None:
        self._telemetry.alert(alert.kind.value)
        subject = alert.subject if _PLAIN_NAME.fullmatch(alert.subject) else "(unlisted)"
        logger.warning(
            "alert: %s of %s is at %d of %d %s",
            *(alert.kind.value, subject, alert.observed, alert.limit, alert.unit.value),
        )
