"""What an import wants: resources to create, and what is to be said of a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llm_service.domain.provider import Model
from llm_service.gateway.admin.drafts import (
    CredentialDraft,
    ModelConfigDraft,
    ProviderDraft,
    Source,
)


@dataclass(frozen=True, slots=True)
class WantProvider:
    """`row` says what asks for it: "llms[3]". `source`: of its credential "default".

    `implied`: rows only name the vendor, so any provider of that id and kind will do.
    """

    row: str
    tenant: str
    provider_id: str
    draft: ProviderDraft
    source: Source | None = None
    implied: bool = False

    @property
    def name(self) -> str:
        return provider_name(self.tenant, self.provider_id)


@dataclass(frozen=True, slots=True)
class WantCredential:
    """A further credential of a provider."""

    row: str
    tenant: str
    provider_id: str
    credential_id: str
    draft: CredentialDraft
    source: Source

    @property
    def name(self) -> str:
        return f"{provider_name(self.tenant, self.provider_id)}/credentials/{self.credential_id}"


@dataclass(frozen=True, slots=True)
class WantModel:
    """A model of a provider, by hand."""

    row: str
    tenant: str
    provider_id: str
    model: Model

    @property
    def name(self) -> str:
        return self.model.name


@dataclass(frozen=True, slots=True)
class WantConfig:
    """A model configuration."""

    row: str
    tenant: str
    config_id: str
    draft: ModelConfigDraft

    @property
    def name(self) -> str:
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}modelConfigs/{self.config_id}"


class Outcome(StrEnum):
    """What became of a step. Only FAILED asks somebody to do something."""

    CREATED = "created"
    SAME = "there already"
    KEPT = "kept"
    LEFT = "left out"
    FAILED = "could not import"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the report. It holds no secret and no text a secret could be in."""

    row: str
    outcome: Outcome
    resource: str = ""
    why: str = ""

    def __str__(self) -> str:
        said = " ".join(word for word in (self.outcome.value, self.resource) if word)
        return f"{self.row}: {said}" + (f": {self.why}" if self.why else "")


Step = WantProvider | WantCredential | WantModel | WantConfig | Entry


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where rows go and what may be used.

    `tenant`: whose resources rows become that name none; "" is everybody's. `old_key`: the Fernet
    key the other system sealed with, and `key_variable` the name of what it was in. `secret_store`:
    the store that paths of secrets are in. `allowed`: variables credentials may refer to.
    """

    tenant: str = ""
    old_key: str = field(default="", repr=False)
    key_variable: str = ""
    secret_store: str = ""
    allowed: frozenset[str] = frozenset()


def provider_name(tenant: str, provider_id: str) -> str:
    prefix = f"tenants/{tenant}/" if tenant else ""
    return f"{prefix}providers/{provider_id}"


def left_out(row: str, notes: Mapping[str, str]) -> list[Step]:
    """An entry for each field that has no place here, and why."""
    return [Entry(row, Outcome.LEFT, name, why) for name, why in notes.items()]
