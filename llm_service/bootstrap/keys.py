"""The vault and its key ring."""

import asyncio
from functools import partial
from pathlib import Path

from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.keys import Keys
from llm_service.gateway.audit.log import AuditLog
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.key_rings import KeyRings, RingUse
from llm_service.rpc.server import Serving
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.vault import BadKeyring, Keyring, Vault, load_key_file, load_or_create_key_file

_KEY_FILE = "vault.key"
_SEALS = "llmservice.v1.ProviderAdminService"


async def vault_of(
    settings: Settings, database: Database, notes: list[str], deployment: str = ""
) -> Vault:
    """The vault, its keys compared with those the deployment knows.

    With a `deployment` the database is away, and they are compared once it is back.
    """
    try:
        keyring = await asyncio.to_thread(keyring_of, settings, notes)
        if deployment:
            return Vault(keyring, deployment)
        vault = Vault(keyring, await database.deployment_id())
        keys = Keys(database, vault)
        vault.use(keyring, await keys.verify(keyring))
        missing = (await keys.status()).missing
    except (BadKeyring, StorageUnavailable) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"cannot read the key ring {error.filename}: {error.strerror}") from error
    if vault.trouble:
        notes.append(f"{vault.trouble}: credentials cannot be stored")
    if missing:
        notes.append(f"stored secrets need keys that are not loaded: {', '.join(missing)}")
    return vault


def key_rings(
    settings: Settings,
    vault: Vault,
    database: Database,
    configuration: Configuration,
    serving: Serving,
    audit: AuditLog,
) -> KeyRings:
    """What keeps the vault at the ring in its file, and the health service told of it."""

    def sealing(possible: bool) -> None:  # noqa: FBT001 - a callback
        serving.report(_SEALS, serving=possible)

    return KeyRings(
        vault,
        database,
        RingUse(
            partial(current_keyring, settings),
            configuration.refresh,
            sealing,
            # Until then a chain that ends under the key before looks like a forged one.
            audit.advance,
            settings.max_call_seconds,
        ),
    )


def keyring_of(settings: Settings, notes: list[str]) -> Keyring | None:
    """The ring at the start; the embedded default makes one."""
    path = key_file_of(settings)
    if path is None or settings.keyring_file is not None:
        return current_keyring(settings)
    keyring, made = load_or_create_key_file(path)
    if made:
        notes.append(f"made an encryption key in {path}: keep a copy, or stored keys are lost")
    return keyring


def current_keyring(settings: Settings) -> Keyring | None:
    """The ring as it is now; None: there is none. Blocks.

    Raises:
        BadKeyring: it cannot be used.
        OSError: its file cannot be read.
    """
    if settings.encryption_key:
        return Keyring.from_text(settings.encryption_key)
    path = key_file_of(settings)
    if path is None:
        return None
    return load_key_file(path, private=settings.keyring_file is None)


def key_file_of(settings: Settings) -> Path | None:
    """The file that holds the ring; None: it is in a variable, or there is none."""
    if settings.keyring_file is not None:
        return settings.keyring_file
    if settings.encryption_key or not settings.embedded:
        return None
    return settings.data_dir / _KEY_FILE
