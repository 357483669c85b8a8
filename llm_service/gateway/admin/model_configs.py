"""Model configurations: created, changed and deleted."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from llm_service.domain.access import CALLER
from llm_service.domain.listing import Listing, Page
from llm_service.domain.model_config import ModelConfig, TargetSpec
from llm_service.errors import EtagMismatch, ResourceNotFound, Violation
from llm_service.gateway.admin import config_rules, rules
from llm_service.gateway.admin.drafts import ChangeModelConfig, ModelConfigDraft, values
from llm_service.gateway.admin.once import NOT_REPEATED, Once
from llm_service.gateway.ids import new_id
from llm_service.storage.database import Database, Transaction


class ModelConfigs:
    """The operator's side. Every method names the tenant; "" is everybody's."""

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now

    async def create(
        self,
        tenant: str,
        config_id: str,
        draft: ModelConfigDraft,
        *,
        validate_only: bool = False,
        once: Once[ModelConfig] = NOT_REPEATED,
    ) -> ModelConfig:
        """Store a new configuration.

        Raises:
            InvalidField: names all that is wrong with it.
            AlreadyExists: the id or the selector is taken.
        """
        async with self._database.begin() as tx:
            await once.begin(tx, self._now())
            config = await self._create(tx, tenant, config_id, draft, write=not validate_only)
            await once.end(tx, config)
        return config

    async def get(self, tenant: str, config_id: str) -> ModelConfig:
        async with self._database.read() as tx:
            return await tx.model_configs.get(tenant, config_id)

    async def list(self, tenant: str | None, listing: Listing) -> Page[ModelConfig]:
        """One page of a tenant's own configurations; None: of all there are."""
        async with self._database.read() as tx:
            return await tx.model_configs.list(tenant, listing)

    async def update(
        self,
        tenant: str,
        config_id: str,
        change: ChangeModelConfig,
        *,
        expected_version: int | None = None,
        missing: ModelConfigDraft | None = None,
        validate_only: bool = False,
    ) -> ModelConfig:
        """Change a configuration. `missing`: what to create where there is none.

        Raises:
            InvalidField, AlreadyExists: as `create`.
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: there is none.
        """
        write = not validate_only
        async with self._database.begin() as tx:
            try:
                stored = await tx.model_configs.get(tenant, config_id, for_update=True)
            except ResourceNotFound:
                if missing is None or expected_version is not None:
                    raise
                return await self._create(tx, tenant, config_id, missing, write=write)
            if expected_version not in (None, stored.version):
                raise EtagMismatch(f"{stored.name} has changed since it was read")
            draft = change(ModelConfigDraft.of(stored))
            await _check(tx, tenant, draft, stored.targets)
            config = replace(stored, update_time=self._now(), **values(draft))
            await tx.model_configs.refuse_taken(config)
            if write:
                config = await tx.model_configs.update(config, stored.version)
                await tx.config.bump(tenant)
            return config

    async def delete(
        self,
        tenant: str,
        config_id: str,
        *,
        expected_version: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        """Destroy a configuration.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: there is none, and it is not allowed to be missing.
        """
        async with self._database.begin() as tx:
            try:
                await tx.model_configs.delete(tenant, config_id, expected_version)
            except ResourceNotFound:
                if allow_missing:
                    return
                raise
            await tx.config.bump(tenant)

    async def _create(
        self, tx: Transaction, tenant: str, config_id: str, draft: ModelConfigDraft, *, write: bool
    ) -> ModelConfig:
        await _check(tx, tenant, draft, ())
        now = self._now()
        config = ModelConfig(tenant, config_id, new_id(), now, now, **values(draft))
        if write:
            await tx.model_configs.add(config)
            await tx.config.bump(tenant)
        else:
            await tx.model_configs.refuse_taken(config)
        return config


async def _check(
    tx: Transaction, tenant: str, draft: ModelConfigDraft, before: Iterable[TargetSpec]
) -> None:
    """Refuse what cannot be. A credential that has gone since it was named here may stay named."""
    rules.done(config_rules.model_config(draft, tenant))
    known = {target.credential for target in before}
    rules.done(
        [
            Violation(f"model_config.targets[{number}].credential", "there is no such credential")
            for number, target in enumerate(draft.targets)
            if target.credential not in known | {""} and not await _exists(tx, target.credential)
        ]
    )


async def _exists(tx: Transaction, credential: str) -> bool:
    provider_name, _, credential_id = credential.partition("/credentials/")
    owner, _, provider_id = provider_name.rpartition("providers/")
    tenant = owner.removeprefix("tenants/").removesuffix("/")
    if not CALLER.get().principal.reaches(tenant):
        return False  # a tenant uses what is shared, and does not see with which credentials
    try:
        provider = await tx.providers.get(tenant, provider_id)
        await tx.credentials.get(provider.uid, credential_id)
    except ResourceNotFound:
        return False
    return True
