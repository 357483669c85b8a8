"""The states of providers and credentials: derived, never stored."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llm_service.domain.provider import Credential, Provider, ProviderKind
from llm_service.gateway.destinations import is_bound_elsewhere
from llm_service.gateway.quarantine import broken


class State(StrEnum):
    """A provider is never rejected nor expired; a credential never misconfigured nor deleted."""

    ACTIVE = "active"
    DISABLED = "disabled"
    MISCONFIGURED = "misconfigured"
    DELETED = "deleted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    NEEDS_CREDENTIAL = "needs_credential"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A provider as its operator sees it."""

    provider: Provider
    state: State


@dataclass(frozen=True, slots=True)
class CredentialView:
    """A credential as its operator sees it."""

    credential: Credential
    state: State


def provider_state(
    provider: Provider, kind: ProviderKind | None, credentials: Iterable[Credential], now: datetime
) -> State:
    """`kind` None: this build no longer has an adapter for it."""
    if provider.delete_time is not None:
        return State.DELETED
    if kind is None or broken(provider):
        return State.QUARANTINED
    if provider.disabled:
        return State.DISABLED
    states = {credential_state(one, provider, now) for one in credentials}
    if State.ACTIVE in states:
        return State.ACTIVE
    if State.NEEDS_CREDENTIAL in states:
        return State.NEEDS_CREDENTIAL
    return State.MISCONFIGURED if kind.needs_credential else State.ACTIVE


def credential_state(credential: Credential, provider: Provider, now: datetime) -> State:
    if broken(credential):
        return State.QUARANTINED
    if credential.disabled:
        return State.DISABLED
    if is_bound_elsewhere(credential, provider):
        return State.NEEDS_CREDENTIAL
    if credential.rejected:
        return State.REJECTED
    if credential.expire_time is not None and credential.expire_time <= now:
        return State.EXPIRED
    return State.ACTIVE
