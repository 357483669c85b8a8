"""What must let an attempt through before it is dialled, and is told how it ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from llm_service.domain.provider import Price
from llm_service.domain.usage import UsageRecord
from llm_service.gateway.call import Call
from llm_service.gateway.targets import Target


@dataclass(eq=False)
class Admission:
    """An attempt that asks to be dialled, with what it could use at most.

    Args:
        attempt_id: of the record it will leave.
        price: what applies to it; None: not known, which is never free.
        budget_time: by which the gate of budgets let it through; None: there are none.
    """

    attempt_id: str
    call: Call[Any]
    target: Target
    price: Price | None
    budget_time: datetime | None = None

    @property
    def input_tokens(self) -> int:
        """An estimate."""
        return self.call.input_tokens()

    @property
    def most_output_tokens(self) -> int | None:
        """None: nobody set a limit."""
        return self.call.most_output_tokens(self.target)


class Pass(Protocol):
    """What a gate holds for an attempt it let through."""

    def settled(self, record: UsageRecord) -> None:
        """The attempt has ended, dialled or not: give back what it held. Never fails or waits."""
        ...


class Gate(Protocol):
    """A limit on attempts: of rate, of money, of what a target can bear now."""

    async def enter(self, admission: Admission) -> Pass:
        """Hold what the attempt needs.

        Raises:
            GatewayError: it may not be dialled; `falls_back` says whether another target may.
        """
        ...
