"""Which targets may serve a call, and in which order."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from llm_service import catalog
from llm_service.domain.completion import Preference, RoutingOptions
from llm_service.domain.provider import SEALED_SOURCES, Credential, Model, ModelOrigin, Provider
from llm_service.errors import (
    GatewayError,
    ModelNotFound,
    NoRoute,
    ProviderCredentialMissing,
    ProviderDisabled,
)
from llm_service.gateway import pricing
from llm_service.gateway.configuration import View
from llm_service.gateway.destinations import is_bound_elsewhere
from llm_service.gateway.offers import Pair
from llm_service.gateway.resolution import REQUEST, Choice, Resolution
from llm_service.gateway.signals import NoSignals, Signals
from llm_service.gateway.targets import Target

DEFAULT_PRIORITY = 100

MOST_TARGETS = 16
"""Of one chain: as many as a call may ask for attempts."""

_NO_SIGNALS = NoSignals()
_SOME_TOKENS = 1000
_MOST_PINNED = 1000  # of a view, some 1 KiB each


class Wanted(Protocol):
    """What a call asks of whoever serves it."""

    def refuses(self, target: Target) -> bool:
        """It is known not to do what is asked, or not for the money."""
        ...

    def expected_cost(self, target: Target) -> int | None:
        """An estimate in nano-USD; None: not known."""
        ...


class Router:
    """Orders targets, by what is stored of them and by how they have been lately.

    `chance`: numbers from 0 to 1; with the same ones the order is the same.
    """

    def __init__(
        self, signals: Signals = _NO_SIGNALS, chance: Callable[[], float] = random.random
    ) -> None:
        self._signals = signals
        self._chance = chance

    def targets(
        self, view: View, resolution: Resolution, wanted: Wanted | None = None
    ) -> tuple[Target, ...]:
        """The chain to try, first choice first; never empty.

        Among models of one name: by the preference, then lower priority first, then by weight
        (drawn by `affinity_key`, if given, so that the same key meets the same target); those that
        cannot do what is asked come last. Of the whole chain, those with an open circuit do.

        Args:
            view: what is configured.
            resolution: what it makes of the call.
            wanted: what the call asks; None: nothing is known of it.

        Raises:
            ModelNotFound: the caller named a model nobody serves.
            ProviderDisabled: whoever serves it is switched off, and no fallback can.
            NoRoute: nothing says which model, nobody serves the configured one, or the caller's own
                provider lists leave nobody.
            ProviderCredentialMissing: no provider that serves the model has the configured
                credential.
        """
        options = resolution.routing
        if not resolution.choices:
            raise NoRoute("the request names no model, and no configuration or default model does")
        first, *fallbacks = resolution.choices
        chain: list[Target] = []
        refusal: GatewayError | None = None
        try:
            chain += self._first(view, first, options, wanted)
        except (ProviderDisabled, NoRoute, ProviderCredentialMissing) as error:
            refusal = error
        if options.disable_fallback:
            fallbacks = []
            chain = chain[:1]
        for choice in fallbacks:
            # A fallback that cannot serve now is passed over: it is there for when others cannot.
            with suppress(ModelNotFound, ProviderDisabled, NoRoute, ProviderCredentialMissing):
                chain += self._serving(view, choice, options, wanted)
        if refusal is not None and not chain:
            raise refusal
        return self._chain(chain)

    def embedding_targets(
        self, view: View, resolution: Resolution, wanted: Wanted | None = None
    ) -> tuple[Target, ...]:
        """The chain to try, first choice first; never empty, and of one model.

        Choices after the first only count where they are the same model: another provider of it.

        Raises:
            ModelNotFound, ProviderDisabled, ProviderCredentialMissing: as `targets`.
            NoRoute: as `targets`, or the name stands for different models.
        """
        options = resolution.routing
        if not resolution.choices:
            raise NoRoute("the request names no model, and no configuration does")
        first, *others = resolution.choices
        kinds = self._spaces(view, first, options)
        chain = self._first(view, first, options, wanted)
        if options.disable_fallback:
            return tuple(chain[:1])
        for choice in others:
            with suppress(ModelNotFound, ProviderDisabled, NoRoute, ProviderCredentialMissing):
                serving = self._serving(view, choice, options, wanted)
                chain += (target for target in serving if _vectors(target.model) in kinds)
        return self._chain(chain)

    def _spaces(self, view: View, choice: Choice, options: RoutingOptions) -> set[tuple[str, int]]:
        """The vectors a name stands for: of one space, whoever makes them."""
        name = choice.spec.model
        with suppress(ModelNotFound):  # `_first` says which error it is
            kinds = {_vectors(model) for _, model in _offering(view, choice, options)}
            spaces, lengths = ({one[n] for one in kinds} for n in (0, 1))
            if len(spaces) > 1 or len(lengths - {0}) > 1:
                raise NoRoute(
                    f"{_shown(name)} stands for different models, whose vectors do not mix",
                    metadata={"model": name},
                )
            return kinds
        return set()

    def _chain(self, chain: Sequence[Target]) -> tuple[Target, ...]:
        if len(chain) == 1:
            return tuple(chain)
        # Never away altogether: where all circuits are open, somebody must find out whether one is
        # well again.
        return tuple(sorted(_unique(chain), key=self._signals.ejected)[:MOST_TARGETS])

    def _first(
        self, view: View, choice: Choice, options: RoutingOptions, wanted: Wanted | None
    ) -> list[Target]:
        try:
            return self._serving(view, choice, options, wanted)
        except ModelNotFound as error:
            if choice.origin == REQUEST:
                raise
            raise NoRoute(
                "no provider serves the configured model", metadata={"model": choice.spec.model}
            ) from error

    def _serving(
        self, view: View, choice: Choice, options: RoutingOptions, wanted: Wanted | None
    ) -> list[Target]:
        """Who serves it, best first."""
        pairs = _offering(view, choice, options)
        affinity = options.affinity_key
        if len(pairs) == 1:
            return [self._target(view, *pairs[0], choice, affinity)]
        key = self._preference(options, wanted)
        ranked = self._ranked(pairs, affinity, None if key else MOST_TARGETS)
        found = [self._target(view, p, m, choice, affinity) for p, m in ranked]
        if key is not None:
            found.sort(key=key)
        found.sort(key=self._signals.ejected)
        if wanted is not None:
            found.sort(key=wanted.refuses)
        return found[:MOST_TARGETS]

    def _preference(
        self, options: RoutingOptions, wanted: Wanted | None
    ) -> Callable[[Target], tuple[bool, float]] | None:
        """What to sort by before priority; None: nothing."""
        signals = self._signals
        match options.preference:
            case Preference.COST:
                cost = wanted.expected_cost if wanted is not None else _list_cost
                return lambda target: _unknown_last(cost(target))
            case Preference.LATENCY if options.affinity_key is None:
                return lambda target: _unknown_first(signals.first_token_seconds(target))
            case Preference.THROUGHPUT if options.affinity_key is None:
                return lambda target: _unknown_first(signals.tokens_per_second(target), -1)
        return None

    def _target(
        self,
        view: View,
        provider: Provider,
        model: Model,
        choice: Choice,
        affinity_key: str | None,
    ) -> Target:
        if name := choice.spec.credential:
            held = view.credentials.get(provider.uid, ())
            named = next((c for c in held if c.name == name and _at_hand(c, provider)), None)
            return Target(provider, model, named, choice=choice)
        usable = self._credentials(view, provider, model, affinity_key)
        return Target(provider, model, usable[0] if usable else None, usable[1:], choice)

    def _credentials(
        self, view: View, provider: Provider, model: Model, affinity_key: str | None
    ) -> tuple[Credential, ...]:
        """The provider's usable ones: its default first, then the others drawn by weight.

        Those with an open circuit come last. Where all are rejected they are tried all the same: a
        vendor's bad hour must not outlast itself.
        """
        at_hand = [c for c in view.credentials.get(provider.uid, ()) if _at_hand(c, provider)]
        usable = [c for c in at_hand if not c.rejected] or at_hand
        if len(usable) > 1:
            usable.sort(key=lambda c: self._draw(affinity_key, c.name, c.weight), reverse=True)
            usable.sort(key=lambda c: c.name != provider.default_credential)
            usable.sort(key=lambda c: self._signals.ejected(Target(provider, model, c)))
        return tuple(usable)

    def _ranked(
        self, pairs: Sequence[Pair], affinity_key: str | None, most: int | None
    ) -> list[Pair]:
        """Lower priority first; of equals, one with a weight of 2 twice as often as one with 1."""
        if most is not None and most < len(pairs):
            # Lots are drawn among equals only, and not for places that nobody will see.
            last = sorted(_priority(*pair) for pair in pairs)[most - 1]
            pairs = [pair for pair in pairs if _priority(*pair) <= last]
        drawn = sorted(
            pairs,
            key=lambda pair: self._draw(affinity_key, pair[1].name, pair[0].weight),
            reverse=True,
        )
        return sorted(drawn, key=lambda pair: _priority(*pair))[:most]

    def _draw(self, affinity_key: str | None, name: str, weight: int | None) -> float:
        """A number whose order over names is a weighted draw (Efraimidis and Spirakis, 2006)."""
        if weight == 0:
            return -1.0
        if affinity_key is None:
            chance = self._chance()
        else:
            digest = hashlib.blake2b(f"{affinity_key}\0{name}".encode(), digest_size=8).digest()
            chance = int.from_bytes(digest) / 2**64
        return float(chance ** (1.0 / (weight or 1)))


async def load_prices(view: View, options: RoutingOptions) -> None:
    """Have the prices at hand by which targets are ordered; reading the public list blocks."""
    asks = options.preference is Preference.COST or options.max_cost_nano_usd is not None
    if asks and any(pricing.needs_loading(one.kind) for one in view.providers.values()):
        await asyncio.to_thread(pricing.load)


def _unknown_last(value: float | None) -> tuple[bool, float]:
    return value is None, value or 0.0


def _unknown_first(value: float | None, sign: int = 1) -> tuple[bool, float]:
    """Who is never asked would never become known."""
    return value is not None, sign * (value or 0.0)


def _list_cost(target: Target) -> int | None:
    """Of a call nothing is known of: as many tokens in as out."""
    price = pricing.price_of(target.provider.kind, target.model, datetime.now(UTC))
    return pricing.estimate(price, _SOME_TOKENS, _SOME_TOKENS)


def _vectors(model: Model) -> tuple[str, int]:
    """What makes two models' vectors alike: their space, and their length if known."""
    known = model.embedding
    space = (known.vector_space if known else "") or model.provider_model
    return space, known.dimensions if known else 0


