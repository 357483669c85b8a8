"""What an operator writes of a resource, apart from what the service adds to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from llm_service.domain.completion import GenerationParams, RoutingOptions
from llm_service.domain.model_config import ModelConfig, Selector, TargetSpec
from llm_service.domain.provider import (
    CancelPolicy,
    Credential,
    Provider,
    RateLimits,
    SourceType,
    UpstreamTimeouts,
)
from llm_service.domain.secrecy import NeverPickled


@dataclass(frozen=True, slots=True)
class ProviderDraft:
    """The writable fields of `Provider`."""

    kind: str = ""
    display_name: str = ""
    description: str = ""
    base_uri: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    default_credential: str = ""
    disabled: bool = False
    priority: int | None = None
    weight: int | None = None
    rate_limits: RateLimits = RateLimits()
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    cancel_policy: CancelPolicy | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, provider: Provider) -> "ProviderDraft":
        return cls(**_shared(cls, provider))


@dataclass(frozen=True, slots=True)
class CredentialDraft:
    """The writable fields of `Credential`, its source apart."""

    display_name: str = ""
    disabled: bool = False
    weight: int | None = None
    rate_limits: RateLimits = RateLimits()
    expire_time: datetime | None = None

    @classmethod
    def of(cls, credential: Credential) -> "CredentialDraft":
        return cls(**_shared(cls, credential))


@dataclass(frozen=True, slots=True)
class ModelConfigDraft:
    """The writable fields of `ModelConfig`."""

    display_name: str = ""
    selector: Selector = Selector()
    targets: tuple[TargetSpec, ...] = ()
    params: GenerationParams = GenerationParams()
    limits: GenerationParams = GenerationParams()
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    disabled: bool = False
    locked: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: ModelConfig) -> "ModelConfigDraft":
        return cls(**_shared(cls, config))


@dataclass(frozen=True, slots=True)
class Source(NeverPickled):
    """Where a secret comes from, as the operator gave it: the secret itself, or a pointer to it.

    An AWS key's `secret` is JSON of access_key_id, secret_access_key and session_token.
    """

    type: SourceType
    secret: str = field(default="", repr=False)
    reference: str = ""


ChangeProvider = Callable[[ProviderDraft], ProviderDraft]
ChangeCredential = Callable[[CredentialDraft], CredentialDraft]
ChangeModelConfig = Callable[[ModelConfigDraft], ModelConfigDraft]


def values(draft: ProviderDraft | CredentialDraft | ModelConfigDraft) -> dict[str, Any]:
    """The draft's fields by name, for `dataclasses.replace`."""
    return {field.name: getattr(draft, field.name) for field in fields(draft)}


def _shared(draft: type, resource: object) -> dict[str, Any]:
    return {field.name: getattr(resource, field.name) for field in fields(draft)}
