"""What this process holds of budgets in memory, and what attempts hold of that."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from llm_service.gateway.budgets.scope import is_in
from llm_service.storage.budget_accounts import Part, Window


@dataclass(slots=True, eq=False)
class Tenure:
    """How long this process may use what it holds, by its own clock that never goes back.

    `valid_until` is counted from before the database was asked, so it is over here before anybody
    else may think so. Once the database has forgotten this process it never comes back.
    """

    valid_until: float = float("-inf")
    lost: bool = False

    def holds(self, now: float) -> bool:
        return not self.lost and now < self.valid_until


@dataclass(slots=True, eq=False)
class Lease:
    """A part of one window's budget that the database has set aside for this process."""

    lease_id: str
    window: Window
    tenure: Tenure
    free: int
    used: float
    holds: int = 0

    def hold(self, amount: int, now: float) -> "Hold":
        self.free -= amount
        self.holds += 1
        self.used = now
        return Hold(self, amount)


@dataclass(slots=True, eq=False)
class Hold:
    """What one attempt holds of a lease: what it could use at most, then what it has used."""

    lease: Lease
    amount: int

    def settle(self, used: int) -> bool:
        """Keep what was used until that is stored; False: nothing was."""
        kept = min(used, self.amount)
        self.lease.free += self.amount - kept
        self.amount = kept
        if not kept:
            self.lease.holds -= 1
        return kept > 0

    def stored(self) -> None:
        """It is spent now, and no longer held."""
        self.lease.holds -= 1

    @property
    def part(self) -> Part:
        return Part(self.lease.lease_id, self.lease.window, self.amount)


@dataclass(slots=True)
class Holdings:
    """All leases of this process, by budget."""

    tenure: Tenure = field(default_factory=Tenure)
    by_budget: dict[str, list[Lease]] = field(default_factory=dict)

    def add(self, lease: Lease) -> None:
        self.by_budget.setdefault(lease.window.budget_uid, []).append(lease)

    def hold(self, budget_uid: str, amount: int, when: datetime, now: float) -> Hold | None:
        """From a lease of that moment's window with so much room; None: there is none."""
        for lease in reversed(self.by_budget.get(budget_uid, ())):
            if lease.free >= amount and lease.tenure.holds(now) and is_in(when, lease.window):
                return lease.hold(amount, now)
        return None

    def lose(self) -> None:
        """The database has given to others what was held."""
        self.tenure.lost = True
        self.tenure = Tenure()
        self.by_budget.clear()

    def idle_since(self, moment: float) -> Iterator[Lease]:
        """Leases that were not used from then on and have something to give back."""
        for leases in self.by_budget.values():
            for lease in leases:
                if lease.used <= moment and (lease.free or not lease.holds):
                    yield lease

    def remove(self, lease: Lease) -> None:
        leases = self.by_budget.get(lease.window.budget_uid, [])
        if lease in leases:
            leases.remove(lease)
        if not leases:
            self.by_budget.pop(lease.window.budget_uid, None)