def _offering(view: View, choice: Choice, options: RoutingOptions) -> list[Pair]:
    """Who serves it, in no order; never empty."""
    name = choice.spec.model
    if "/models/" in name:
        pairs = [view.pinned.get(name) or _pinned(view, name)]
    else:
        pairs = list(view.offers.get(name, ()))
    if not pairs:
        raise ModelNotFound(
            f"no provider serves the model {_shown(name)}", metadata={"model": name}
        )
    if choice.spec.credential:
        pairs = _owning(pairs, choice.spec.credential)
    enabled = [(p, m) for p, m in pairs if not p.disabled and not m.disabled]
    if not enabled:
        raise _disabled(pairs)
    admitted = [(p, m) for p, m in enabled if _admitted(p, options)]
    if not admitted:
        raise NoRoute("routing.allowed_providers and excluded_providers leave no provider")
    return admitted


def _owning(pairs: list[tuple[Provider, Model]], credential: str) -> list[tuple[Provider, Model]]:
    """Those of the provider whose credential it is."""
    owner = credential.partition("/credentials/")[0]
    found = [(p, m) for p, m in pairs if p.name == owner]
    if not found:
        raise ProviderCredentialMissing(
            f"no provider that serves the model has the configured {credential}",
            metadata={"credential": credential},
        )
    return found


