"""Calls to a provider that an operator asks for: does it work, and which models does it have."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llm_service import providers
from llm_service.domain.completion import (
    Attribution,
    CallError,
    CompletionRequest,
    GenerationParams,
)
from llm_service.domain.content import Message, Part, Role, Text
from llm_service.domain.provider import (
    Credential,
    Model,
    ModelCapabilities,
    Provider,
    ProviderCheck,
)
from llm_service.errors import (
    EtagMismatch,
    GatewayError,
    ProviderCredentialMissing,
    ProviderCredentialRejected,
    ProviderTimeout,
    ResourceNotFound,
)
from llm_service.gateway.admin.states import State, credential_state
from llm_service.gateway.admin.sync import Synced, plan
from llm_service.gateway.manager import ProviderManager
from llm_service.gateway.offers import models_of
from llm_service.gateway.secret_stores import NO_STORES, SecretStores
from llm_service.providers.base import Account, Adapter, Call, Deadlines
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.vault import Vault

MAX_SECONDS = 30.0
ANSWER_TOKENS = 16
"""The least that every vendor takes as a maximum."""

Connect = Callable[[str, Account, Egress], Adapter]


@dataclass(frozen=True, slots=True)
class _Known:
    provider: Provider
    credentials: tuple[Credential, ...]
    rows: tuple[Model, ...]


class Checks:
    """Speaks to providers through adapters of its own, opened afresh and closed after.

    `environment` holds the variables a credential may refer to, and their values; with
    `workload_identity` it may be the service's own identity.
    """

    def __init__(  # noqa: PLR0913 - the parts, by name
        self,
        database: Database,
        vault: Vault,
        egress: Egress,
        environment: Mapping[str, str],
        connect: Connect = providers.connect,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        workload_identity: bool = False,
        secret_stores: SecretStores = NO_STORES,
    ) -> None:
        self._database = database
        self._vault = vault
        self._egress = egress
        self._environment = environment
        self._connect = connect
        self._now = now
        self._workload_identity = workload_identity
        self._secret_stores = secret_stores

    async def check(
        self,
        tenant: str,
        provider_id: str,
        *,
        credential_id: str = "",
        model: str = "",
        deadline: float | None = None,
    ) -> ProviderCheck:
        """Call the provider now; that it fails is a result.

        `credential_id` "" uses the default one. `model` "" only lists models; else there is also
        one tiny, billed completion, with the model of that id, alias or upstream id. It ends after
        `deadline` seconds, and after 30 at most.

        Raises:
            ResourceNotFound: there is no such provider or credential.
        """
        seconds = _seconds(deadline)
        known = await self._known(tenant, provider_id)
        credential = self._credential(known, credential_id)
        started = time.monotonic()
        error: GatewayError | None = None
        count = 0
        try:
            async with self._adapter(known, credential, seconds) as adapter:
                count = len(await adapter.models(seconds))
                if model:
                    await adapter.complete(_probe(known, model, seconds))
        except GatewayError as failure:
            error = failure
        duration = time.monotonic() - started
        if credential is not None:
            await self._note(known.provider, credential, error)
        return ProviderCheck(duration, _as_data(error) if error else None, count)

    async def sync_models(
        self,
        tenant: str,
        provider_id: str,
        *,
        validate_only: bool = False,
        deadline: float | None = None,
    ) -> Synced:
        """Read the provider's model list into the catalogue; `validate_only` just counts.

        Raises:
            ResourceNotFound: there is no such provider.
            GatewayError: the provider did not give its list. Nothing was written.
        """
        seconds = _seconds(deadline)
        known = await self._known(tenant, provider_id)
        credential = self._credential(known, "")
        async with self._adapter(known, credential, seconds) as adapter:
            found = await adapter.models(seconds)
        async with self._database.begin() as tx:
            provider = await tx.providers.get(tenant, provider_id, for_update=True)
            rows = [
                row
                for row in await tx.models.of_tenant(tenant)
                if row.provider_name == provider.name
            ]
            synced = plan(provider, rows, found, self._now())
            if not validate_only:
                for model in synced.added:
                    await tx.models.add(provider.uid, model)
                for model in (*synced.updated, *synced.retired):
                    await tx.models.update(provider.uid, model, model.version)
                if synced.changes:
                    await tx.config.bump(tenant)
        return synced

    async def _known(self, tenant: str, provider_id: str) -> _Known:
        async with self._database.read() as tx:
            provider = await tx.providers.get(tenant, provider_id)
            credentials = await tx.credentials.of_provider(provider.uid)
            models = await tx.models.of_tenant(tenant)
        rows = tuple(row for row in models if row.provider_name == provider.name)
        return _Known(provider, credentials, rows)

    def _credential(self, known: _Known, credential_id: str) -> Credential | None:
        """The one asked for, else the default, else the first that is usable."""
        if credential_id:
            for one in known.credentials:
                if one.credential_id == credential_id:
                    return one
            raise ResourceNotFound(f"{known.provider.name} has no such credential")
        provider, now = known.provider, self._now()
        usable = [
            c for c in known.credentials if credential_state(c, provider, now) is State.ACTIVE
        ]
        default = provider.default_credential
        return next((one for one in usable if one.name == default), next(iter(usable), None))

    @asynccontextmanager
    async def _adapter(
        self, known: _Known, credential: Credential | None, seconds: float
    ) -> AsyncIterator[Adapter]:
        provider = known.provider
        if credential is None and providers.provider_kind(provider.kind).needs_credential:
            raise ProviderCredentialMissing(f"{provider.name} has no usable credential")
        manager = ProviderManager(
            self._vault,
            self._egress,
            self._environment,
            self._connect,
            workload_identity=self._workload_identity,
            secret_stores=self._secret_stores,
        )
        try:
            async with asyncio.timeout(seconds):
                live = await manager.open(provider, credential)
                with live as adapter:
                    yield adapter
        except TimeoutError:
            raise ProviderTimeout(f"{provider.name} did not answer in time") from None
        finally:
            await manager.aclose()

    async def _note(
        self, provider: Provider, credential: Credential, error: GatewayError | None
    ) -> None:
        """Keep what the check taught about the credential, unless somebody changed it meanwhile."""
        rejected = isinstance(error, ProviderCredentialRejected)
        if error is not None and not rejected:
            return
        now = self._now()
        checked = replace(credential, rejected=rejected, last_check_time=now)
        with suppress(EtagMismatch, ResourceNotFound):
            async with self._database.begin() as tx:
                await tx.credentials.update(checked, credential.version)
                await tx.config.bump(provider.tenant)


def _probe(known: _Known, name: str, seconds: float) -> Call:
    model = next(
        (
            one
            for one in models_of(known.provider, known.rows)
            if name in (one.name, one.model_id, one.provider_model, *one.aliases)
        ),
        None,
    )
    params = GenerationParams(max_output_tokens=ANSWER_TOKENS)
    request = CompletionRequest(
        model=name,
        messages=(Message(Role.USER, (Part(Text("Say OK.")),)),),
        params=params,
        attribution=Attribution(known.provider.tenant),
    )
    return Call(
        request,
        model.provider_model if model else name,
        params,
        model.capabilities if model else ModelCapabilities(),
        Deadlines(connect=seconds, first_token=seconds, idle=seconds, total=seconds),
    )


def _seconds(deadline: float | None) -> float:
    return MAX_SECONDS if deadline is None else min(deadline, MAX_SECONDS)


def _as_data(error: GatewayError) -> CallError:
    delay = error.retry_delay if error.retry_delay is not None else 1.0
    return CallError(
        reason=error.reason,
        message=str(error),
        retry_delay=delay if error.retriable else None,
        http_status=error.http_status,
        provider_code=error.provider_code,
    )
