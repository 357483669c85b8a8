"""Models that operators write: new ones, and their own facts and prices for known ones."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from llm_service import catalog
from llm_service.domain.provider import Model, ModelOrigin, Provider
from llm_service.errors import EtagMismatch, ResourceNotFound
from llm_service.gateway.admin import rules
from llm_service.gateway.admin.once import NOT_REPEATED, Once
from llm_service.gateway.offers import models_of
from llm_service.storage.database import Database, Transaction


class Models:
    """The operator's side of models; reading them is `model_catalogue`'s."""

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now

    async def create(
        self, tenant: str, provider_id: str, draft: Model, *, once: Once[Model] = NOT_REPEATED
    ) -> Model:
        """Store a manual model. One of the same id as a built-in one stands in for it.

        Raises:
            InvalidField: names all that is wrong with it.
            AlreadyExists, ResourceNotFound: the id is taken; there is no such provider.
        """
        rules.done(rules.model(draft))
        now = self._now()
        model = rules.with_named_prices(draft, now)
        async with self._database.begin() as tx:
            await once.begin(tx, now)
            provider = await tx.providers.get(tenant, provider_id, for_update=True)
            await tx.models.add(provider.uid, model)
            await once.end(tx, model)
            await tx.config.bump(tenant)
        return model

    async def update(
        self,
        tenant: str,
        provider_id: str,
        model_id: str,
        change: Callable[[Model], Model],
        *,
        expected_version: int | None = None,
    ) -> Model:
        """Change a model. A built-in one becomes a manual one of the same id."""
        async with self._database.begin() as tx:
            provider = await tx.providers.get(tenant, provider_id, for_update=True)
            stored, is_row = await _stored(tx, provider, model_id)
            if expected_version not in (None, stored.version):
                raise EtagMismatch(f"{stored.name} has changed since it was read")
            draft = change(stored)
            rules.done(rules.model(draft))
            model = replace(
                rules.with_named_prices(draft, self._now()),
                origin=stored.origin if is_row else ModelOrigin.MANUAL,
                sync_time=stored.sync_time,
                version=stored.version,
            )
            if is_row:
                model = await tx.models.update(provider.uid, model, stored.version)
            else:
                model = replace(model, version=1)
                await tx.models.add(provider.uid, model)
            await tx.config.bump(tenant)
        return model

    async def delete(
        self,
        tenant: str,
        provider_id: str,
        model_id: str,
        *,
        expected_version: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        """Destroy a stored model; a built-in one of the same id shows again."""
        async with self._database.begin() as tx:
            try:
                provider = await tx.providers.get(tenant, provider_id, for_update=True)
                await tx.models.delete(provider.uid, model_id, expected_version)
            except ResourceNotFound:
                if allow_missing:
                    return
                raise
            await tx.config.bump(tenant)


def manual_model(provider_name: str, kind: str, provider_model: str) -> Model:
    """A model to create by hand, with what the catalogue knows of it."""
    model_id = catalog.model_id(provider_model)
    bare = Model(provider_name, model_id, provider_model, ModelOrigin.MANUAL)
    return replace(
        catalog.facts(kind, provider_model) or bare,
        provider_name=provider_name,
        model_id=model_id,
        provider_model=provider_model,
        origin=ModelOrigin.MANUAL,
    )


async def _stored(tx: Transaction, provider: Provider, model_id: str) -> tuple[Model, bool]:
    """The model, and whether it is a row rather than built in."""
    try:
        return await tx.models.get(provider.uid, model_id, for_update=True), True
    except ResourceNotFound:
        for model in models_of(provider, ()):
            if model.model_id == model_id:
                return model, False
        raise
