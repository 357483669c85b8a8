"""The keys that seal secrets: known again, counted, and retired once nothing needs them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from llm_service.domain.access import CALLER, EVERY_TENANT
from llm_service.domain.encryption import EncryptionKey, KeyStatus, KnownKey, ReplicaKeys
from llm_service.errors import ResourceInUse, ResourceNotFound
from llm_service.storage.database import Database
from llm_service.vault import Keyring, Vault

REPORT_SECONDS = 30.0
"""How often a replica says which keys it has."""

SILENT_AFTER = timedelta(seconds=3 * REPORT_SECONDS)
"""A replica that has said nothing for so long is gone."""

WRONG = "is not the one this deployment knows under its id"
RETIRED = "was retired"


class Keys:
    """One deployment's keys. They are the operator's: a tenant sees none."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._vault = vault
        self._now = now

    async def verify(self, keyring: Keyring | None) -> dict[str, str]:
        """Get to know a ring's keys; returns those that must not seal, each with the reason.

        Whichever key comes first under an id is the one for good.
        """
        if keyring is None:
            return {}
        checks = keyring.checks(self._vault.deployment_id)
        async with self._database.read() as tx:
            known = {key.check.key_id: key for key in await tx.keys.all()}
        if any(check.key_id not in known for check in checks):
            async with self._database.begin() as tx:
                await tx.keys.register(checks, self._now())
                known = {key.check.key_id: key for key in await tx.keys.all()}
        refused = {}
        for check in checks:
            key = known[check.key_id]
            if key.check != check:
                refused[check.key_id] = WRONG
            elif key.retire_time is not None:
                refused[check.key_id] = RETIRED
        return refused

    async def status(self) -> KeyStatus:
        """Every key there is or has been, what needs it, and which replica has it.

        Raises:
            ResourceNotFound: the caller belongs to a tenant.
        """
        refuse_tenants()
        refused = await self.verify(self._vault.keyring)
        async with self._database.read() as tx:
            known = await tx.keys.all()
            references = await tx.sealed.references()
            replicas = await tx.keys.replicas(self._now() - SILENT_AFTER)
        ids = [key.check.key_id for key in known]
        rows = {key.check.key_id: key for key in known}
        strangers = sorted(references.keys() - rows.keys())
        keys = tuple(
            self._standing(key_id, rows.get(key_id), references.get(key_id, 0), refused)
            for key_id in (*ids, *strangers)
        )
        return KeyStatus(keys, replicas)

    async def check_promotion(self, key_id: str) -> None:
        """Refuse to have a key seal that some replica could not open.

        Raises:
            ResourceInUse: a replica has not loaded it yet, or it is not fit to seal.
        """
        keyring = self._vault.keyring
        refused = await self.verify(keyring)
        if why := refused.get(key_id, ""):
            raise ResourceInUse(f"key {key_id} {why}")
        async with self._database.read() as tx:
            replicas = await tx.keys.replicas(self._now() - SILENT_AFTER)
        if lacking := [one for one in replicas if key_id not in one.key_ids]:
            raise ResourceInUse(
                f"key {key_id} is not loaded yet by {_named(lacking)}: what it seals could not be "
                "opened there"
            )

    async def retire(self, key_id: str) -> None:
        """See to it that nothing can be sealed with a key, now that nothing is.

        Raises:
            ResourceInUse: stored values need the key, or it is the primary one somewhere.
            ResourceNotFound: the deployment never had such a key.
        """
        keyring = self._vault.keyring
        if keyring is not None and keyring.primary_id == key_id:
            raise ResourceInUse(f"key {key_id} seals: promote another one first")
        now = self._now()
        async with self._database.begin() as tx:
            await tx.keys.lock(key_id)
            replicas = await tx.keys.replicas(now - SILENT_AFTER)
            if sealing := [one for one in replicas if one.primary_id == key_id]:
                raise ResourceInUse(f"key {key_id} still seals on {_named(sealing)}")
            if count := (await tx.sealed.references()).get(key_id, 0):
                raise ResourceInUse(
                    f"key {key_id} is needed by {count} stored values: rewrap them, and replace "
                    "client keys made while it was primary"
                )
            await tx.keys.retire(key_id, now)

    def _standing(
        self, key_id: str, known: KnownKey | None, references: int, refused: dict[str, str]
    ) -> EncryptionKey:
        keyring = self._vault.keyring
        loaded = keyring is not None and key_id in keyring.schemes
        return EncryptionKey(
            key_id=key_id,
            scheme=known.check.scheme if known else "",
            primary=keyring is not None and keyring.primary_id == key_id,
            loaded=loaded,
            references=references,
            retire_time=known.retire_time if known else None,
            problem=refused.get(key_id, ""),
        )


def refuse_tenants() -> None:
    """Raise ResourceNotFound if the caller belongs to a tenant: keys are the operator's."""
    if CALLER.get().principal.tenant != EVERY_TENANT:
        raise ResourceNotFound("a tenant has no encryption keys")


def _named(replicas: list[ReplicaKeys]) -> str:
    return ", ".join(f"{one.host or 'a replica'} ({one.replica_uid[-8:]})" for one in replicas)
