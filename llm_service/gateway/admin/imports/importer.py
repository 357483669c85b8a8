"""Takes the steps of an import, by the use cases that the RPCs use, and tells what became of each.

Nothing that is there is ever changed: whoever runs an import again after changing what it made
keeps those changes, and is told where they differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from llm_service import providers as kinds
from llm_service.domain.provider import Model, ModelOrigin, Provider
from llm_service.errors import (
    AlreadyExists,
    GatewayError,
    InvalidField,
    ResourceNotFound,
    StorageUnavailable,
)
from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.drafts import CredentialDraft, ModelConfigDraft, ProviderDraft
from llm_service.gateway.admin.imports.steps import (
    Entry,
    Outcome,
    Step,
    WantConfig,
    WantCredential,
    WantModel,
    WantProvider,
)
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import DEFAULT_CREDENTIAL, Providers
from llm_service.gateway.offers import models_of
from llm_service.storage.database import Database

_DIFFERS = "it is there already, and differs from this row"


@dataclass(slots=True)
class Importer:
    """Takes one import's steps. `lost`: providers that whatever hangs on them must do without."""

    database: Database
    providers: Providers
    credentials: Credentials
    models: Models
    configs: ModelConfigs
    lost: set[str] = field(default_factory=set)

    async def run(self, steps: Iterable[Step]) -> list[Entry]:
        """Take each step; one that fails keeps none of the others from being taken.

        Raises:
            StorageUnavailable: the database does not answer. What was done before is done.
        """
        report: list[Entry] = []
        for step in steps:
            match step:
                case Entry():
                    report.append(step)
                case WantProvider():
                    report += await self._provider(step)
                case WantCredential():
                    report.append(await self._credential(step))
                case WantModel():
                    report.append(await self._model(step))
                case WantConfig():
                    report += await self._config(step)
        return report

    async def _provider(self, step: WantProvider) -> list[Entry]:
        credential = (CredentialDraft(), step.source) if step.source else None
        try:
            await self.providers.create(step.tenant, step.provider_id, step.draft, credential)
        except AlreadyExists:
            return await self._known_provider(step)
        except InvalidField as error:
            if credential and all(one.field.startswith("credential") for one in error.violations):
                name = f"{step.name}/credentials/{DEFAULT_CREDENTIAL}"
                refused = Entry(step.row, Outcome.FAILED, name, str(error))
                return [*await self._provider(replace(step, source=None)), refused]
            return [self._losing(step, str(error))]
        except GatewayError as error:
            _let_pass(error)
            return [self._losing(step, str(error))]
        return [Entry(step.row, Outcome.CREATED, step.name)]

    async def _known_provider(self, step: WantProvider) -> list[Entry]:
        stored = (await self.providers.get(step.tenant, step.provider_id)).provider
        if stored.delete_time is not None:
            return [self._losing(step, "it is there already, and was deleted")]
        if stored.kind != kinds.canonical(step.draft.kind):
            return [self._losing(step, f"it is there already, of kind {stored.kind}")]
        kept = replace(ProviderDraft.of(stored), default_credential="")
        entry = _compared(step, step.implied or kept == replace(step.draft, kind=stored.kind))
        if step.source is None or (step.implied and await self._has_any_credential(stored)):
            return [entry]
        again = WantCredential(
            step.row,
            step.tenant,
            step.provider_id,
            DEFAULT_CREDENTIAL,
            CredentialDraft(),
            step.source,
        )
        return [entry, await self._credential(again)]

    async def _has_any_credential(self, provider: Provider) -> bool:
        async with self.database.read() as tx:
            return bool(await tx.credentials.of_provider(provider.uid))

    async def _credential(self, step: WantCredential) -> Entry:
        where = step.tenant, step.provider_id, step.credential_id
        try:
            if self._is_lost(step.name):
                return _orphan(step)
            await self.credentials.create(*where, step.draft, step.source)
        except AlreadyExists:
            stored = (await self.credentials.get(*where)).credential
            source = stored.source_type, stored.reference
            same = source == (step.source.type, step.source.reference)
            return _compared(step, same and CredentialDraft.of(stored) == step.draft)
        except GatewayError as error:
            return _failed(step, error)
        return Entry(step.row, Outcome.CREATED, step.name)

    async def _model(self, step: WantModel) -> Entry:
        try:
            if self._is_lost(step.name):
                return _orphan(step)
            provider, stored = await self._stored_model(step)
            if stored is not None:
                return _compared(step, _bare(stored) == step.model)
            if step.model in map(_bare, models_of(provider, ())):
                return Entry(step.row, Outcome.SAME, step.name, "the catalogue has it")
            await self.models.create(step.tenant, step.provider_id, step.model)
        except GatewayError as error:
            return _failed(step, error)
        return Entry(step.row, Outcome.CREATED, step.name)

    async def _stored_model(self, step: WantModel) -> tuple[Provider, Model | None]:
        async with self.database.read() as tx:
            provider = await tx.providers.get(step.tenant, step.provider_id)
            try:
                return provider, await tx.models.get(provider.uid, step.model.model_id)
            except ResourceNotFound:
                return provider, None

    async def _config(self, step: WantConfig) -> list[Entry]:
        """With those of its targets that can be had: never without the first."""
        entries = [
            Entry(step.row, Outcome.FAILED, f"{target.model} of {step.name}", "no such provider")
            for target in step.draft.targets
            if self._is_lost(target.model)
        ]
        targets = tuple(one for one in step.draft.targets if not self._is_lost(one.model))
        if step.draft.targets[:1] != targets[:1]:
            why = f"what it would use first was not imported: {step.draft.targets[0].model}"
            return [Entry(step.row, Outcome.FAILED, step.name, why)]
        return [*entries, await self._whole_config(step, replace(step.draft, targets=targets))]

    async def _whole_config(self, step: WantConfig, draft: ModelConfigDraft) -> Entry:
        try:
            await self.configs.create(step.tenant, step.config_id, draft)
        except AlreadyExists as taken:
            try:
                stored = await self.configs.get(step.tenant, step.config_id)
            except ResourceNotFound:
                return Entry(step.row, Outcome.KEPT, step.name, str(taken))
            return _compared(step, ModelConfigDraft.of(stored) == draft)
        except GatewayError as error:
            return _failed(step, error)
        return Entry(step.row, Outcome.CREATED, step.name)

    def _losing(self, step: WantProvider, why: str) -> Entry:
        self.lost.add(step.name)
        return Entry(step.row, Outcome.FAILED, step.name, why)

    def _is_lost(self, name: str) -> bool:
        provider, _, _ = name.partition("/models/")
        provider, _, _ = provider.partition("/credentials/")
        return provider in self.lost


def _compared(step: WantProvider | WantCredential | WantModel | WantConfig, same: bool) -> Entry:  # noqa: FBT001
    if same:
        return Entry(step.row, Outcome.SAME, step.name)
    return Entry(step.row, Outcome.KEPT, step.name, _DIFFERS)


def _failed(
    step: WantProvider | WantCredential | WantModel | WantConfig, error: GatewayError
) -> Entry:
    _let_pass(error)
    return Entry(step.row, Outcome.FAILED, step.name, str(error))


def _orphan(step: WantCredential | WantModel) -> Entry:
    return Entry(step.row, Outcome.FAILED, step.name, "its provider was not imported")


def _let_pass(error: GatewayError) -> None:
    """A database that does not answer ends an import; no row is to blame for it."""
    if isinstance(error, StorageUnavailable):
        raise error


def _bare(model: Model) -> Model:
    """As an import would write it."""
    return replace(model, version=1, sync_time=None, origin=ModelOrigin.MANUAL)
