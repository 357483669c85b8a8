"""`llm_providers` and `llm_provider_usage` by tenant: one account for each vendor."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm_service import providers as kinds
from llm_service.domain.model_config import TargetSpec
from llm_service.domain.provider import Model, RateLimits
from llm_service.gateway.admin.drafts import ModelConfigDraft, ProviderDraft, Source
from llm_service.gateway.admin.imports import fields
from llm_service.gateway.admin.imports.fields import Row, Taken, Unusable
from llm_service.gateway.admin.imports.steps import (
    Circumstances,
    Entry,
    Outcome,
    Step,
    WantConfig,
    WantModel,
    WantProvider,
    left_out,
    provider_name,
)
from llm_service.gateway.admin.models import manual_model
from llm_service.gateway.admin.seeds import DEFAULT

COLUMNS = {
    "llm_providers": ("id", "tenant_id", "provider_type", "encrypted_api_key"),
    "llm_provider_usage": ("id", "provider_id", "date", "model"),
}
USAGE = "llm_provider_usage"
FIRST = 0
_ADDRESSES = ("base_url", "api_base", "endpoint", "azure_endpoint", "host")
_MODELS = ("model", "default_model", "model_name")
_SETTINGS = {"deployment_name": "deployment", "organization_id": "organization"}
_LIMITS = {
    "requests_per_minute": "requests_per_minute",
    "rate_limit_per_minute": "requests_per_minute",
    "rate_limit_per_day": "requests_per_day",
    "requests_per_day": "requests_per_day",
    "tokens_per_minute": "tokens_per_minute",
}


@dataclass(frozen=True, slots=True)
class _Read:
    """What a row's `config` comes to."""

    base_uri: str
    settings: dict[str, str]
    limits: RateLimits
    model: Model | None


def steps(rows: Sequence[Row], usage: Sequence[Row], where: Circumstances) -> Iterator[Step]:
    """Each tenant's providers with their keys, and the default one's model, if it names one."""
    taken = Taken()
    for one in rows:
        row = f"llm_providers[{one['id']}]"
        notes: dict[str, str] = {}
        try:
            tenant = fields.tenant_id(fields.text(one, "tenant_id"))
            kind = fields.kind_of(one, "provider_type")
            taken.take(provider_name(tenant, kind), row)
            read = _config(one, tenant, kind, notes)
        except Unusable as error:
            yield Entry(row, Outcome.FAILED, why=str(error))
            continue
        yield from _provider(one, row, tenant, kind, read, where)
        yield from left_out(row, notes)
    yield from _usage(usage)


def _provider(
    one: Row, row: str, tenant: str, kind: str, read: _Read, where: Circumstances
) -> Iterator[Step]:
    default = fields.flag(one, "is_default", default=False)
    draft = ProviderDraft(
        kind=kind,
        base_uri=read.base_uri,
        settings=read.settings,
        disabled=not fields.flag(one, "is_active", default=True),
        priority=FIRST if default else None,
        rate_limits=read.limits,
    )
    source: Source | None = None
    trouble = ""
    sealed = fields.text(one, "encrypted_api_key")
    if kinds.provider_kind(kind).credential_source_types:
        try:
            source = fields.opened(sealed, where) if sealed else None
        except Unusable as error:
            trouble = str(error)
    yield WantProvider(row, tenant, kind, draft, source)
    if trouble and kinds.provider_kind(kind).needs_credential:
        yield Entry(row, Outcome.FAILED, "encrypted_api_key", trouble)
    elif trouble:
        yield Entry(row, Outcome.LEFT, "encrypted_api_key", f"{kind} needs none; {trouble}")
    if read.model is not None:
        yield WantModel(row, tenant, kind, read.model)
    if default and read.model is not None:
        targets = (TargetSpec(read.model.name),)
        yield WantConfig(row, tenant, DEFAULT, ModelConfigDraft("Default", targets=targets))
    elif default:
        why = "it names no model, so it only comes first among the tenant's providers"
        yield Entry(row, Outcome.LEFT, "is_default", why)


def _config(one: Row, tenant: str, kind: str, notes: dict[str, str]) -> _Read:
    try:
        config = fields.mapping(one, "config")
    except Unusable as error:
        raise Unusable(f"config {error}") from None
    known = json.loads(kinds.provider_kind(kind).settings_schema_json).get("properties", {})
    settings: dict[str, str] = {}
    written = next((str(config[name]) for name in _MODELS if config.get(name)), "")
    for name, value in config.items():
        setting = _SETTINGS.get(name, name)
        if name in (*_ADDRESSES, *_MODELS, *_LIMITS) or (fields.is_param(name) and written):
            continue
        if setting in known and isinstance(value, str):
            settings[setting] = value
        elif fields.is_param(name):
            notes[f"config.{name}"] = "is of no one model: write it into a model configuration"
        else:
            notes[f"config.{name[:64]}"] = f"is no setting of kind {kind}"
    model = None
    if written:
        params = fields.params(config, notes, "config.")
        bare = manual_model(provider_name(tenant, kind), kind, written)
        model = replace(bare, default_params=params)
    base_uri = next((str(config[name]) for name in _ADDRESSES if config.get(name)), "")
    return _Read(base_uri, settings, _limits(config, notes), model)


def _limits(config: dict[str, Any], notes: dict[str, str]) -> RateLimits:
    found: dict[str, int] = {}
    for name, ours in _LIMITS.items():
        try:
            value = fields.number(config.get(name))
        except Unusable as error:
            notes[f"config.{name}"] = str(error)
        else:
            if value is not None:
                found[ours] = int(value)
    return RateLimits(**found)


def _usage(rows: Sequence[Row]) -> Iterator[Step]:
    """Daily sums cannot become records of attempts: which calls they were is not in them."""
    by_provider: dict[str, list[Row]] = {}
    for one in rows:
        by_provider.setdefault(fields.text(one, "provider_id"), []).append(one)
    for provider_id, days in by_provider.items():
        dates = sorted(fields.text(one, "date") for one in days)
        calls = sum(int(one.get("request_count") or 0) for one in days)
        why = (
            f"{len(days)} daily sums of {calls} calls, {dates[0]} to {dates[-1]}: a usage record "
            "here is one attempt, and sums do not tell those; they stay where they are"
        )
        yield Entry(f"{USAGE} of llm_providers[{provider_id}]", Outcome.LEFT, why=why)
