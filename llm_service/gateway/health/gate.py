"""The gate of health: passes over targets that fail, keeps room for the others, and learns."""

from typing import Any

from llm_service.domain.usage import UsageRecord
from llm_service.gateway.call import Call
from llm_service.gateway.gates import Admission
from llm_service.gateway.health.breaker import Probe
from llm_service.gateway.health.bulkheads import Bulkheads
from llm_service.gateway.health.circuits import Circuits, key_of
from llm_service.gateway.health.intake import Intake
from llm_service.gateway.targets import Target


class HealthGate:
    """A `Gate`. How attempts end it tells the circuits, and the intake how long they took."""

    def __init__(self, circuits: Circuits, bulkheads: Bulkheads, intake: Intake) -> None:
        self.circuits = circuits
        self.bulkheads = bulkheads
        self.intake = intake

    async def enter(self, admission: Admission) -> "HealthPass":
        """Take room at the provider, and the place of the probe where one is due.

        Raises:
            ProviderBusy, Overloaded: there is no room.
            ProviderUnavailable, ProviderRateLimited: it is passed over, and another can serve.
        """
        target, call = admission.target, admission.call
        tenant = call.request.attribution.tenant
        self.bulkheads.require(target.provider, tenant)
        entered = self.circuits.enter(key_of(target), target, call)
        self.bulkheads.take(target.provider.uid, tenant)
        return HealthPass(self, target, call, entered)


class HealthPass:
    """A place at a provider, and what an attempt was let in as."""

    __slots__ = ("_call", "_entered", "_gate", "_target")

    def __init__(
        self, gate: HealthGate, target: Target, call: Call[Any], entered: tuple[int, Probe | None]
    ) -> None:
        self._gate = gate
        self._target = target
        self._call = call
        self._entered = entered

    def settled(self, record: UsageRecord) -> None:
        gate, target, call = self._gate, self._target, self._call
        gate.bulkheads.leave(target.provider.uid, call.request.attribution.tenant)
        slowness = gate.circuits.settled(record, target, call, self._entered)
        if slowness is not None:
            gate.intake.heard(target.provider.uid, slowness)
