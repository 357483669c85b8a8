"""Budgets: the gate before every attempt, and what follows and feeds it."""

from collections.abc import Coroutine
from dataclasses import dataclass

from llm_service.gateway.budgets.downgrades import Downgrades
from llm_service.gateway.budgets.gate import BudgetGate
from llm_service.gateway.budgets.leases import Leases
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.leased_ledger import LeasedLedger
from llm_service.gateway.ledger import JournalledLedger
from llm_service.gateway.routing import Router
from llm_service.storage.database import Database


@dataclass(frozen=True, slots=True)
class BudgetParts:
    """`work` runs in the background."""

    gate: BudgetGate
    downgrades: Downgrades
    work: tuple[Coroutine[object, object, None], ...]


def budgets_of(
    database: Database,
    configuration: Configuration,
    ledger: JournalledLedger | LeasedLedger,
    router: Router,
) -> BudgetParts:
    """From here on the ledger gives back what its attempts hold."""
    leases = ledger.holds = Leases(database, ledger.process)
    downgrades = Downgrades(database, configuration, leases.clock, router)
    gate = BudgetGate(configuration.view, leases)
    return BudgetParts(gate, downgrades, (leases.run(), downgrades.run()))
