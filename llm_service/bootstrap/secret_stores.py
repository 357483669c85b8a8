"""The external stores credentials may point to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_service.gateway.secret_stores import SecretStore, SecretStores
from llm_service.gateway.secret_stores.files import MountedFiles
from llm_service.providers.egress import Egress
from llm_service.settings import Settings

if TYPE_CHECKING:
    from llm_service.gateway.secret_stores.vault_kv import Login

_PORTS = {"http": 80, "https": 443}


@asynccontextmanager
async def secret_stores(settings: Settings) -> AsyncIterator[SecretStores]:
    """By the names `SecretReference.store` has for them. Closed at the end of the block."""
    stores: dict[str, SecretStore] = {}
    if settings.secret_folders:
        stores["file"] = MountedFiles(settings.secret_folders)
    # Its own way out: what providers may dial says nothing of Vault, and they cannot reach it.
    egress = Egress(_target(settings), ca_file=str(settings.egress_ca_file or ""))
    if settings.vault_addr:
        from llm_service.gateway.secret_stores.vault_kv import Vault, VaultKeyValues

        server = Vault(egress, egress.endpoint(settings.vault_addr), settings.vault_namespace)
        stores["vault"] = VaultKeyValues(server, _login(settings), settings.vault_paths)
    made = SecretStores(stores)
    try:
        yield made
    finally:
        await made.aclose()
        await egress.aclose()


def _target(settings: Settings) -> tuple[str, ...]:
    if not settings.vault_addr:
        return ()
    address = urlsplit(settings.vault_addr)
    host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
    return (f"{host}:{address.port or _PORTS[address.scheme]}",)


def _login(settings: Settings) -> "Login":
    from llm_service.gateway.secret_stores.vault_kv import KubernetesLogin, TokenFile

    if settings.vault_token_file is not None:
        return TokenFile(settings.vault_token_file)
    return KubernetesLogin(
        settings.vault_kubernetes_role,
        settings.vault_kubernetes_token_file,
        settings.vault_kubernetes_mount,
    )
