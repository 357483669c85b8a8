"""What operators configured, in memory: a snapshot per tenant that follows the database."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import astuple, dataclass, field, replace
from typing import TypeVar

from llm_service.domain.access import as_service
from llm_service.domain.budget import Budget
from llm_service.domain.model_config import ModelConfig
from llm_service.domain.provider import Credential, Model, Provider
from llm_service.errors import StorageUnavailable
from llm_service.gateway.offers import Joined, Layered, Models, Offers
from llm_service.gateway.quarantine import broken
from llm_service.storage.database import Database
from llm_service.storage.pulse import Pulse

T = TypeVar("T")

logger = logging.getLogger(__name__)

SHARED = ""
MAX_AGE_SECONDS = 900.0

_KEPT_TENANTS = 2_000
_KEPT_RESOURCES = 100_000  # some 1 KiB each; beyond either the least used is read again


@dataclass(frozen=True, slots=True)
class Owned:
    """What one tenant (or nobody in particular) owns, as read in one transaction.

    What is quarantined is in it, and is disabled. Every field is kept in the snapshot on disk.
    """

    providers: tuple[Provider, ...]
    credentials: Mapping[str, tuple[Credential, ...]]  # by provider uid
    models: Mapping[str, tuple[Model, ...]]  # by provider name
    model_configs: tuple[ModelConfig, ...] = ()
    quarantined: tuple[str, ...] = ()
    """The resource names of what is broken."""
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """All a tenant can reach: its own and what is shared.

    `offers` maps every name a caller may use for a model (id, upstream id, alias) to the pairs that
    serve it, disabled ones included, so that a refusal can say why. `configs` are the enabled
    model configurations by agent, user and interaction: the tenant's own, then the shared ones.
    `budgets` are the enabled ones that its calls may fall under, everybody's included.
    """

    generation: int
    providers: Mapping[str, Provider]
    credentials: Mapping[str, tuple[Credential, ...]]
    models: Mapping[str, Model]
    offers: Mapping[str, tuple[tuple[Provider, Model], ...]]
    configs: tuple[Mapping[tuple[str, str, str], ModelConfig], ...] = ()
    budgets: tuple[Budget, ...] = ()
    pinned: dict[str, tuple[Provider, Model]] = field(
        init=False, default_factory=dict, compare=False
    )
    """What calls that name a provider's model were found to mean, as long as the view is in use."""


