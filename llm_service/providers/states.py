"""Provider state: what a vendor must get back unchanged, and only from the kind that issued it."""

from typing import Any

import msgspec

from llm_service.domain.content import Part, ProviderState
from llm_service.errors import ProviderProtocolError


def issue(kind: str, said: dict[str, Any]) -> ProviderState:
    """State of the kind, holding an object.

    Raises:
        ProviderProtocolError: what a vendor sent could be read, but is nested too deep to be kept.
    """
    try:
        return ProviderState(kind, msgspec.json.encode(said))
    except RecursionError as error:
        raise ProviderProtocolError("the provider's answer is nested too deep") from error


def read(part: Part, kind: str) -> dict[str, Any] | None:
    """What the kind once issued with the part; None: nothing, or nothing it can read."""
    state = part.provider_state
    if state is None or state.kind != kind:
        return None
    try:
        said = msgspec.json.decode(state.data, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    return said or None
