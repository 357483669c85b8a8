"""What operators configured, in memory: a snapshot per tenant that follows the database."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from llm_service import catalog
from llm_service.domain.access import as_service
from llm_service.domain.provider import Credential, Model, ModelStage, Provider
from llm_service.errors import StorageUnavailable
from llm_service.storage.database import Database

T = TypeVar("T")

logger = logging.getLogger(__name__)

SHARED = ""
_KEPT_TENANTS = 2_000  # snapshots are a few KiB each; beyond this the least used is read again


@dataclass(frozen=True, slots=True)
class Owned:
    """What one tenant (or nobody in particular) owns, as read in one transaction."""

    providers: tuple[Provider, ...]
    credentials: Mapping[str, tuple[Credential, ...]]  # by provider uid
    models: Mapping[str, tuple[Model, ...]]  # by provider name


@dataclass(frozen=True, slots=True)
class View:
    """All a tenant can reach: its own and what is shared.

    `offers` maps every name a caller may use for a model (id, upstream id, alias) to the pairs that
    serve it, disabled ones included, so that a refusal can say why.
    """

    generation: int
    providers: Mapping[str, Provider]
    credentials: Mapping[str, tuple[Credential, ...]]
    models: Mapping[str, Model]
    offers: Mapping[str, tuple[tuple[Provider, Model], ...]]


class Configuration:
    """Snapshots of configuration; reading one never waits for the database once it is loaded."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._generation = 0
        self._owned: OrderedDict[str, Owned] = OrderedDict()
        self._views: dict[str, View] = {}
        self._loading = asyncio.Lock()

    async def view(self, tenant: str) -> View:
        """What `tenant` can reach.

        Raises:
            StorageUnavailable: it was never read and the database does not answer.
        """
        known = self._views.get(tenant)
        if known is not None:
            self._owned.move_to_end(tenant)
            return known
        async with self._loading:
            return await self._load(tenant)

    async def refresh(self) -> None:
        """Bring every loaded snapshot up to what is committed now."""
        async with self._loading:
            async with self._database.read() as tx:
                changed = await tx.config.since(self._generation)
            stale = [tenant for tenant, _ in changed if tenant in self._owned]
            fresh = {tenant: await self._read(tenant) for tenant in stale}
            self._owned.update(fresh)
            if changed:
                self._generation = max(generation for _, generation in changed)
            if SHARED in fresh:
                self._views.clear()
            for tenant in fresh:
                self._views.pop(tenant, None)

    async def follow(self, poll_seconds: float, *others: Callable[[], Awaitable[None]]) -> None:
        """Refresh whenever something may have changed, until cancelled, and `others` with it.

        An outage keeps the last snapshot.
        """
        failing = False
        async with aclosing(self._database.changes(poll_seconds)) as changes:
            async for _ in changes:
                try:
                    for refresh in (self.refresh, *others):
                        await refresh()
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

    async def _load(self, tenant: str) -> View:
        if (known := self._views.get(tenant)) is not None:
            return known
        for owner in (SHARED, tenant):
            if owner not in self._owned:
                self._owned[owner] = await self._read(owner)
            self._owned.move_to_end(owner)
        view = view_of(self._generation, self._owned[SHARED], self._owned[tenant], tenant)
        self._views[tenant] = view
        self._forget_least_used()
        return view

    def _forget_least_used(self) -> None:
        while len(self._owned) > _KEPT_TENANTS:
            oldest = next(owner for owner in self._owned if owner != SHARED)
            del self._owned[oldest]
            self._views.pop(oldest, None)

    async def _read(self, tenant: str) -> Owned:
        # A snapshot outlives the call that asks for it first, and serves others.
        with as_service():
            async with self._database.read() as tx:
                providers = await tx.providers.of_tenant(tenant)
                credentials = await tx.credentials.of_tenant(tenant)
                models = await tx.models.of_tenant(tenant)
        return Owned(
            providers,
            _grouped(credentials, "provider_uid"),
            _grouped(models, "provider_name"),
        )


def _grouped(items: Sequence[T], key: str) -> dict[str, tuple[T, ...]]:
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(getattr(item, key), []).append(item)
    return {name: tuple(group) for name, group in groups.items()}


def view_of(generation: int, shared: Owned, own: Owned, tenant: str) -> View:
    owners = (shared,) if tenant == SHARED else (own, shared)
    providers = {provider.name: provider for owner in owners for provider in owner.providers}
    credentials = {uid: group for owner in owners for uid, group in owner.credentials.items()}
    models: dict[str, Model] = {}
    offers: dict[str, list[tuple[Provider, Model]]] = {}
    for owner in owners:
        for provider in owner.providers:
            for model in models_of(provider, owner.models.get(provider.name, ())):
                models[model.name] = model
                for name in {model.model_id, model.provider_model, *model.aliases}:
                    offers.setdefault(name, []).append((provider, model))
    return View(
        generation,
        providers,
        credentials,
        models,
        {name: tuple(pairs) for name, pairs in offers.items()},
    )


def models_of(provider: Provider, rows: Sequence[Model]) -> tuple[Model, ...]:
    """The provider's models: its rows, and the built-in ones no row stands for."""
    taken = {name for row in rows for name in (row.model_id, row.provider_model)}
    built_in = (
        replace(model, provider_name=provider.name)
        for model in catalog.built_in(provider.kind)
        if model.model_id not in taken
        and model.provider_model not in taken
        and model.stage is not ModelStage.RETIRED
    )
    return (*rows, *built_in)
