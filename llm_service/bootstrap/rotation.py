"""What the commands about keys work with: a vault, its database, and its file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from llm_service.bootstrap.keys import key_file_of, vault_of
from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.keys import Keys
from llm_service.gateway.admin.rewrap import Rewrap
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.storage.migrations import SchemaError


@dataclass(frozen=True, slots=True)
class Rotation:
    """The steps of a rotation of keys, and what an operator should know before."""

    keys: Keys
    rewrap: Rewrap
    notes: tuple[str, ...]


@asynccontextmanager
async def rotation(settings: Settings) -> AsyncIterator[Rotation]:
    """The use cases of rotation on the configured database and ring.

    Raises:
        CannotStart: something an operator must mend first.
    """
    notes: list[str] = []
    async with Database.open(settings.database_url) as database:
        try:
            await database.check_schema()
        except (SchemaError, StorageUnavailable) as error:
            raise CannotStart(str(error)) from error
        vault = await vault_of(settings, database, notes)
        yield Rotation(Keys(database, vault), Rewrap(database, vault), tuple(notes))


def key_file(settings: Settings) -> Path:
    """The file that commands edit.

    Raises:
        CannotStart: the ring is not in a file.
    """
    path = key_file_of(settings)
    if path is None:
        raise CannotStart(
            "the encryption keys are not in a file: put them into one and name it in "
            "LLM_KEYRING_FILE (a bare key is a line of it)"
        )
    return path