class Configuration:
    """Snapshots of configuration; reading one never waits for the database once it is loaded.

    Args:
        database: whose configuration it is.
        max_age: seconds that a snapshot may be used after the database last confirmed it.
        now: a clock that never goes back.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_age: float = MAX_AGE_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._max_age = max_age
        self._now = now
        self._generation = 0
        self._confirmed = now()
        self._owned: OrderedDict[str, Owned] = OrderedDict()
        self._offers: dict[str, Offers] = {}
        self._views: dict[str, View] = {}
        self._resources = 0
        self.revision = 0
        """Grows with each change of what is loaded."""
        self._loading = asyncio.Lock()

    @property
    def generation(self) -> int:
        """Of the last change that every loaded snapshot has."""
        return self._generation

    @property
    def age(self) -> float:
        """Seconds since the database last confirmed what is loaded."""
        return self._now() - self._confirmed

    @property
    def loaded(self) -> Mapping[str, Owned]:
        """What is in memory, by tenant. Not to be changed; the order is that of use."""
        return self._owned

    @property
    def quarantined(self) -> int:
        """How many loaded resources are kept out of calls because their rows are broken."""
        return sum(len(owned.quarantined) for owned in tuple(self._owned.values()))

    async def view(self, tenant: str) -> View:
        """What `tenant` can reach.

        Raises:
            StorageUnavailable: it was never read and the database does not answer; or the database
                has not confirmed it for too long.
        """
        if self._now() - self._confirmed > self._max_age:
            raise StorageUnavailable("the configuration is too old to be used: no database answers")
        view = self._views.get(tenant) or self._viewed(tenant)
        if view is not None:
            self._owned.move_to_end(tenant)
            return view
        async with self._loading:
            return await self._load(tenant)

    def restore(self, owned: Mapping[str, Owned], generation: int, age: float) -> None:
        """Begin with what was last known, confirmed `age` seconds ago."""
        for tenant, held in owned.items():
            self._keep(tenant, held)
        self._generation = generation
        self._confirmed = self._now() - age

    async def refresh(self) -> None:
        """Bring every loaded snapshot up to what is committed now."""
        async with self._loading:
            asked = self._now()
            known = self._generation
            async with self._database.read() as tx:
                # One too many: whoever made the last known change is found, unless the database
                # was put back to before it.
                found = await tx.config.since(known - 1)
            rewound = known > 0 and not found
            changed = {tenant for tenant, generation in found if generation > known}
            stale = [tenant for tenant in self._owned if rewound or tenant in changed]
            for tenant, fresh in [(tenant, await self._read(tenant)) for tenant in stale]:
                self._keep(tenant, fresh)
            self._generation = max((generation for _, generation in found), default=0)
            self._confirmed = asked

    async def follow(
        self, poll_seconds: float, *others: Callable[[Pulse], Awaitable[None]]
    ) -> None:
        """Look whenever something may have changed, until cancelled, and read what has.

        `others` follow by the same look, once configuration is up to it. An outage keeps the last
        snapshot.
        """
        failing = False
        async with aclosing(self._database.changes(poll_seconds)) as changes:
            async for _ in changes:
                try:
                    pulse = await self._look()
                    for other in others:
                        await other(pulse)
                except StorageUnavailable:
                    if not failing:
                        logger.warning("the database does not answer; serving the last snapshot")
                    failing = True
                except Exception:  # a replica that stopped following would serve old keys for ever
                    if not failing:
                        logger.exception("configuration cannot be read; serving the last snapshot")
                    failing = True
                else:
                    failing = False

    async def _look(self) -> Pulse:
        """As `refresh`, in one statement where nothing has changed."""
        asked = self._now()
        pulse = await self._database.pulse()
        if pulse.generation == self._generation:
            self._confirmed = max(self._confirmed, asked)
        else:
            await self.refresh()
        return pulse

    async def _load(self, tenant: str) -> View:
        for owner in (SHARED, tenant):
            if owner not in self._owned:
                self._keep(owner, await self._read(owner))
        view = self._views.get(tenant) or self._viewed(tenant)
        assert view is not None  # noqa: S101 - for the type checker
        self._owned.move_to_end(tenant)
        self._forget_least_used()
        return view

    def _viewed(self, tenant: str) -> View | None:
        """The view made of what is loaded; None: something is not."""
        owners = (SHARED,) if tenant == SHARED else (tenant, SHARED)
        if not all(owner in self._owned for owner in owners):
            return None
        view = self._views[tenant] = _joined(
            self._generation,
            [self._offers[owner] for owner in owners],
            [self._owned[owner] for owner in owners],
        )
        return view

    def _keep(self, tenant: str, owned: Owned) -> None:
        known = self._owned.get(tenant)
        for name in set(owned.quarantined).difference(known.quarantined if known else ()):
            logger.warning("%s is quarantined: its row is broken", name)
        self._resources += _size(owned) - (_size(known) if known else 0)
        self.revision += 1
        self._owned[tenant] = owned
        self._offers[tenant] = Offers(owned.providers, owned.models)
        if tenant == SHARED:
            self._views.clear()
        self._views.pop(tenant, None)

    def _forget_least_used(self) -> None:
        while len(self._owned) > _KEPT_TENANTS or self._resources > _KEPT_RESOURCES:
            oldest = next((owner for owner in self._owned if owner != SHARED), SHARED)
            if len(self._owned) <= 2:  # noqa: PLR2004 - what the current call needs
                return
            self._resources -= _size(self._owned.pop(oldest))
            del self._offers[oldest]
            self._views.pop(oldest, None)

    async def _read(self, tenant: str) -> Owned:
        # A snapshot outlives the call that asks for it first, and serves others.
        with as_service():
            async with self._database.read() as tx:
                providers = await tx.providers.of_tenant(tenant)
                credentials = await tx.credentials.of_tenant(tenant)
                models = await tx.models.of_tenant(tenant)
                model_configs = await tx.model_configs.of_tenant(tenant)
                budgets = await tx.budgets.of_tenant(tenant)
        return owned_of(providers, credentials, models, model_configs, budgets)


def owned_of(
    providers: Sequence[Provider],
    credentials: Sequence[Credential],
    models: Sequence[Model],
    model_configs: Sequence[ModelConfig] = (),
    budgets: Sequence[Budget] = (),
) -> Owned:
    """What was read, and what of it is broken switched off."""
    rows: Sequence[Provider | Credential | Model | ModelConfig | Budget]
    rows = (*providers, *credentials, *models, *model_configs, *budgets)
    return Owned(
        tuple(map(_fenced, providers)),
        _grouped(map(_fenced, credentials), "provider_uid"),
        _grouped(map(_fenced, models), "provider_name"),
        tuple(map(_fenced, model_configs)),
        tuple(row.name for row in rows if broken(row)),
        tuple(map(_fenced, budgets)),
    )


R = TypeVar("R", Provider, Credential, Model, ModelConfig, Budget)


def _fenced(resource: R) -> R:
    return replace(resource, disabled=True) if broken(resource) else resource


def _size(owned: Owned) -> int:
    below = (*owned.credentials.values(), *owned.models.values())
    own = (owned.providers, owned.model_configs, owned.budgets)
    return sum(map(len, (*own, *below)))


def _grouped(items: Iterable[T], key: str) -> dict[str, tuple[T, ...]]:
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(getattr(item, key), []).append(item)
    return {name: tuple(group) for name, group in groups.items()}


def view_of(generation: int, shared: Owned, own: Owned, tenant: str) -> View:
    owners = (shared,) if tenant == SHARED else (own, shared)
    return _joined(
        generation,
        [Offers(owner.providers, owner.models) for owner in owners],
        owners,
    )


def _joined(
    generation: int,
    offers: Sequence[Offers],
    owners: Sequence[Owned],
) -> View:
    return View(
        generation,
        Layered(*(one.providers for one in offers)),
        Layered(*(owned.credentials for owned in owners)),
        Models(offers),
        Joined(*offers),
        tuple(_by_selector(owned.model_configs) for owned in owners),
        tuple(one for owned in owners for one in owned.budgets if not one.disabled),
    )


def _by_selector(configs: Iterable[ModelConfig]) -> dict[tuple[str, str, str], ModelConfig]:
    return {astuple(config.selector): config for config in configs if not config.disabled}
