"""Model configurations: which models serve a scope of calls, in which order, and how."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from llm_service.domain.completion import GenerationParams, RoutingOptions
from llm_service.domain.provider import Price
from llm_service.domain.value import value

CAPS = (
    "temperature",
    "top_p",
    "top_k",
    "max_output_tokens",
    "frequency_penalty",
    "presence_penalty",
    "top_logprobs",
)
"""The parameters that limits may cap, beside `reasoning.budget_tokens`."""


@value
class Selector:
    """Which calls a configuration is for. An empty field matches every call."""

    agent: str = ""
    user: str = ""
    interaction: str = ""


@value
class TargetSpec:
    """A model to try, as somebody wrote it down.

    `model` is a resource name, an id or an alias. `credential` "" is whichever the provider would
    use; otherwise that one and no other. `params` are for this model only. `fallback_reasons` are
    the only failures after which the next target is tried; () stands for the usual ones. `price`
    replaces the model's own, from when it holds.
    """

    model: str
    credential: str = ""
    params: GenerationParams = GenerationParams()
    fallback_reasons: tuple[str, ...] = ()
    price: Price | None = None


@value
class ModelConfig:
    """What calls of one scope use.

    `tenant` "" is everybody's. `targets` () inherits. `limits` are caps that nothing narrower can
    exceed. `locked`: requests may not choose for themselves. `version` grows with each change.
    `unreadable` names the fields whose stored value cannot be read; they have their defaults.
    """

    tenant: str
    config_id: str
    uid: str
    create_time: datetime
    update_time: datetime
    version: int = 1
    display_name: str = ""
    selector: Selector = Selector()
    targets: tuple[TargetSpec, ...] = ()
    params: GenerationParams = GenerationParams()
    limits: GenerationParams = GenerationParams()
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    disabled: bool = False
    locked: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}modelConfigs/{self.config_id}"
