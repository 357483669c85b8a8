"""Model configurations and what comes of them: protobuf <-> domain."""

from collections.abc import Iterable

from llm_service.domain.completion import GenerationParams, RoutingOptions
from llm_service.domain.model_config import ModelConfig, Selector, TargetSpec
from llm_service.gateway.admin.drafts import ModelConfigDraft
from llm_service.gateway.explanations import Explanation
from llm_service.gateway.resolution import Asked
from llm_service.rpc.convert.checks import Checks
from llm_service.rpc.convert.generation import from_params, from_routing, to_params, to_routing
from llm_service.rpc.convert.model import from_price, to_price
from llm_service.rpc.convert.provider import set_times, to_etag
from llm_service.rpc.convert.request import CALLERS_ID, MAX_MODEL, to_attribution
from llm_service.rpc.stubs import config_service_pb2 as pb


def to_model_config_draft(message: pb.ModelConfig) -> ModelConfigDraft:
    """What an operator writes of a configuration.

    Raises:
        InvalidField: naming every bad field.
    """
    checks = Checks("model_config.")
    draft = ModelConfigDraft(
        display_name=message.display_name,
        selector=_to_selector(message.selector, checks),
        targets=tuple(
            _to_target(target, f"targets[{number}]", checks)
            for number, target in enumerate(message.targets)
        ),
        params=to_params(message.params, "params", checks),
        limits=to_params(message.limits, "limits", checks),
        routing=to_routing(message.routing, "routing", checks),
        disabled=message.disabled,
        locked=message.locked,
        labels=dict(message.labels),
    )
    checks.done()
    return draft


def from_model_config_draft(draft: ModelConfigDraft) -> pb.ModelConfig:
    message = pb.ModelConfig(
        display_name=draft.display_name,
        targets=from_targets(draft.targets),
        disabled=draft.disabled,
        locked=draft.locked,
        labels=draft.labels,
    )
    if (selector := draft.selector) != Selector():
        message.selector.CopyFrom(
            pb.Selector(agent=selector.agent, user=selector.user, interaction=selector.interaction)
        )
    if draft.params != GenerationParams():
        message.params.CopyFrom(from_params(draft.params))
    if draft.limits != GenerationParams():
        message.limits.CopyFrom(from_params(draft.limits))
    if draft.routing != RoutingOptions():
        message.routing.CopyFrom(from_routing(draft.routing))
    return message


def from_model_config(config: ModelConfig) -> pb.ModelConfig:
    message = from_model_config_draft(ModelConfigDraft.of(config))
    message.name = config.name
    message.etag = to_etag(config.version)
    message.state = _state(config)
    set_times(message, config, "create_time", "update_time")
    return message


def _state(config: ModelConfig) -> pb.ModelConfig.State.ValueType:
    if config.unreadable:
        return pb.ModelConfig.STATE_QUARANTINED
    return pb.ModelConfig.STATE_DISABLED if config.disabled else pb.ModelConfig.STATE_ACTIVE


def from_targets(targets: Iterable[TargetSpec]) -> list[pb.Target]:
    return [_from_target(target) for target in targets]


def to_asked(message: pb.ResolveModelConfigRequest) -> Asked:
    """A call to explain.

    Raises:
        InvalidField: naming every bad field.
    """
    checks = Checks()
    if len(message.model) > MAX_MODEL:
        checks.refuse("model", f"must be at most {MAX_MODEL} characters")
    asked = Asked(
        to_attribution(message.attribution, "attribution", checks),
        message.model,
        to_params(message.params, "params", checks),
        to_routing(message.routing, "routing", checks),
    )
    checks.done()
    return asked


def from_explanation(explanation: Explanation) -> pb.ResolveModelConfigResponse:
    return pb.ResolveModelConfigResponse(
        targets=from_targets(explanation.targets),
        params=from_params(explanation.params),
        routing=from_routing(explanation.routing),
        origins=explanation.origins,
        matched_configs=explanation.matched,
    )


def _to_selector(message: pb.Selector, checks: Checks) -> Selector:
    for name in ("agent", "user", "interaction"):
        if value := getattr(message, name):
            checks.matches(f"selector.{name}", value, CALLERS_ID)
    return Selector(message.agent, message.user, message.interaction)


def _to_target(message: pb.Target, path: str, checks: Checks) -> TargetSpec:
    price_path = f"model_config.{path}.price"
    return TargetSpec(
        message.model,
        message.credential,
        to_params(message.params, f"{path}.params", checks),
        tuple(message.fallback_reasons),
        to_price(message.price, price_path) if message.HasField("price") else None,
    )


def _from_target(target: TargetSpec) -> pb.Target:
    message = pb.Target(
        model=target.model,
        credential=target.credential,
        fallback_reasons=target.fallback_reasons,
    )
    if target.params != GenerationParams():
        message.params.CopyFrom(from_params(target.params))
    if target.price is not None:
        message.price.CopyFrom(from_price(target.price))
    return message
