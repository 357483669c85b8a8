"""What an accepted credential says."""

from dataclasses import dataclass

from llm_service.domain.access import ClientKey, Principal


@dataclass(frozen=True, slots=True)
class Accepted:
    """A credential's holder, until then by `time.time()`; `key`: the client key it is, if one."""

    principal: Principal
    until: float
    key: ClientKey | None = None
