"""The states of providers and credentials: derived, never stored."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llm_service.domain.provider import Credential, Provider, ProviderKind
from llm_service.gateway.quarantine import broken


class State(StrEnum):
    """A provider is active, disabled, misconfigured, quarantined or deleted.

    A credential is active, disabled, quarantined, rejected or expired.
    """

    ACTIVE = "active"
    DISABLED = "disabled"
    MISCONFIGURED = "misconfigured"
    DELETED = "deleted"
    REJECTED = "rejected"
    EXPIRED = "expired"
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
    if broken(provider):
        return State.QUARANTINED
    if provider.disabled:
        return State.DISABLED
    if kind is None:
        return State.MISCONFIGURED
    usable = any(credential_state(one, now) is State.ACTIVE for one in credentials)
    return State.ACTIVE if usable or not kind.needs_credential else State.MISCONFIGURED


def credential_state(credential: Credential, now: datetime) -> State:
    if broken(credential):
        return State.QUARANTINED
    if credential.disabled:
        return State.DISABLED
    if credential.rejected:
        return State.REJECTED
    if credential.expire_time is not None and credential.expire_time <= now:
        return State.EXPIRED
    return State.ACTIVE
