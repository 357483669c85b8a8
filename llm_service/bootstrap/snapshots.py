"""What a start needs of the database, or of the snapshot that stands in for it while it is away."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from llm_service.bootstrap.keys import keyring_of
from llm_service.bootstrap.schema import prepare_schema
from llm_service.bootstrap.trouble import CannotStart, DatabaseAway
from llm_service.errors import StorageUnavailable
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.snapshots import BadSnapshot, Snapshot, SnapshotFile, SnapshotKeeper
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.vault import BadKeyring


@dataclass(frozen=True, slots=True)
class Beginning:
    """`fresh`: the database was just made. `last`: what to begin with while it is away."""

    deployment: str
    fresh: bool = False
    last: Snapshot | None = None


async def beginning(settings: Settings, database: Database, notes: list[str]) -> Beginning:
    """Check the schema, or find the snapshot that stands in for the database.

    Raises:
        CannotStart: something an operator must mend first.
    """
    try:
        fresh = await prepare_schema(settings, notes)
        return Beginning(await _deployment(database), fresh)
    except DatabaseAway as away:
        file = await asyncio.to_thread(_file, settings)
        if file is None:
            raise
        last = await asyncio.to_thread(_usable, settings, file, away)
        notes.append(
            f"{away}: serving its configuration of {last.confirmed.isoformat(timespec='seconds')}"
        )
        return Beginning(last.deployment, last=last)


def begun(settings: Settings, database: Database, start: Beginning) -> Configuration:
    configuration = Configuration(database, max_age=settings.snapshot_max_age_seconds)
    if (last := start.last) is not None:
        configuration.restore(last.owned, last.generation, last.age(datetime.now(UTC)))
    return configuration


async def keeper(
    settings: Settings, configuration: Configuration, known: KnownKeys, deployment: str
) -> SnapshotKeeper | None:
    """What keeps the snapshot up to date; None: there is no file for it, or no key."""
    file = await asyncio.to_thread(_file, settings)
    if file is None:
        return None
    return SnapshotKeeper(
        file,
        configuration,
        known,
        deployment=deployment,
        database=settings.database_url.place,
        max_age=settings.snapshot_max_age_seconds,
    )


def _file(settings: Settings) -> SnapshotFile | None:
    try:
        keyring = keyring_of(settings, [])
    except (BadKeyring, OSError):  # which the vault reports
        return None
    if settings.snapshot_file is None or keyring is None:
        return None
    return SnapshotFile(settings.snapshot_file, keyring)


def _usable(settings: Settings, file: SnapshotFile, away: DatabaseAway) -> Snapshot:
    try:
        last = file.read()
    except BadSnapshot as error:
        raise CannotStart(f"{away}, and {error}") from error
    if last.database != settings.database_url.place:
        raise CannotStart(f"{away}, and the snapshot is of another one")
    if last.age(datetime.now(UTC)) > settings.snapshot_max_age_seconds:
        raise CannotStart(f"{away}, and the snapshot is older than LLM_SNAPSHOT_MAX_AGE_SECONDS")
    return last


async def _deployment(database: Database) -> str:
    try:
        return await database.deployment_id()
    except StorageUnavailable as error:
        raise DatabaseAway(str(error)) from error
