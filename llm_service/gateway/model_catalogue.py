"""The models a caller may use: built-in, discovered and manual ones of enabled providers."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Model, Provider
from llm_service.errors import ModelNotFound, ResourceNotFound
from llm_service.gateway import pricing
from llm_service.gateway.configuration import SHARED
from llm_service.gateway.offers import models_of
from llm_service.gateway.paging import attribute, page
from llm_service.gateway.routing import DEFAULT_PRIORITY
from llm_service.storage.database import Database

Offer = tuple[Provider, Model]


class ModelCatalogue:
    """Reads; `admin.models` writes. A stored model stands in for a built-in one."""

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now

    async def named(self, tenant: str, provider_id: str, model_id: str) -> Model:
        """The model of a resource name; `tenant` is that of its provider.

        Raises:
            ResourceNotFound: there is no such provider, or it has no such model.
        """
        offers = await self._of_provider(tenant, provider_id)
        for provider, model in offers:
            if model.model_id == model_id:
                return await self._priced(provider, model)
        raise ResourceNotFound("there is no such model")

    async def called(self, tenant: str, name: str) -> Model:
        """The first choice among the models that an alias, id or upstream id stands for.

        Raises:
            ModelNotFound: nobody serves a model of that name.
        """
        found = [
            (provider, model)
            for provider, model in await self._reachable(tenant)
            if not model.disabled and name in (model.model_id, model.provider_model, *model.aliases)
        ]
        if not found:
            raise ModelNotFound("no enabled provider serves a model of that name")
        provider, model = min(found, key=_preference)
        return await self._priced(provider, model)

    async def list(
        self, tenant: str, listing: Listing, parent: tuple[str, str] | None = None
    ) -> Page[Model]:
        """One page of what `tenant` may use, or of one provider: its tenant and id.

        Disabled models are in it, and say so; those of disabled providers only if `parent` asks.
        """
        offers = await (self._of_provider(*parent) if parent else self._reachable(tenant))
        owners = {model.name: provider for provider, model in offers}
        found = page((m for _, m in offers), listing, ("name",), attribute, texts_of)
        priced = [await self._priced(owners[model.name], model) for model in found.items]
        return Page(tuple(priced), found.after)

    async def _of_provider(self, tenant: str, provider_id: str) -> Sequence[Offer]:
        async with self._database.read() as tx:
            provider = await tx.providers.get(tenant, provider_id)
            rows = await tx.models.of_tenant(tenant)
        return _offers(provider, rows)

    async def _reachable(self, tenant: str) -> Sequence[Offer]:
        offers: list[Offer] = []
        async with self._database.read() as tx:
            for owner in dict.fromkeys((tenant, SHARED)):
                rows = await tx.models.of_tenant(owner)
                for provider in await tx.providers.of_tenant(owner):
                    if not provider.disabled:
                        offers += _offers(provider, rows)
        return offers

    async def _priced(self, provider: Provider, model: Model) -> Model:
        """With the public price, where none of its own is in force."""
        now = self._now()
        own = model.price or model.price_at(now)
        if own is not None or not pricing.has_public_prices(provider.kind):
            return model
        await asyncio.to_thread(pricing.load)
        return replace(model, price=pricing.price_of(provider.kind, model, now))


def texts_of(model: Model) -> tuple[str, ...]:
    """Where a model is searched."""
    names = (model.model_id, model.provider_model, *model.aliases)
    return (*names, model.display_name, model.description)


def _offers(provider: Provider, rows: Sequence[Model]) -> list[Offer]:
    own = [row for row in rows if row.provider_name == provider.name]
    return [(provider, model) for model in models_of(provider, own)]


def _preference(offer: Offer) -> tuple[int, str]:
    provider, model = offer
    for priority in (model.priority, provider.priority):
        if priority is not None:
            return priority, model.name
    return DEFAULT_PRIORITY, model.name
