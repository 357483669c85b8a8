"""Rewrapping: every stored secret that an older key sealed, sealed anew with the primary one."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from llm_service.domain.encryption import Rewrapped, SealedRow
from llm_service.errors import EncryptionKeyMissing, ProviderCredentialUnreadable
from llm_service.gateway.admin.keys import Keys, refuse_tenants
from llm_service.storage import sealed
from llm_service.storage.database import Database
from llm_service.vault import Binding, Vault

BATCH = 50
"""Rows changed in one transaction: others never wait long for it."""


class Rewrap:
    """Changes how secrets are sealed, and nothing that anybody can see.

    Every step can be repeated: what is done needs nothing, so a run that was cut off is continued
    by the next. Whoever changes a secret meanwhile wins.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._keys = Keys(database, vault)

    async def batches(self, size: int = BATCH) -> AsyncGenerator[Rewrapped]:
        """Go once through all that is not sealed with the primary key, `size` rows a step.

        Raises:
            EncryptionKeyMissing: there is no key to seal with.
            ResourceInUse: a replica has not loaded the primary key yet.
            ResourceNotFound: the caller belongs to a tenant.
        """
        refuse_tenants()
        keyring = self._vault.keyring
        if keyring is None or self._vault.trouble:
            raise EncryptionKeyMissing(self._vault.trouble)
        primary_id = keyring.primary_id
        await self._keys.check_promotion(primary_id)
        for column in sealed.COLUMNS:
            after = ""
            while True:
                async with self._database.read() as tx:
                    found = await tx.sealed.batch(column, primary_id, after, size)
                if not found:
                    break
                after = found[-1].row_uid
                yield await self._store(found)

    async def upto(self, limit: int) -> tuple[Rewrapped, int]:
        """Rewrap at most `limit` values; with how many then still need another key.

        Raises:
            EncryptionKeyMissing: there is no key to seal with.
            ResourceInUse: a replica has not loaded the primary key yet.
            ResourceNotFound: the caller belongs to a tenant.
        """
        done = Rewrapped()
        async with aclosing(self.batches(min(limit, BATCH))) as batches:
            async for batch in batches:
                done += batch
                if done.rewrapped + BATCH > limit:
                    break
        return done, await self.remaining()

    async def remaining(self) -> int:
        """How many stored values are sealed with another key than the primary one."""
        keyring = self._vault.keyring
        async with self._database.read() as tx:
            return await tx.sealed.outstanding(keyring.primary_id if keyring else "")

    async def _store(self, found: Sequence[SealedRow]) -> Rewrapped:
        renewed: list[tuple[SealedRow, str]] = []
        unreadable: list[SealedRow] = []
        for row in found:
            binding = _binding(row)
            try:
                secret = self._vault.open(row.sealed, binding)
            except ProviderCredentialUnreadable:
                unreadable.append(row)
            else:
                renewed.append((row, self._vault.seal(secret, binding)))
        moved: set[str] = set()
        skipped = 0
        async with self._database.begin() as tx:
            for row, text in renewed:
                if await tx.sealed.replace(row, text):
                    moved.add(row.tenant)
                else:
                    skipped += 1
            # Replicas hold what is sealed in memory: they must let go of the old key's.
            for tenant in sorted(moved):
                await tx.config.bump(tenant)
        return Rewrapped(len(renewed) - skipped, skipped, tuple(unreadable))


def _binding(row: SealedRow) -> Binding:
    return Binding(
        row.table,
        row.column,
        row.tenant,
        row.provider_uid,
        row.row_uid,
        row.secret_version,
        row.origin,
    )
