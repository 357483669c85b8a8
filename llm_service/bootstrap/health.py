"""The health of targets: what watches it, what it decides, and what is told of it."""

from dataclasses import dataclass

from llm_service.bootstrap import parts
from llm_service.gateway.health.adaptive import AdaptiveLimit
from llm_service.gateway.health.administration import HealthAdministration
from llm_service.gateway.health.bulkheads import Bulkheads
from llm_service.gateway.health.circuits import Circuits
from llm_service.gateway.health.gate import HealthGate
from llm_service.gateway.health.intake import Intake
from llm_service.gateway.health.sharing import CircuitSharing
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Health:
    """`circuits` are the `Signals` that routing reads."""

    circuits: Circuits
    gate: HealthGate
    intake: Intake
    sharing: CircuitSharing
    administration: HealthAdministration


def health_of(settings: Settings, database: Database, telemetry: Telemetry) -> Health:
    """Everything of it, published by `telemetry`."""
    circuits = Circuits(patience=settings.first_token_timeout_seconds)
    sharing = CircuitSharing(circuits, database)
    limit = AdaptiveLimit(settings.max_concurrent_calls)
    intake = Intake(limit, parts.queue_length(settings), shed=telemetry.shed)
    bulkheads = Bulkheads(
        settings.max_calls_per_provider, settings.max_calls_per_tenant, telemetry.shed
    )
    telemetry.observe_health(lambda: (circuits.count(), limit.value, intake.in_flight))
    administration = HealthAdministration(circuits, sharing, database)
    gate = HealthGate(circuits, bulkheads, intake)
    return Health(circuits, gate, intake, sharing, administration)
