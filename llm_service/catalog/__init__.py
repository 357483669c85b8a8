"""Facts about models, as data: `models/<kind>.json`, and the values they become."""

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import msgspec

from llm_service.catalog.wire import wire_facts as wire_facts
from llm_service.domain.content import Modality
from llm_service.domain.provider import (
    EmbeddingInfo,
    Model,
    ModelCapabilities,
    ModelOrigin,
    ModelStage,
    Price,
    PriceItem,
)

# What vendors put behind a model's name to name one release: "-2025-08-07", "-20250807", "-0613".
_RELEASE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")

# What may stand around the id itself in the names of a kind: a path or an ARN, where Bedrock is to
# run it, which of Ollama's sizes.
_AROUND = {
    "bedrock": re.compile(r"^.*/|^(global|us|us-gov|eu|apac|jp|au|ca|sa|me|af|il|mx)\."),
    "fireworks": re.compile(r"^.*/"),
    "google": re.compile(r"^.*/"),
    "ollama": re.compile(r":.*$"),
}


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One model in a file, its family's fields filled in.

    An empty `input` or `output` is unknown, as is a capability that is not there. `price`:
    nano-USD per million units, by meter. `retire_date`: the day its vendor switches it off.
    """

    model: str
    display_name: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    input: tuple[Modality, ...] = ()
    output: tuple[Modality, ...] = ()
    capabilities: dict[str, bool | None] = {}
    context_window_tokens: int = 0
    max_output_tokens: int = 0
    embedding: EmbeddingInfo | None = None
    price: dict[str, int] | None = None
    stage: ModelStage | None = None
    retire_date: date | None = None
    replacement_model: str = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """What is known of a kind's models on the day of `version`, and from where.

    `families`: fields that models share; a model's own win, capability by capability. `offered`
    False: what an account has is for the account to say, and these are facts about names it may
    use. `like`: another kind that serves the same models, with life-cycles of its own.
    """

    version: str
    sources: tuple[str, ...]
    models: list[dict[str, Any]]
    families: dict[str, dict[str, Any]] = {}
    offered: bool = True
    like: str = ""


def built_in(kind: str) -> tuple[Model, ...]:
    """The models every account of a kind may use; `provider_name` is "" for the caller to fill in.

    Retired ones are among them, and say so.
    """
    return tuple(_models(kind).values()) if _file(kind).offered else ()


def facts(kind: str, provider_model: str) -> Model | None:
    """What is known of a model by its upstream id or by an alias of it.

    A dated release has the facts of its undated name, whose aliases stay its own. None: nothing is
    known, and nothing follows from that.
    """
    known = _index(kind)
    bare = _bare(kind, provider_model)
    if (exact := known.get(bare)) is not None:
        return exact
    undated = known.get(_RELEASE.sub("", bare))
    return replace(undated, aliases=()) if undated else None


def model_id(provider_model: str) -> str:
    """A resource id made of an upstream id, which may hold what a resource id may not."""
    slug = re.sub(r"[^a-z0-9]+", "-", provider_model.lower()).strip("-")
    if not slug[:1].isalpha():
        slug = f"m-{slug}"
    return slug[:63].rstrip("-")


def _bare(kind: str, provider_model: str) -> str:
    """The id without what says where or how large: a path first, then a region before the name."""
    around = _AROUND.get(kind)
    return around.sub("", around.sub("", provider_model, 1), 1) if around else provider_model


@functools.cache
def _file(kind: str) -> _File:
    path = files(__package__).joinpath("models", f"{kind}.json")
    if "/" in kind or not path.is_file():
        return _File("", (), [], offered=False)
    return msgspec.json.decode(path.read_bytes(), type=_File)


@functools.cache
def _models(kind: str) -> Mapping[str, Model]:
    """By upstream id, in the order of the file."""
    file = _file(kind)
    models = {
        model.provider_model: replace(model, stage=None, retire_time=None, replacement_model="")
        for model in (_models(file.like).values() if file.like else ())
    }
    for written in file.models:
        entry = msgspec.convert(_filled(written, file.families), _Entry)
        models[entry.model] = _to_model(entry)
    return MappingProxyType(models)


@functools.cache
def _index(kind: str) -> Mapping[str, Model]:
    """By every name without what may stand around it; a model's own id before another's alias."""
    models = _models(kind).values()
    index = {_bare(kind, model.provider_model): model for model in models}
    for model in models:
        for alias in model.aliases:
            index.setdefault(alias, model)
    return index


def _filled(written: Mapping[str, Any], families: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(written)
    family = families[own.pop("family")] if "family" in own else {}
    capabilities = {**family.get("capabilities", {}), **own.get("capabilities", {})}
    return {**family, **own, "capabilities": capabilities}


def _to_model(entry: _Entry) -> Model:
    retires = entry.retire_date
    return Model(
        provider_name="",
        model_id=model_id(entry.model),
        provider_model=entry.model,
        origin=ModelOrigin.BUILT_IN,
        aliases=entry.aliases,
        display_name=entry.display_name,
        description=entry.description,
        input_modalities=entry.input,
        output_modalities=entry.output,
        capabilities=ModelCapabilities(**entry.capabilities),
        context_window_tokens=entry.context_window_tokens,
        max_output_tokens=entry.max_output_tokens,
        price=_to_price(entry.price),
        embedding=entry.embedding,
        stage=entry.stage,
        retire_time=datetime.combine(retires, time(), UTC) if retires else None,
        replacement_model=entry.replacement_model,
    )


def _to_price(price: dict[str, int] | None) -> Price | None:
    if price is None:
        return None
    return Price("built-in", tuple(PriceItem(meter, nanos) for meter, nanos in price.items()))
