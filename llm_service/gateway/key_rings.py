"""The key ring a replica works with: follows its file, and says in the database what it has."""

import asyncio
import logging
import platform
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from llm_service.domain.encryption import ReplicaKeys
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.keys import REPORT_SECONDS, Keys
from llm_service.gateway.ids import new_id
from llm_service.storage.database import Database
from llm_service.vault import BadKeyring, Keyring, Vault

logger = logging.getLogger(__name__)

_FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RingUse:
    """What a replica's ring depends on, and who depends on it.

    Attributes:
        read: the ring as it is now in its file; it blocks, and may raise BadKeyring and OSError.
        refresh: brings the configuration in memory up to what is stored.
        sealing: told whether secrets can be sealed, whenever that may have changed.
        changed: does at once what a new ring asks for; may raise StorageUnavailable.
        linger_seconds: how long a key that left the ring still opens: the longest call.
    """

    read: Callable[[], Keyring | None]
    refresh: Callable[[], Awaitable[None]]
    sealing: Callable[[bool], None]
    changed: Callable[[], Awaitable[object]]
    linger_seconds: float


class KeyRings:
    """Keeps a vault at the ring that is in its file. A ring that is no good changes nothing."""

    def __init__(self, vault: Vault, database: Database, use: RingUse) -> None:
        self._vault = vault
        self._database = database
        self._keys = Keys(database, vault)
        self._use = use
        self._ring = vault.keyring
        self._leaving: list[tuple[float, Keyring]] = []
        self._problem = ""
        self._reported = ReplicaKeys(new_id(), platform.node(), "", (), "", datetime.now(UTC))
        self._report_due = 0.0

    async def follow(self, poll_seconds: float) -> None:
        """Look at the file again and again, until cancelled."""
        failing = False
        try:
            while True:
                try:
                    await self.look()
                except StorageUnavailable:
                    if not failing:
                        logger.warning("the database does not answer; keeping the key ring")
                    failing = True
                except Exception:  # a replica that stopped looking would miss a rotation
                    if not failing:
                        logger.exception("the key ring cannot be looked at; keeping it")
                    failing = True
                else:
                    failing = False
                await asyncio.sleep(poll_seconds)
        finally:
            with suppress(StorageUnavailable):
                async with self._database.begin() as tx:
                    await tx.keys.forget(self._reported.replica_uid)

    async def look(self) -> None:
        """Take over what is in the file now, if it can be used.

        Raises:
            StorageUnavailable: a new ring cannot be checked; the one before stays.
        """
        now = time.monotonic()
        ring = await self._read()
        due = now >= self._report_due
        if due or ring != self._ring or any(end <= now for end, _ in self._leaving):
            await self._take(ring, now)
        self._use.sealing(not self._vault.trouble)
        if due or self._standing() != self._reported:
            self._report_due = now + REPORT_SECONDS
            await self._report()

    async def _read(self) -> Keyring | None:
        """The ring in the file; the one in use if that cannot be used."""
        try:
            ring = await asyncio.to_thread(self._use.read)
        except (BadKeyring, OSError) as error:
            problem = str(error) if isinstance(error, BadKeyring) else f"{error.strerror}"
            if problem != self._problem:
                logger.error("the key ring is left as it was: %s", problem)
            self._problem = problem
            return self._ring
        self._problem = ""
        return ring

    async def _take(self, ring: Keyring | None, now: float) -> None:
        refused = await self._keys.verify(ring)
        if self._ring is not None and _ids(self._ring) - _ids(ring):
            # Whoever read the configuration before may still open what the old ring sealed.
            await self._use.refresh()
            self._leaving.append((now + self._use.linger_seconds, self._ring))
        self._leaving = [(end, old) for end, old in self._leaving if end > now]
        opening = ring
        for _, old in self._leaving:
            opening = opening.keeping(old) if opening is not None else None
        before = self._vault.trouble
        self._vault.use(opening, refused)
        changed = ring != self._ring
        if changed:
            logger.info("the key ring is now %r", ring)
        if self._vault.trouble != before and self._vault.trouble:
            logger.error("secrets cannot be sealed: %s", self._vault.trouble)
        self._ring = ring
        if changed:
            with suppress(StorageUnavailable):  # whoever needs it does it again in time
                await self._use.changed()

    def _standing(self) -> ReplicaKeys:
        """What to report, at the time of the last report: to see whether it is news."""
        return ReplicaKeys(
            self._reported.replica_uid,
            self._reported.host,
            self._ring.primary_id if self._ring is not None else "",
            tuple(sorted(_ids(self._ring))),
            self._problem or self._vault.trouble,
            self._reported.report_time,
        )

    async def _report(self) -> None:
        now = datetime.now(UTC)
        standing = replace(self._standing(), report_time=now)
        async with self._database.begin() as tx:
            await tx.keys.report(standing)
            await tx.keys.forget_before(now - _FORGET_AFTER)
        self._reported = standing


def _ids(ring: Keyring | None) -> set[str]:
    return set(ring.schemes) if ring is not None else set()
