"""Who serves a model of some name: found when it is asked for, among what one owner holds.

An owner with a hundred accounts offers thousands of models, of which calls use a few. So built-in
models become an account's own only when a call names them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TypeVar

from llm_service import catalog
from llm_service.domain.provider import Model, ModelStage, Provider

V = TypeVar("V")
T = TypeVar("T")

Pair = tuple[Provider, Model]


class Offers(Mapping[str, tuple[Pair, ...]]):
    """From every name callers may use for a model (id, upstream id, alias) to the pairs serving it.

    In the order of the providers; disabled ones are in it, so that a refusal can say why.
    """

    def __init__(
        self, providers: Sequence[Provider], rows: Mapping[str, tuple[Model, ...]]
    ) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._rows = {name: found for name, found in rows.items() if name in self.providers}
        self._places = {name: place for place, name in enumerate(self.providers)}
        self._of_kind: dict[str, list[Provider]] = {}
        for provider in self.providers.values():
            self._of_kind.setdefault(provider.kind, []).append(provider)
        self._of_rows: dict[str, list[Pair]] = {}
        for provider_name, models in self._rows.items():
            for model in models:
                for name in names(model):
                    pair = self.providers[provider_name], model
                    self._of_rows.setdefault(name, []).append(pair)
        self._found: dict[str, tuple[Pair, ...]] = {}

    def __getitem__(self, name: str) -> tuple[Pair, ...]:
        found = self._found.get(name)
        if found is None:
            found = self._find(name)
            if not found:
                raise KeyError(name)
            self._found[name] = found  # no more names than rows and the catalogue have
        return found

    def __iter__(self) -> Iterator[str]:
        known = dict.fromkeys(self._of_rows)
        for kind in self._of_kind:
            known.update(dict.fromkeys(_built_in_by_name(kind)))
        return (name for name in known if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def model(self, provider: Provider, model_id: str) -> Model | None:
        """The provider's model of that id; None: it has none."""
        rows = self._rows.get(provider.name, ())
        for row in rows:
            if row.model_id == model_id:
                return row
        for model in _built_in_by_name(provider.kind).get(model_id, ()):
            if model.model_id == model_id and not _stands_for(rows, model):
                return replace(model, provider_name=provider.name)
        return None

    def _find(self, name: str) -> tuple[Pair, ...]:
        pairs = list(self._of_rows.get(name, ()))
        for kind, providers in self._of_kind.items():
            for model in _built_in_by_name(kind).get(name, ()):
                pairs += (
                    (provider, replace(model, provider_name=provider.name))
                    for provider in providers
                    if not _stands_for(self._rows.get(provider.name, ()), model)
                )
        return tuple(sorted(pairs, key=lambda pair: self._places[pair[0].name]))


class Models(Mapping[str, Model]):
    """From the resource name of each model of some owners to the model."""

    def __init__(self, owners: Sequence[Offers]) -> None:
        self._owners = owners

    def __getitem__(self, name: str) -> Model:
        provider_name, _, model_id = name.partition("/models/")
        for offers in self._owners:
            provider = offers.providers.get(provider_name)
            if provider and (model := offers.model(provider, model_id)):
                return model
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for offers in self._owners:
            yield from dict.fromkeys(model.name for pairs in offers.values() for _, model in pairs)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Layered(Mapping[str, V]):
    """Several owners' maps as one, none copied; of two that have a key, the first wins."""

    def __init__(self, *layers: Mapping[str, V]) -> None:
        self._layers = layers

    def __getitem__(self, key: str) -> V:
        found: V | None = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: str, default: V | T | None = None) -> V | T | None:  # type: ignore[override]
        """As of any mapping, which would raise and catch an error for what is not there."""
        for layer in self._layers:
            if (found := layer.get(key)) is not None:
                return found
        return default

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for layer in self._layers for key in layer))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Joined(Mapping[str, tuple[Pair, ...]]):
    """The offers of several owners as one: all who serve a name, the first owner's first."""

    def __init__(self, *owners: Offers) -> None:
        self._owners = owners
        self._found: dict[str, tuple[Pair, ...]] = {}

    def __getitem__(self, name: str) -> tuple[Pair, ...]:
        found = self._found.get(name)
        if found is None:
            found = tuple(pair for offers in self._owners for pair in offers.get(name, ()))
            if not found:
                raise KeyError(name)
            self._found[name] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for offers in self._owners for name in offers))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def models_of(provider: Provider, rows: Sequence[Model]) -> tuple[Model, ...]:
    """The provider's models: its rows, and the built-in ones no row stands for."""
    built_in = (
        replace(model, provider_name=provider.name)
        for model in catalog.built_in(provider.kind)
        if not _stands_for(rows, model) and model.stage is not ModelStage.RETIRED
    )
    return (*rows, *built_in)


def names(model: Model) -> set[str]:
    """What a caller may call it."""
    return {model.model_id, model.provider_model, *model.aliases}


def _stands_for(rows: Sequence[Model], model: Model) -> bool:
    """Whether one of a provider's rows is in the place of a built-in model."""
    known = (model.model_id, model.provider_model)
    return any(row.model_id in known or row.provider_model in known for row in rows)


@cache
def _built_in_by_name(kind: str) -> Mapping[str, tuple[Model, ...]]:
    found: dict[str, list[Model]] = {}
    for model in catalog.built_in(kind):
        if model.stage is not ModelStage.RETIRED:
            for name in names(model):
                found.setdefault(name, []).append(model)
    return {name: tuple(models) for name, models in found.items()}
