"""`llms`: models with priorities, and where their keys are."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm_service import providers as kinds
from llm_service.domain.model_config import TargetSpec
from llm_service.domain.provider import SourceType
from llm_service.gateway.admin.config_rules import MAX_TARGETS
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
)
from llm_service.gateway.admin.models import manual_model
from llm_service.gateway.admin.seed_registry import ACCOUNTS, NOWHERE
from llm_service.gateway.admin.seeds import DEFAULT

COLUMNS = {"llms": ("id", "name", "provider", "model_name")}
GLOBAL = "global"
_ADDRESSES = ("base_url", "endpoint", "api_base")
_SETTINGS = {"deployment_name": "deployment"}
_ENV = "_env"


@dataclass(frozen=True, slots=True)
class _Llm:
    """A row as far as it has been understood."""

    row: str
    default: bool
    account: WantProvider
    model: WantModel


def steps(rows: Sequence[Row], where: Circumstances) -> Iterator[Step]:
    """Accounts, models by priority, and for each scope with a default the chain that starts there.

    Rows with the same authentication share an account.
    """
    twice = Counter((fields.text(one, "provider"), fields.text(one, "model_name")) for one in rows)
    taken = Taken()
    by_tenant: dict[str, list[_Llm]] = {}
    for one in sorted(rows, key=lambda one: (_priority(one), str(one["id"]))):
        row = f"llms[{one['id']}]"
        notes: dict[str, str] = {}
        failures: dict[str, str] = {}
        many = twice[fields.text(one, "provider"), fields.text(one, "model_name")] > 1
        try:
            llm = _read(one, row, where, notes, failures, many=many)
            taken.take(llm.model.name, row)
        except Unusable as error:
            yield Entry(row, Outcome.FAILED, why=str(error))
            continue
        yield from (llm.account, llm.model, *left_out(row, notes))
        yield from (Entry(row, Outcome.FAILED, name, why) for name, why in failures.items())
        by_tenant.setdefault(llm.account.tenant, []).append(llm)
    for tenant, llms in by_tenant.items():
        yield from _chain(tenant, llms)


def _chain(tenant: str, llms: list[_Llm]) -> Iterator[Step]:
    """What a scope uses without being asked: its default, then the others that are switched on."""
    enabled = [llm for llm in llms if not llm.model.model.disabled]
    default = next((llm for llm in llms if llm.default), None)
    if default is None:
        return
    if default not in enabled:
        yield Entry(default.row, Outcome.LEFT, "is_default", "it is switched off")
        return
    chain = [default, *(llm for llm in enabled if llm is not default)]
    for llm in chain[MAX_TARGETS:]:
        why = f"a chain has at most {MAX_TARGETS} models"
        yield Entry(llm.row, Outcome.LEFT, f"{llm.model.name} of the default", why)
    targets = tuple(TargetSpec(llm.model.name) for llm in chain[:MAX_TARGETS])
    draft = ModelConfigDraft(display_name="Default", targets=targets)
    yield WantConfig(default.row, tenant, DEFAULT, draft)


def _read(
    one: Row,
    row: str,
    where: Circumstances,
    notes: dict[str, str],
    failures: dict[str, str],
    *,
    many: bool,
) -> _Llm:
    """`many`: other rows serve the same model, so that its name cannot tell them apart."""
    kind = fields.kind_of(one, "provider")
    scope = fields.text(one, "scope") or GLOBAL
    tenant = where.tenant if scope == GLOBAL else fields.tenant_id(scope)
    account = _account(one, row, kind, tenant, failures)
    bare = manual_model(account.name, kind, fields.text(one, "model_name"))
    config = _object(one, "config", notes)
    labels = {"owner": fields.text(one, "owner")} if fields.text(one, "owner") else {}
    default_params = fields.params(config, notes, "config.")
    for name in config:
        if name == "streaming":
            notes["config.streaming"] = "each call chooses by the RPC it makes"
        elif not fields.is_param(name):
            notes[f"config.{name[:64]}"] = "is no parameter of this service"
    model = replace(
        bare,
        model_id=fields.resource_id(fields.text(one, "name")) if many else bare.model_id,
        display_name=fields.text(one, "name"),
        description=fields.text(one, "description") or bare.description,
        default_params=default_params,
        disabled=not fields.flag(one, "enabled", default=True),
        priority=_priority(one),
        labels=fields.labels(labels, notes, ""),
    )
    default = fields.flag(one, "is_default", default=False)
    return _Llm(row, default, account, WantModel(row, tenant, account.provider_id, model))


def _account(one: Row, row: str, kind: str, tenant: str, failures: dict[str, str]) -> WantProvider:
    """The account a row authenticates with. What asks somebody to act is in `failures`."""
    try:
        meta = fields.mapping(one, "auth_meta")
    except Unusable as error:
        raise Unusable(f"auth_meta {error}") from None
    source = _source(meta, failures)
    draft = ProviderDraft(
        kind=kind, base_uri=_address(meta), settings=_settings(meta, kind, failures)
    )
    if _is_nowhere(meta, kind):
        draft = replace(draft, base_uri=NOWHERE, disabled=True)
        failures["auth_meta.endpoint"] = (
            f"no address is read from the environment: write base_uri of {kind}, and enable it"
        )
    usual = _is_usual(meta, kind)
    provider_id = kind if usual else f"{kind}-{_mark(one, meta)}"
    return WantProvider(row, tenant, provider_id, draft, source, implied=usual)


def _source(meta: dict[str, Any], failures: dict[str, str]) -> Source | None:
    if variable := meta.get("api_key_env"):
        return Source(SourceType.ENVIRONMENT_VARIABLE, reference=str(variable))
    if secret := meta.get("api_key"):
        return Source(SourceType.API_KEY, str(secret))
    if any(name.startswith("aws_") for name in meta):
        failures["auth_meta.aws_access_key_id"] = (
            "a key in two parts is not read from the environment: enter it, or lend the workload's "
            "identity"
        )
    return None


def _address(meta: dict[str, Any]) -> str:
    return next((str(meta[name]) for name in _ADDRESSES if meta.get(name)), "")


def _is_nowhere(meta: dict[str, Any], kind: str) -> bool:
    """The address is in a variable, and the kind has none of its own."""
    named = any(f"{name}{_ENV}" in meta for name in _ADDRESSES)
    return named and not _address(meta) and not kinds.provider_kind(kind).default_base_uri


def _settings(meta: dict[str, Any], kind: str, failures: dict[str, str]) -> dict[str, str]:
    """What is written out and is a setting of the kind; for the rest, why not."""
    known = json.loads(kinds.provider_kind(kind).settings_schema_json).get("properties", {})
    found: dict[str, str] = {}
    for name, value in meta.items():
        setting = _SETTINGS.get(name, name)
        if name in ("api_key", f"api_key{_ENV}", *_ADDRESSES) or name.startswith("aws_"):
            continue
        if name.endswith(_ENV):
            bare = name.removesuffix(_ENV)
            failures[f"auth_meta.{name[:64]}"] = (
                f"only keys are read from the environment: write {bare} into the provider"
            )
        elif setting in known:
            found[setting] = str(value)
        else:
            failures[f"auth_meta.{name[:64]}"] = f"is no setting of kind {kind}"
    return found


def _is_usual(meta: dict[str, Any], kind: str) -> bool:
    """Nothing in it tells this account from the one that everybody means by the vendor's name."""
    account = ACCOUNTS.get(kind)
    usual = {"", account.variable if account else ""}
    named = str(meta.get(f"api_key{_ENV}") or "")
    return named in usual and all(name.endswith(_ENV) for name in meta)


def _mark(one: Row, meta: dict[str, Any]) -> str:
    """What tells an account from others of its vendor. No part of it is made of a secret."""
    if "api_key" in meta:
        return fields.digest(fields.text(one, "name"))
    return fields.digest(json.dumps(meta, sort_keys=True, default=str))


def _object(one: Row, column: str, notes: dict[str, str]) -> dict[str, Any]:
    try:
        return fields.mapping(one, column)
    except Unusable as error:
        notes[column] = str(error)
        return {}


def _priority(one: Row) -> int:
    try:
        value = fields.number(one.get("priority"))
    except Unusable:
        value = None
    return 100 if value is None else int(value)
