"""What a provider's own model list changes in the catalogue."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from llm_service import catalog
from llm_service.domain.provider import (
    Model,
    ModelCapabilities,
    ModelOrigin,
    ModelStage,
    Provider,
)

MAX_ID_LENGTH = 63
_FACTS = (
    "display_name",
    "description",
    "input_modalities",
    "output_modalities",
    "context_window_tokens",
    "max_output_tokens",
    "embedding",
)


@dataclass(frozen=True, slots=True)
class Synced:
    """Rows to add, to update and to mark as retired."""

    added: tuple[Model, ...]
    updated: tuple[Model, ...]
    retired: tuple[Model, ...]

    @property
    def changes(self) -> int:
        return len(self.added) + len(self.updated) + len(self.retired)


def plan(
    provider: Provider, rows: Sequence[Model], found: Iterable[Model], now: datetime
) -> Synced:
    """Compare what the provider lists with what is stored, by the upstream's id.

    Manual models are left alone. What an operator wrote into a discovered one stays: a sync only
    fills in what is unknown, and brings back what had vanished.
    """
    by_upstream_id = {row.provider_model: row for row in rows}
    taken = {row.model_id for row in rows}
    listed: set[str] = set()
    added: list[Model] = []
    updated: list[Model] = []
    for model in found:
        if not model.provider_model or model.provider_model in listed:
            continue
        listed.add(model.provider_model)
        discovered = _with_facts(provider, model, now)
        row = by_upstream_id.get(model.provider_model)
        if row is None:
            model_id = _new_id(model.provider_model, taken)
            taken.add(model_id)
            added.append(replace(discovered, model_id=model_id))
        elif row.origin is ModelOrigin.DISCOVERED and (fresh := _filled(row, discovered)) != row:
            updated.append(replace(fresh, sync_time=now))
    return Synced(tuple(added), tuple(updated), tuple(_retired(rows, listed, now)))


def _retired(rows: Iterable[Model], listed: Collection[str], now: datetime) -> Iterable[Model]:
    for row in rows:
        vanished = row.provider_model not in listed and row.stage is not ModelStage.RETIRED
        if vanished and row.origin is ModelOrigin.DISCOVERED:
            yield replace(row, stage=ModelStage.RETIRED, retire_time=now, sync_time=now)


def _with_facts(provider: Provider, model: Model, now: datetime) -> Model:
    """A discovered model with what the catalogue knows of it where the provider says nothing."""
    discovered = replace(
        model, provider_name=provider.name, origin=ModelOrigin.DISCOVERED, sync_time=now
    )
    facts = catalog.facts(provider.kind, model.provider_model)
    if facts is None:
        return discovered
    filled = _filled(discovered, facts)
    return replace(
        filled,
        aliases=discovered.aliases or facts.aliases,
        replacement_model=discovered.replacement_model or facts.replacement_model,
    )


def _filled(model: Model, facts: Model) -> Model:
    """The model with its unknown facts, and with the other's place in life."""
    known: dict[str, Any] = {name: getattr(model, name) or getattr(facts, name) for name in _FACTS}
    return replace(
        model,
        capabilities=_capabilities(model.capabilities, facts.capabilities),
        stage=_stage(model, facts),
        retire_time=facts.retire_time if model.stage is ModelStage.RETIRED else model.retire_time,
        **known,
    )


def _stage(model: Model, facts: Model) -> ModelStage | None:
    if model.stage is None or model.stage is ModelStage.RETIRED:
        return facts.stage
    return model.stage


def _capabilities(known: ModelCapabilities, other: ModelCapabilities) -> ModelCapabilities:
    return ModelCapabilities(
        **{
            one.name: getattr(other, one.name)
            if getattr(known, one.name) is None
            else getattr(known, one.name)
            for one in fields(ModelCapabilities)
        }
    )


def _new_id(provider_model: str, taken: Collection[str]) -> str:
    """The id for an upstream's id, made unique by a number."""
    slug = catalog.model_id(provider_model)
    if slug not in taken:
        return slug
    stem = slug[: MAX_ID_LENGTH - 6].rstrip("-")
    return next(f"{stem}-{n}" for n in itertools.count(2) if f"{stem}-{n}" not in taken)
