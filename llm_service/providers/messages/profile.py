"""How one account uses the Messages API."""

from dataclasses import dataclass

CURRENT = "2026-10-21"
"""The version of the API that newer models speak."""

SAMPLING = "2023-06-01"
"""The last version that takes temperature, top_p and top_k."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Fixed for the life of an adapter.

    Attributes:
        kind: the provider kind; stamps provider state.
        prefix: of every path, below the endpoint's.
        version: the API's version for every call; "": as each model wants it.
        betas: names of betas every call takes part in.
    """

    kind: str
    prefix: str = "/v1"
    version: str = ""
    betas: tuple[str, ...] = ()
