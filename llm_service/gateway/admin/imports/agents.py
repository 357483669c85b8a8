"""`agent_llm_configs`: a model, a fallback and maybe a key for each agent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llm_service.domain.completion import GenerationParams
from llm_service.domain.model_config import Selector, TargetSpec
from llm_service.domain.provider import Model, SourceType
from llm_service.gateway.admin.drafts import (
    CredentialDraft,
    ModelConfigDraft,
    ProviderDraft,
    Source,
)
from llm_service.gateway.admin.imports import fields
from llm_service.gateway.admin.imports.fields import Row, Unusable
from llm_service.gateway.admin.imports.steps import (
    Circumstances,
    Entry,
    Outcome,
    Step,
    WantConfig,
    WantCredential,
    WantModel,
    WantProvider,
    left_out,
    provider_name,
)
from llm_service.gateway.admin.models import manual_model
from llm_service.gateway.admin.seeds import USUAL_KEYS

COLUMNS = {"agent_llm_configs": ("id", "agent_id", "provider", "model_name")}
_VARIABLES = {kind: variable for variable, kind in USUAL_KEYS.items()}


@dataclass(slots=True)
class _Config:
    """A row as far as it has been understood."""

    row: str
    agent: str
    enabled: bool
    targets: tuple[TargetSpec, ...]
    params: GenerationParams
    labels: dict[str, str]
    steps: list[Step] = field(default_factory=list)


def steps(rows: Sequence[Row], where: Circumstances) -> Iterator[Step]:
    """One configuration for each agent: its rows in order, each with its fallback after it.

    A switched-off row stands only where all of its agent's are switched off: beside others there
    is no way to keep it.
    """
    by_agent: dict[str, list[_Config]] = {}
    vendors: set[str] = set()
    models: dict[str, WantModel] = {}
    for one in rows:
        row = f"agent_llm_configs[{one['id']}]"
        try:
            config = _read(one, row, where)
            _refuse_namesakes(config, models)
        except Unusable as error:
            yield Entry(row, Outcome.FAILED, why=str(error))
            continue
        by_agent.setdefault(config.agent, []).append(config)
        for step in config.steps:
            if isinstance(step, WantModel):
                models.setdefault(step.name, step)  # many rows name one model
            elif not isinstance(step, WantProvider):
                yield step
            elif step.name not in vendors:
                vendors.add(step.name)
                yield step
    yield from models.values()
    for agent, configs in by_agent.items():
        yield from _of_agent(agent, configs, where)


def _refuse_namesakes(config: _Config, models: Mapping[str, WantModel]) -> None:
    for step in config.steps:
        if not isinstance(step, WantModel):
            continue
        known = models.get(step.name, step)
        if known.model.provider_model != step.model.provider_model:
            raise Unusable(f"{step.name} is another model already, of {known.row}")


def _of_agent(agent: str, configs: list[_Config], where: Circumstances) -> Iterator[Step]:
    chosen = [one for one in configs if one.enabled] or configs
    for one in configs:
        if one not in chosen:
            why = f"it is switched off, and other rows of agent {agent} are not"
            yield Entry(one.row, Outcome.FAILED, why=why)
    several = len(chosen) > 1
    draft = ModelConfigDraft(
        display_name=f"Agent {agent}",
        selector=Selector(agent=agent),
        targets=tuple(
            replace(target, params=one.params) if several else target
            for one in chosen
            for target in one.targets
        ),
        params=GenerationParams() if several else chosen[0].params,
        disabled=not chosen[0].enabled,
        labels={name: value for one in reversed(chosen) for name, value in one.labels.items()},
    )
    row = ", ".join(one.row for one in chosen)
    yield WantConfig(row, where.tenant, fields.distinct_id("agent", agent), draft)


def _read(one: Row, row: str, where: Circumstances) -> _Config:
    agent = fields.text(one, "agent_id")
    if not fields.CALLERS_ID.fullmatch(agent):
        raise Unusable("agent_id is nothing a call could name an agent by")
    notes: dict[str, str] = {}
    kind = fields.kind_of(one, "provider")
    wanted: list[Step] = [_provider(kind, row, where)]
    credential = ""
    if sealed := fields.text(one, "api_key_encrypted"):
        own = _credential(one, sealed, row, kind, where)
        wanted.append(own)
        credential = own.name
    main = _model(one, "model_name", kind, where)
    wanted.append(WantModel(row, where.tenant, kind, main))
    # Without a version of its own it is named after the agent's configuration.
    targets = [TargetSpec(main.name, credential, price=fields.price(one, notes, version=""))]
    if fields.text(one, "fallback_model"):
        spare = fields.kind_of(one, "fallback_provider") if one.get("fallback_provider") else kind
        other = _model(one, "fallback_model", spare, where)
        wanted += [_provider(spare, row, where), WantModel(row, where.tenant, spare, other)]
        targets.append(TargetSpec(other.name))
    params = fields.params(one, notes)
    labels = _labels(one, notes)
    wanted += left_out(row, notes)
    enabled = fields.flag(one, "enabled", default=True)
    return _Config(row, agent, enabled, tuple(targets), params, labels, wanted)


def _labels(one: Row, notes: dict[str, str]) -> dict[str, str]:
    try:
        return fields.labels(fields.mapping(one, "metadata_json"), notes, "metadata_json.")
    except Unusable as error:
        notes["metadata_json"] = str(error)
        return {}


def _provider(kind: str, row: str, where: Circumstances) -> WantProvider:
    """The vendor, with the key that is in its usual variable, if credentials may refer to it."""
    variable = _VARIABLES.get(kind, "")
    source = Source(SourceType.ENVIRONMENT_VARIABLE, reference=variable)
    lent = source if variable in where.allowed else None
    return WantProvider(row, where.tenant, kind, ProviderDraft(kind=kind), lent, implied=True)


def _credential(one: Row, sealed: str, row: str, kind: str, where: Circumstances) -> WantCredential:
    """An agent's own key. Calls that name none use it only after all others of the provider."""
    source = fields.opened(sealed, where)
    draft = CredentialDraft(display_name=f"Agent {fields.text(one, 'agent_id')}", weight=0)
    credential_id = fields.distinct_id("agent-config", fields.text(one, "id"))
    return WantCredential(row, where.tenant, kind, credential_id, draft, source)


def _model(one: Row, column: str, kind: str, where: Circumstances) -> Model:
    written = fields.text(one, column)
    if not written:
        raise Unusable(f"{column} is empty")
    return manual_model(provider_name(where.tenant, kind), kind, written)
