"""The vault and its key ring."""

import asyncio

from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import StorageUnavailable
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.vault import BadKeyring, Keyring, Vault, load_or_create_key_file

_KEY_FILE = "vault.key"


async def vault_of(
    settings: Settings, database: Database, notes: list[str], deployment: str = ""
) -> Vault:
    """`deployment` is asked of the database where it is not known."""
    try:
        keyring = await asyncio.to_thread(keyring_of, settings, notes)
        deployment = deployment or await database.deployment_id()
    except (BadKeyring, StorageUnavailable) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"cannot read the key ring {error.filename}: {error.strerror}") from error
    if keyring is None:
        notes.append("no encryption key is set: credentials can be neither stored nor used")
    return Vault(keyring, deployment)


def keyring_of(settings: Settings, notes: list[str]) -> Keyring | None:
    if settings.keyring_file is not None:
        return Keyring.from_text(settings.keyring_file.read_bytes().decode("ascii", "replace"))
    if settings.encryption_key:
        return Keyring.from_text(settings.encryption_key)
    if not settings.embedded:
        return None
    path = settings.data_dir / _KEY_FILE
    keyring, made = load_or_create_key_file(path)
    if made:
        notes.append(f"made an encryption key in {path}: keep a copy, or stored keys are lost")
    return keyring
