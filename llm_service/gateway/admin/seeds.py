"""What a service starts with: what works at once, and on request a whole registry to go on from.

Nothing that is there is ever changed, whoever wrote it; each step says what it did.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, replace

from llm_service import catalog
from llm_service import providers as kinds
from llm_service.domain.model_config import TargetSpec
from llm_service.domain.provider import Model, Provider, SourceType
from llm_service.errors import AlreadyExists, InvalidField, ResourceNotFound
from llm_service.gateway.admin.drafts import (
    CredentialDraft,
    ModelConfigDraft,
    ProviderDraft,
    Source,
)
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.models import Models, manual_model
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.seed_registry import ACCOUNTS, ENTRIES, INTERACTIONS, Entry
from llm_service.gateway.configuration import SHARED

# The variables operators usually have set already, and the kind each one is a key of.
USUAL_KEYS = {
    "OPENAI_API_KEY": "openai",
    "ANTHROPIC_API_KEY": "anthropic",
    "DEEPSEEK_API_KEY": "deepseek",
    "GROK_API_KEY": "xai",
}
ECHO = ProviderDraft(
    kind="echo", display_name="Echo", description="Answers with what it was sent; costs nothing."
)
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Seeds:
    """Plants. `allowed` are the variables credentials may refer to, `environment` those set."""

    providers: Providers
    models: Models
    configs: ModelConfigs
    environment: Mapping[str, str]
    allowed: Collection[str] = ()
    ollama_url: str = ""

    async def plant(self) -> list[str]:
        """What works at once: echo, a vendor for each key that is set, and what these can serve.

        Says what was done, line by line. Twice is as once.
        """
        lines = [await self._provider("echo", ECHO)]
        for variable, kind in USUAL_KEYS.items():
            if variable not in self.environment:
                continue
            if kind not in kinds.kinds():
                lines.append(f"{variable} is set, but this release has no kind {kind}")
                continue
            draft = ProviderDraft(kind=kind, description=f"Uses {variable} of the environment.")
            lines.append(await self._provider(kind, draft, variable))
            if kind == "openai":
                lines += [line async for line in self._interactions()]
        if self.ollama_url:
            draft = ProviderDraft(kind="ollama", base_uri=self.ollama_url)
            lines.append(await self._provider("ollama", replace(draft, description="OLLAMA_URL")))
        return lines

    async def plant_registry(self) -> list[str]:
        """All of the registry, most of it switched off, with its default and one by interaction.

        Says what was done, line by line. Twice is as once.
        """
        lines = await self.plant()
        planted = {line.split()[-1] for line in lines if line.startswith("created")}
        for provider_id, account in ACCOUNTS.items():
            if f"providers/{provider_id}" not in planted:
                variable = account.variable if account.variable in self.allowed else ""
                lines.append(await self._provider(provider_id, account.draft, variable))
        lines += [await self._model(entry) for entry in ENTRIES]
        chain = tuple(TargetSpec(_model_name(entry)) for entry in ENTRIES)
        default = ModelConfigDraft(display_name="Default", targets=chain)
        lines.append(await self._config(DEFAULT, default))
        if not planted & {f"modelConfigs/{interaction}" for interaction in INTERACTIONS}:
            lines += [line async for line in self._interactions()]
        return lines

    async def _interactions(self) -> AsyncIterator[str]:
        for interaction, default in INTERACTIONS.items():
            yield await self._config(interaction, default.draft(interaction))

    async def _provider(self, provider_id: str, draft: ProviderDraft, variable: str = "") -> str:
        name = f"providers/{provider_id}"
        source = Source(SourceType.ENVIRONMENT_VARIABLE, reference=variable)
        credential = (CredentialDraft(), source) if variable else None
        try:
            await self.providers.create(SHARED, provider_id, draft, credential)
        except AlreadyExists:
            return f"{name} is there already"
        except InvalidField as error:
            return f"did not create {name}: {error} (see LLM_EGRESS_ALLOW)"
        return f"created {name}"

    async def _model(self, entry: Entry) -> str:
        name = _model_name(entry)
        try:
            view = await self.providers.get(SHARED, entry.provider_id)
            if view.provider.kind != ACCOUNTS[entry.provider_id].draft.kind:
                return f"did not create {name}: the provider is of kind {view.provider.kind}"
            await self.models.create(SHARED, entry.provider_id, _draft(entry, view.provider))
        except AlreadyExists:
            return f"{name} is there already"
        except ResourceNotFound:
            return f"did not create {name}: there is no such provider"
        return f"created {name}"

    async def _config(self, config_id: str, draft: ModelConfigDraft) -> str:
        name = f"modelConfigs/{config_id}"
        try:
            await self.configs.create(SHARED, config_id, draft)
        except AlreadyExists:
            return f"{name}, or one with its selector, is there already"
        return f"created {name}"


def _model_name(entry: Entry) -> str:
    return f"providers/{entry.provider_id}/models/{catalog.model_id(entry.provider_model)}"


def _draft(entry: Entry, provider: Provider) -> Model:
    """With what the catalogue knows of it; what it costs, the public price list says."""
    return replace(
        manual_model(provider.name, provider.kind, entry.provider_model),
        display_name=entry.display_name,
        priority=entry.priority,
        disabled=entry.disabled,
    )
