"""Stored values that a ring key stands behind: counted by key, and sealed anew one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Table,
    case,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.encryption import SealedRow
from llm_service.errors import EncryptionKeyMissing
from llm_service.storage.tables import METADATA, credentials, encryption_keys, providers, webhooks
from llm_service.storage.tables.columns import RingKeyId, Sealed

_ENVELOPES = ("sealed1:", "sealed2:")
_ENVELOPE_LENGTH = 8


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values, with whose tenant and provider they are bound to."""

    table: Table
    name: str
    source: FromClause
    tenant: ColumnElement[str]
    provider_uid: ColumnElement[str]
    origin: ColumnElement[str]

    @property
    def value(self) -> ColumnElement[str]:
        return self.table.c[self.name]


CREDENTIAL_SECRETS = SealedColumn(
    credentials,
    "sealed",
    credentials.join(providers),
    providers.c.tenant,
    credentials.c.provider_uid,
    credentials.c.origin,
)

WEBHOOK_SECRETS = SealedColumn(
    webhooks, "sealed", webhooks, webhooks.c.tenant, literal(""), literal("")
)

COLUMNS: tuple[SealedColumn, ...] = (CREDENTIAL_SECRETS, WEBHOOK_SECRETS)
"""Every column of the type `Sealed`: what a rotation rewraps."""


class SealedRows:
    """The sealed values of all tables."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def references(self) -> Mapping[str, int]:
        """How many stored values need each key, by key id; soft-deleted providers' too."""
        counts: dict[str, int] = {}
        for column in _of_type(Sealed):
            await self._count(counts, self._key_id(column), column != "")
        for column in _of_type(RingKeyId):
            await self._count(counts, column, column != "")
        return counts

    async def outstanding(self, primary_id: str) -> int:
        """How many sealed values another key than the primary one opens."""
        counts: dict[str, int] = {}
        for column in COLUMNS:
            await self._count(counts, self._key_id(column.value), column.value != "")
        return sum(count for key_id, count in counts.items() if key_id != primary_id)

    async def batch(
        self, column: SealedColumn, primary_id: str, after: str, limit: int
    ) -> Sequence[SealedRow]:
        """Values not sealed with the primary key, by row uid, from behind `after`."""
        table = column.table
        statement = (
            select(
                table.c.uid,
                table.c.version,
                table.c.secret_version,
                column.value.label("sealed"),
                column.tenant.label("tenant"),
                column.provider_uid.label("provider_uid"),
                column.origin.label("origin"),
            )
            .select_from(column.source)
            .where(table.c.uid > after, column.value != "")
            .where(self._key_id(column.value) != primary_id)
            .order_by(table.c.uid)
            .limit(limit)
        )
        return [
            SealedRow(
                table.name,
                column.name,
                row.tenant,
                row.provider_uid,
                row.uid,
                row.secret_version,
                row.version,
                row.sealed,
                row.origin,
            )
            for row in await self._connection.execute(statement)
        ]

    async def replace(self, row: SealedRow, sealed: str) -> bool:
        """Put the same secret, sealed anew, in the place of the old; False: somebody changed it.

        The row keeps its version: nothing that a caller can see is other than before.

        Raises:
            EncryptionKeyMissing: it is sealed with a key that was retired.
        """
        table = METADATA.tables[row.table]
        # Never waits for a row, so never in a circle with those who wait for it.
        free = (
            select(table.c.uid)
            .where(table.c.uid == row.row_uid, table.c.version == row.version)
            .where(table.c[row.column] == row.sealed)
            .with_for_update(skip_locked=True)
        )
        statement = update(table).where(table.c.uid == free.scalar_subquery())
        changed = await self._connection.execute(statement.values({row.column: sealed}))
        if changed.rowcount == 0:
            return False
        await refuse_retired(self._connection, table, table.c.uid == row.row_uid)
        return True

    async def _count(
        self, counts: dict[str, int], key_id: ColumnElement[str], used: ColumnElement[bool]
    ) -> None:
        named = select(key_id.label("key_id")).where(used).subquery()
        statement = select(named.c.key_id, func.count()).group_by(named.c.key_id)
        for found, count in await self._connection.execute(statement):
            counts[found] = counts.get(found, 0) + count

    def _key_id(self, sealed: ColumnElement[str]) -> ColumnElement[str]:
        """The third field of a sealed value."""
        postgresql = self._connection.dialect.name == "postgresql"
        position = func.strpos if postgresql else func.instr
        tail: ColumnElement[str] = func.substr(sealed, _ENVELOPE_LENGTH + 1)
        tail = func.substr(tail, position(tail, ":") + 1)
        return func.substr(tail, 1, position(tail, ":") - 1)


async def refuse_retired(
    connection: AsyncConnection, table: Table, key: ColumnElement[bool]
) -> None:
    """After a row is written: see to it that no retired key stands behind it.

    Until the transaction ends, no key it names can be retired either.

    Raises:
        EncryptionKeyMissing: it names a retired key. Nothing must be committed.
    """
    columns = [*_of_type(Sealed, table), *_of_type(RingKeyId, table)]
    if not columns:
        return
    written = (await connection.execute(select(*columns).where(key))).one()
    named = {_key_id_in(text) for text in written if text}
    if not named:
        return
    statement = (
        select(encryption_keys.c.key_id, encryption_keys.c.retire_time)
        .where(encryption_keys.c.key_id.in_(named))
        .order_by(encryption_keys.c.key_id)
        .with_for_update(read=True)
    )
    for row in await connection.execute(statement):
        if row.retire_time is not None:
            raise EncryptionKeyMissing(
                "the primary encryption key was retired", metadata={"keyId": row.key_id}
            )


def _key_id_in(text: str) -> str:
    """The id itself, or that in a sealed value."""
    return text.split(":")[2] if text.startswith(_ENVELOPES) else text


def kept(column: SealedColumn, secret_version: int, sealed: str) -> "ColumnElement[str] | str":
    """What to write over a stored value: itself, if it is a form of the same secret.

    Whoever writes a row it read earlier would else undo what rewrapping has done meanwhile.
    """
    if not sealed:
        return sealed
    same = (column.table.c.secret_version == secret_version) & (column.value != "")
    return case((same, column.value), else_=sealed)


def _of_type(kind: type, table: Table | None = None) -> Iterator[Column[str]]:
    tables = METADATA.sorted_tables if table is None else [table]
    for one in tables:
        yield from (column for column in one.c if isinstance(column.type, kind))