def _pinned(view: View, name: str) -> Pair:
    found = _named(view, name)
    # Callers choose the names: of those nobody lists there is no end.
    if len(view.pinned) < _MOST_PINNED:
        view.pinned[name] = found
    return found


def _named(view: View, name: str) -> Pair:
    provider_name, _, model_id = name.partition("/models/")
    provider = view.providers.get(provider_name)
    if provider is None or not model_id:
        raise ModelNotFound(f"there is no model {_shown(name)}", metadata={"model": name})
    known = view.models.get(name)
    if known is not None:
        return provider, known
    for owner, model in view.offers.get(model_id, ()):
        if owner.uid == provider.uid:
            return owner, model
    return provider, _unlisted(provider, model_id)


def _unlisted(provider: Provider, model_id: str) -> Model:
    """A model nobody told us of still works: its upstream id is what the caller wrote."""
    facts = catalog.facts(provider.kind, model_id)
    if facts is None:
        return Model(provider.name, model_id, model_id, ModelOrigin.MANUAL)
    return replace(
        facts, provider_name=provider.name, model_id=model_id, provider_model=model_id, aliases=()
    )


def _disabled(pairs: Sequence[tuple[Provider, Model]]) -> GatewayError:
    provider, model = pairs[0]
    what = provider.name if provider.disabled else model.name
    return ProviderDisabled(f"{what} is disabled", metadata={"resource": what})


def _admitted(provider: Provider, options: RoutingOptions) -> bool:
    if provider.name in options.excluded_providers:
        return False
    return not options.allowed_providers or provider.name in options.allowed_providers


def _priority(provider: Provider, model: Model) -> int:
    for priority in (model.priority, provider.priority):
        if priority is not None:
            return priority
    return DEFAULT_PRIORITY


def _at_hand(credential: Credential, provider: Provider) -> bool:
    """It has a secret for this address, or says where one is, and may be used now."""
    if credential.disabled or is_bound_elsewhere(credential, provider):
        return False
    if credential.source_type in SEALED_SOURCES and not credential.sealed:
        return False
    return credential.expire_time is None or credential.expire_time > datetime.now(UTC)


def _unique(chain: Iterable[Target]) -> Iterable[Target]:
    seen = set()
    for target in chain:
        key = target.model.name, target.choice.spec.credential
        if key not in seen:
            seen.add(key)
            yield target


def _shown(name: str) -> str:
    """A caller's own word, safe to send back to it."""
    return f'"{name}"' if name.isprintable() else "with that name"
