"""How targets have been doing: their circuits, and a provider's health in sum."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from llm_service.domain.completion import CallError
from llm_service.domain.value import value

ANY = "*"
"""In place of an id: of every credential, of every model."""


class CircuitState(StrEnum):
    """Whether a target is called."""

    CLOSED = "closed"
    """As always."""
    OPEN = "open"
    """Passed over while another target can serve."""
    HALF_OPEN = "half_open"
    """The next call, or one on its way, shows whether it works again."""
    LIMITED = "limited"
    """It works and takes no more for now: passed over until it said it would."""


class TargetKey(NamedTuple):
    """A model, on a provider, by a credential; `credential_id` "": it is called without one."""

    provider_uid: str
    credential_id: str
    model_id: str


@value
class Circuit:
    """The circuit of one target, as it is known here.

    `reason`: the `ErrorReason` that opened it, "" if none did. `retry_time`: until when it is
    passed over. `error_ratio` (0 to 1) is of the last `attempt_count` attempts that say something
    of the target. Averages are None where nothing was seen lately; seconds, tokens per second.
    """

    model: str
    credential: str
    state: CircuitState
    reason: str = ""
    retry_time: datetime | None = None
    error_ratio: float = 0.0
    attempt_count: int = 0
    ejection_count: int = 0
    first_token: float | None = None
    tokens_per_second: float | None = None


@value
class CircuitNews:
    """What one replica tells the others of a circuit.

    `state` OPEN, or CLOSED with `reset` if an operator closed it; ids may then be `ANY`. `seconds`:
    how long it stays open, from the time of the telling. `change_id` is new for each telling.
    """

    key: TargetKey
    tenant: str
    provider_id: str
    state: CircuitState
    change_id: str
    replica: str
    seconds: float = 0.0
    reason: str = ""
    ejection_count: int = 0
    reset: bool = False

    @property
    def name(self) -> str:
        """Of the provider."""
        owner = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{owner}providers/{self.provider_id}"


class Condition(StrEnum):
    """How well a provider does."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


@value
class ProviderHealth:
    """How a provider has been doing. `condition` None: nobody has called it.

    `error_ratio` (0 to 1) and `first_token_p50` (seconds) are of the last five minutes;
    `retry_time` is set while a circuit is open: when the first of them is tried again.
    """

    condition: Condition | None = None
    check_time: datetime | None = None
    last_error: CallError | None = None
    error_ratio: float = 0.0
    first_token_p50: float | None = None
    retry_time: datetime | None = None
