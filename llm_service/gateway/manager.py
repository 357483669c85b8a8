"""Live adapters, one per stored version of a provider and its credential."""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from urllib.parse import urlsplit

from llm_service import providers
from llm_service.domain.provider import (
    SEALED_SOURCES,
    Credential,
    Provider,
    SecretReference,
    SourceType,
)
from llm_service.errors import ProviderCredentialMissing
from llm_service.gateway.destinations import is_bound_elsewhere
from llm_service.gateway.secret_stores import NO_STORES, Held, SecretStores
from llm_service.providers.base import Account, Adapter
from llm_service.providers.egress import Egress
from llm_service.vault import Binding, Vault

Key = tuple[str, int, str, int, bytes]

_IDLE_SECONDS = 600.0
_SWEEP_SECONDS = 60.0
_PORTS = {"http": 80, "https": 443}


class Live:
    """An open adapter and how many calls use it. It is closed when it is retired and unused.

    A context manager, entered by as many as like at a time: for the length of the block the adapter
    stays open.
    """

    __slots__ = (
        "_close",
        "adapter",
        "address",
        "cancel_policy",
        "last_use",
        "port",
        "retired",
        "telemetry_name",
        "uses",
    )

    def __init__(
        self, adapter: Adapter, provider: Provider, close: Callable[[Adapter], None]
    ) -> None:
        kind = providers.provider_kind(provider.kind)
        origin = urlsplit(provider.base_uri or kind.default_base_uri)
        self._close = close
        self.adapter = adapter
        self.telemetry_name = kind.telemetry_name
        self.cancel_policy = provider.cancel_policy or kind.cancel_policy
        self.address = origin.hostname or ""
        self.port = origin.port or _PORTS.get(origin.scheme, 0)
        self.uses = 0
        self.retired = False
        self.last_use = time.monotonic()

    def __enter__(self) -> Adapter:
        self.uses += 1
        return self.adapter

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.uses -= 1
        self.last_use = time.monotonic()
        if self.retired and self.uses == 0:
            self._close(self.adapter)

    def retire(self) -> None:
        """Nobody else will enter it."""
        self.retired = True
        if self.uses == 0:
            self._close(self.adapter)


class ProviderManager:
    """Opens adapters off the event loop, shares them, and closes each after its last call.

    Args:
        vault: opens sealed secrets.
        egress: what adapters send through.
        environment: the variables a credential may refer to, and their values.
        connect: `providers.connect`, or a test's own.
        workload_identity: credentials may be the identity this process runs as.
        secret_stores: where external secrets are.
    """

    def __init__(
        self,
        vault: Vault,
        egress: Egress,
        environment: Mapping[str, str],
        connect: Callable[[str, Account, Egress], Adapter] = providers.connect,
        *,
        workload_identity: bool = False,
        secret_stores: SecretStores = NO_STORES,
    ) -> None:
        self._vault = vault
        self._egress = egress
        self._environment = environment
        self._connect = connect
        self._workload_identity = workload_identity
        self._secret_stores = secret_stores
        self._live: dict[Key, Live] = {}
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, provider: Provider, credential: Credential | None) -> Live:
        """A look-up, but for the first call with this version of it and of an external secret.

        Raises:
            ProviderCredentialMissing: it was entered for another address than the provider has, or
                points to a secret that is not there, or to an identity the operator does not lend.
            ProviderCredentialUnreadable, EncryptionKeyMissing: the secret cannot be read.
        """
        external = None
        if credential is not None and credential.source_type is SourceType.SECRET_REFERENCE:
            external = await self._external(provider, credential)
        key = _key(provider, credential, external)
        live = self._live.get(key)
        if live is None:
            async with self._opening:
                live = self._live.get(key)
                live = live or await self._open(key, provider, credential, external)
        return live

    async def sweep(self) -> None:
        """Retire adapters nobody has used for ten minutes, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            oldest = time.monotonic() - _IDLE_SECONDS
            for key, live in list(self._live.items()):
                if live.uses == 0 and live.last_use < oldest:
                    self._retire(key)
            self._secret_stores.forget_unused()

    async def aclose(self) -> None:
        for key in list(self._live):
            self._retire(key)
        await asyncio.gather(*self._closing)

    async def _external(self, provider: Provider, credential: Credential) -> Held:
        _refuse_elsewhere(provider, credential)
        return await self._secret_stores.read(SecretReference.of_text(credential.reference))

    async def _open(
        self,
        key: Key,
        provider: Provider,
        credential: Credential | None,
        external: Held | None,
    ) -> Live:
        adapter = await asyncio.to_thread(self._connected, provider, credential, external)
        live = self._live[key] = Live(adapter, provider, self._close)
        for other in list(self._live):
            if other != key and (other[0], other[2]) == (key[0], key[2]):
                self._retire(other)
        return live

    def _connected(
        self, provider: Provider, credential: Credential | None, external: Held | None
    ) -> Adapter:
        if external is not None:
            secret = external.secret
        else:
            secret = self._secret(provider, credential) if credential else ""
        source = credential.source_type if credential else None
        account = Account(provider.base_uri, provider.settings, secret, source)
        return self._connect(provider.kind, account, self._egress)

    def _secret(self, provider: Provider, credential: Credential) -> str:
        _refuse_elsewhere(provider, credential)
        if credential.source_type in SEALED_SOURCES:
            return self._vault.open(credential.sealed, binding(provider, credential))
        if credential.source_type is SourceType.ENVIRONMENT_VARIABLE:
            if secret := self._environment.get(credential.reference, ""):
                return secret
            raise ProviderCredentialMissing(
                f"{credential.name} refers to a variable that is not set or not allowed"
            )
        if credential.source_type is SourceType.WORKLOAD_IDENTITY and self._workload_identity:
            return ""
        raise ProviderCredentialMissing(f"{credential.name} has no secret this service can read")

    def _retire(self, key: Key) -> None:
        self._live.pop(key).retire()

    def _close(self, adapter: Adapter) -> None:
        task = asyncio.get_running_loop().create_task(adapter.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def binding(provider: Provider, credential: Credential) -> Binding:
    """The row a credential's ciphertext belongs to."""
    return Binding(
        table="credentials",
        column="sealed",
        tenant=provider.tenant,
        provider_uid=provider.uid,
        row_uid=credential.uid,
        secret_version=credential.secret_version,
        origin=credential.origin,
    )


def _refuse_elsewhere(provider: Provider, credential: Credential) -> None:
    if is_bound_elsewhere(credential, provider):
        raise ProviderCredentialMissing(
            f"{credential.name} was entered for another address: it must be rotated"
        )


def _key(provider: Provider, credential: Credential | None, external: Held | None) -> Key:
    mark = external.mark if external else b""
    if credential is None:
        return provider.uid, provider.version, "", 0, mark
    return provider.uid, provider.version, credential.uid, credential.version, mark
