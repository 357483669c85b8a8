"""Encryption keys as rows: which a deployment has had, and which replica holds which."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.encryption import KeyCheck, KnownKey, ReplicaKeys
from llm_service.errors import ResourceNotFound
from llm_service.storage import rows
from llm_service.storage.tables import encryption_keys as table
from llm_service.storage.tables import keyring_replicas as replicas


class EncryptionKeys:
    """The keys of this deployment, and the rings of its replicas."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def register(self, checks: Iterable[KeyCheck], now: datetime) -> None:
        """Remember keys by what they give; an id that is known keeps what it has."""
        for check in checks:
            values = {
                "key_id": check.key_id,
                "scheme": check.scheme,
                "check_value": check.value,
                "create_time": now,
                "retire_time": None,
            }
            await self._connection.execute(
                rows.insert_new(self._connection.dialect, table).values(values)
            )

    async def all(self) -> tuple[KnownKey, ...]:
        """Every key there has been, oldest first."""
        statement = select(table).order_by(table.c.create_time, table.c.key_id)
        return tuple(_to_key(row) for row in await self._connection.execute(statement))

    async def lock(self, key_id: str) -> KnownKey:
        """One key. Until the transaction ends, nobody else commits a row that names it.

        Raises:
            ResourceNotFound: the deployment never had it.
        """
        statement = select(table).where(table.c.key_id == key_id).with_for_update()
        row = (await self._connection.execute(statement)).first()
        if row is None:
            raise ResourceNotFound("no such encryption key")
        return _to_key(row)

    async def retire(self, key_id: str, now: datetime) -> None:
        """From now on nothing that names the key can be stored. Lock it first."""
        statement = update(table).where(table.c.key_id == key_id, table.c.retire_time.is_(None))
        await self._connection.execute(statement.values(retire_time=now))

    async def report(self, replica: ReplicaKeys) -> None:
        """Say which ring a replica works with; it replaces what it said before."""
        await self.forget(replica.replica_uid)
        values = {
            "replica_uid": replica.replica_uid,
            "host": replica.host,
            "primary_id": replica.primary_id,
            "key_ids": list(replica.key_ids),
            "problem": replica.problem,
            "report_time": replica.report_time,
        }
        await self._connection.execute(insert(replicas).values(rows.clip(replicas, values)))

    async def forget(self, replica_uid: str) -> None:
        """Drop what a replica said: it has stopped."""
        await self._connection.execute(
            delete(replicas).where(replicas.c.replica_uid == replica_uid)
        )

    async def forget_before(self, time: datetime) -> None:
        """Drop what replicas said that have not reported since."""
        await self._connection.execute(delete(replicas).where(replicas.c.report_time < time))

    async def replicas(self, since: datetime) -> tuple[ReplicaKeys, ...]:
        """What each replica said last, of those that reported since."""
        statement = (
            select(replicas)
            .where(replicas.c.report_time >= since)
            .order_by(replicas.c.host, replicas.c.replica_uid)
        )
        return tuple(
            ReplicaKeys(
                row.replica_uid,
                row.host,
                row.primary_id,
                tuple(row.key_ids),
                row.problem,
                row.report_time,
            )
            for row in await self._connection.execute(statement)
        )


def _to_key(row: Row[Any]) -> KnownKey:
    check = KeyCheck(row.key_id, row.scheme, row.check_value)
    return KnownKey(check, row.create_time, row.retire_time)
