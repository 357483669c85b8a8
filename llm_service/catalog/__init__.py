"""Facts about models, as data: `models.json`, and the values it becomes."""

import functools
import re
from collections.abc import Mapping
from importlib.resources import files

import msgspec

from llm_service.catalog.wire import wire_facts as wire_facts
from llm_service.domain.content import Modality
from llm_service.domain.provider import (
    Model,
    ModelCapabilities,
    ModelOrigin,
    ModelStage,
    Price,
    PriceItem,
)

# What vendors put behind a model's name to name one release: "-2025-08-07", "-20250807", "-0613".
_RELEASE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One model in `models.json`. `price`: nano-USD per million units, by meter."""

    model: str
    display_name: str = ""
    description: str = ""
    input: tuple[Modality, ...] = (Modality.TEXT,)
    output: tuple[Modality, ...] = (Modality.TEXT,)
    capabilities: dict[str, bool] = {}
    context_window_tokens: int = 0
    max_output_tokens: int = 0
    price: dict[str, int] | None = None
    stage: ModelStage | None = None


def built_in(kind: str) -> tuple[Model, ...]:
    """The models known of a kind; `provider_name` is "" for the caller to fill in."""
    return tuple(_models().get(kind, {}).values())


def facts(kind: str, provider_model: str) -> Model | None:
    """What is known of a model by its upstream id; a dated release has those of its undated name.

    None: nothing is known, and nothing follows from that.
    """
    known = _models().get(kind, {})
    exact = known.get(provider_model)
    return exact or known.get(_RELEASE.sub("", provider_model))


def model_id(provider_model: str) -> str:
    """A resource id made of an upstream id, which may hold what a resource id may not."""
    slug = re.sub(r"[^a-z0-9]+", "-", provider_model.lower()).strip("-")
    if not slug[:1].isalpha():
        slug = f"m-{slug}"
    return slug[:63].rstrip("-")


@functools.cache
def _models() -> Mapping[str, Mapping[str, Model]]:
    text = files(__package__).joinpath("models.json").read_bytes()
    entries = msgspec.json.decode(text, type=dict[str, list[_Entry]])
    return {
        kind: {entry.model: _to_model(entry) for entry in models}
        for kind, models in entries.items()
    }


def _to_model(entry: _Entry) -> Model:
    return Model(
        provider_name="",
        model_id=model_id(entry.model),
        provider_model=entry.model,
        origin=ModelOrigin.BUILT_IN,
        display_name=entry.display_name,
        description=entry.description,
        input_modalities=entry.input,
        output_modalities=entry.output,
        capabilities=ModelCapabilities(**entry.capabilities),
        context_window_tokens=entry.context_window_tokens,
        max_output_tokens=entry.max_output_tokens,
        price=_to_price(entry.price),
        stage=entry.stage,
    )


def _to_price(price: dict[str, int] | None) -> Price | None:
    if price is None:
        return None
    return Price("built-in", tuple(PriceItem(meter, nanos) for meter, nanos in price.items()))
