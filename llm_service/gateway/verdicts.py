"""What calls teach about credentials: which one a provider refuses, and which works after all."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

from llm_service.domain.provider import SEALED_SOURCES, Credential, Provider
from llm_service.errors import EtagMismatch, ResourceNotFound, StorageUnavailable
from llm_service.storage.database import Database

logger = logging.getLogger(__name__)


class Verdicts:
    """Marks credentials as rejected, or no longer so, off the path of the calls that found out.

    Only sealed secrets are marked: what a pointer points to can change without anybody telling us.
    Whatever works loses its mark.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heard: asyncio.Queue[tuple[Provider, Credential]] = asyncio.Queue()
        self._waiting: set[tuple[str, int]] = set()

    def hear(self, provider: Provider, credential: Credential | None, *, rejected: bool) -> None:
        """Take note; never fails, never waits, and costs nothing when it is no news."""
        if credential is None or credential.rejected is rejected:
            return
        if rejected and credential.source_type not in SEALED_SOURCES:
            return
        version = credential.uid, credential.version
        if version not in self._waiting:
            self._waiting.add(version)
            self._heard.put_nowait((provider, replace(credential, rejected=rejected)))

    async def run(self) -> None:
        """Store what is heard, until cancelled. What the database does not take is heard again."""
        while True:
            provider, credential = await self._heard.get()
            try:
                await self._store(provider, credential)
            except StorageUnavailable:
                logger.warning("a credential could not be marked: the database does not answer")
            except Exception:  # later verdicts must still be stored
                logger.exception("a credential could not be marked")
            finally:
                self._waiting.discard((credential.uid, credential.version))

    async def _store(self, provider: Provider, credential: Credential) -> None:
        # Whoever changed the credential meanwhile, or marked it first, knows better.
        with suppress(EtagMismatch, ResourceNotFound):
            async with self._database.begin() as tx:
                await tx.credentials.update(credential, credential.version)
                await tx.config.bump(provider.tenant)
                logger.info(
                    "credential %s is %s",
                    credential.name,
                    "rejected by its provider" if credential.rejected else "accepted again",
                )
