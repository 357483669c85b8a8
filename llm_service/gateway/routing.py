"""Which targets may serve a call, and in which order."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llm_service import catalog
from llm_service.domain.completion import RoutingOptions
from llm_service.domain.model_config import TargetSpec
from llm_service.domain.provider import SEALED_SOURCES, Credential, Model, ModelOrigin, Provider
from llm_service.errors import (
    GatewayError,
    ModelNotFound,
    NoRoute,
    ProviderCredentialMissing,
    ProviderDisabled,
)
from llm_service.gateway.configuration import View
from llm_service.gateway.destinations import is_bound_elsewhere
from llm_service.gateway.resolution import REQUEST, Choice, Resolution

DEFAULT_PRIORITY = 100
DEFAULT_MAX_ATTEMPTS = 3

ANYTHING = Choice(TargetSpec(""))
"""Of a target that nobody chose in particular."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model on a provider, and the credential to use there; None: it needs none or has none.

    `other_credentials`: the provider's other usable ones, best first; none where the choice names
    the credential to use.
    """

    provider: Provider
    model: Model
    credential: Credential | None
    other_credentials: tuple[Credential, ...] = ()
    choice: Choice = ANYTHING


def targets(view: View, resolution: Resolution) -> tuple[Target, ...]:
    """The chain to try, first choice first; never empty.

    Among models of one name: lower priority first, then by weight (drawn by `affinity_key`, if
    given, so that the same key meets the same target).

    Raises:
        ModelNotFound: the caller named a model nobody serves.
        ProviderDisabled: whoever serves it is switched off, and no fallback can.
        NoRoute: nothing says which model, nobody serves the configured one, or the caller's own
            provider lists leave nobody.
        ProviderCredentialMissing: no provider that serves the model has the configured credential.
    """
    options = resolution.routing
    if not resolution.choices:
        raise NoRoute("the request names no model, and no configuration or default model does")
    most = options.max_attempts or DEFAULT_MAX_ATTEMPTS
    first, *fallbacks = resolution.choices
    chain: list[Target] = []
    refusal: GatewayError | None = None
    try:
        chain += _first(view, first, options)
    except (ProviderDisabled, NoRoute, ProviderCredentialMissing) as error:
        refusal = error
    if options.disable_fallback:
        fallbacks = []
        chain = chain[:1]
    for choice in fallbacks:
        # A fallback that cannot serve now is passed over: it is there for when others cannot.
        with suppress(ModelNotFound, ProviderDisabled, NoRoute, ProviderCredentialMissing):
            chain += _serving(view, choice, options, most)
    if refusal is not None and not chain:
        raise refusal
    return tuple(_unique(chain))[:most]


def embedding_targets(view: View, resolution: Resolution) -> tuple[Target, ...]:
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
    chain = _first(view, first, options)
    kinds = {_vectors(target) for target in chain}
    if len({model for model, _ in kinds}) > 1 or len({length for _, length in kinds} - {0}) > 1:
        raise NoRoute(
            f"{_shown(first.spec.model)} stands for different models, whose vectors do not mix",
            metadata={"model": first.spec.model},
        )
    if options.disable_fallback:
        return tuple(chain[:1])
    for choice in others:
        with suppress(ModelNotFound, ProviderDisabled, NoRoute, ProviderCredentialMissing):
            chain += (t for t in _serving(view, choice, options) if _vectors(t) in kinds)
    return tuple(_unique(chain))[: options.max_attempts or DEFAULT_MAX_ATTEMPTS]


def _vectors(target: Target) -> tuple[str, int]:
    """What makes two targets' vectors alike: their space, and their length if known."""
    known = target.model.embedding
    space = (known.vector_space if known else "") or target.model.provider_model
    return space, known.dimensions if known else 0


def _first(
    view: View, choice: Choice, options: RoutingOptions, most: int | None = None
) -> list[Target]:
    try:
        return _serving(view, choice, options, most)
    except ModelNotFound as error:
        if choice.origin == REQUEST:
            raise
        raise NoRoute(
            "no provider serves the configured model", metadata={"model": choice.spec.model}
        ) from error


def _serving(
    view: View, choice: Choice, options: RoutingOptions, most: int | None = None
) -> list[Target]:
    """Who serves it, best first; `most`: how many of them are enough."""
    name = choice.spec.model
    pairs = [_pinned(view, name)] if "/models/" in name else list(view.offers.get(name, ()))
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
    ranked = admitted if len(admitted) == 1 else _ranked(admitted, options.affinity_key, most)
    return [_target(view, p, m, choice, options.affinity_key) for p, m in ranked[:most]]


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


def _target(
    view: View, provider: Provider, model: Model, choice: Choice, affinity_key: str | None
) -> Target:
    if name := choice.spec.credential:
        held = view.credentials.get(provider.uid, ())
        credential = next((c for c in held if c.name == name and _at_hand(c, provider)), None)
        return Target(provider, model, credential, choice=choice)
    usable = _credentials(view, provider, affinity_key)
    return Target(provider, model, usable[0] if usable else None, usable[1:], choice)


def _ranked(
    pairs: list[tuple[Provider, Model]], affinity_key: str | None, most: int | None
) -> list[tuple[Provider, Model]]:
    if most is not None and most < len(pairs):
        # Lots are drawn among equals only, and not for places that nobody will see.
        last = sorted(_priority(*pair) for pair in pairs)[most - 1]
        pairs = [pair for pair in pairs if _priority(*pair) <= last]
    return sorted(_shuffled(pairs, affinity_key), key=lambda pair: _priority(*pair))


def _pinned(view: View, name: str) -> tuple[Provider, Model]:
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


def _shuffled(
    pairs: list[tuple[Provider, Model]], affinity_key: str | None
) -> list[tuple[Provider, Model]]:
    """A random order in which a weight of 2 comes first twice as often as a weight of 1."""
    return sorted(
        pairs,
        key=lambda pair: _draw(affinity_key, pair[1].name, pair[0].weight),
        reverse=True,
    )


def _draw(affinity_key: str | None, name: str, weight: int | None) -> float:
    """A number whose order over names is a weighted draw (Efraimidis and Spirakis, 2006)."""
    if weight == 0:
        return -1.0
    if affinity_key is None:
        chance = random.random()  # noqa: S311 - spreads load, guards nothing
    else:
        digest = hashlib.blake2b(f"{affinity_key}\0{name}".encode(), digest_size=8).digest()
        chance = int.from_bytes(digest) / 2**64
    return float(chance ** (1.0 / (weight or 1)))


def _credentials(
    view: View, provider: Provider, affinity_key: str | None
) -> tuple[Credential, ...]:
    """The provider's usable ones: its default first, then the others drawn by weight.

    Where all are rejected they are tried all the same: a vendor's bad hour must not outlast itself.
    """
    at_hand = [c for c in view.credentials.get(provider.uid, ()) if _at_hand(c, provider)]
    usable = [c for c in at_hand if not c.rejected] or at_hand
    if len(usable) > 1:
        usable.sort(key=lambda c: _draw(affinity_key, c.name, c.weight), reverse=True)
        usable.sort(key=lambda c: c.name != provider.default_credential)
    return tuple(usable)


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
