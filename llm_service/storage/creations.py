"""Which requests to create something were served already."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.creation import Creation, Repeated
from llm_service.errors import RequestIdReused
from llm_service.storage import rows
from llm_service.storage.tables import creations as table

KEPT = timedelta(hours=24)


class Creations:
    """The requests of the last 24 hours, each claimed by the transaction that serves it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, creation: Creation, now: datetime) -> None:
        """Make the request this transaction's; whoever repeats it waits until that ends.

        Raises:
            Repeated: another transaction has served it.
            RequestIdReused: another has served another request under that id.
        """
        old = and_(key_of(creation), table.c.create_time <= now - KEPT)
        await self._connection.execute(delete(table).where(old))
        values = {
            "tenant": creation.tenant,
            "method": creation.method,
            "request_id": creation.request_id,
            "body_digest": creation.body_digest,
            "create_time": now,
        }
        insert = rows.insert_new(self._connection.dialect, table).values(rows.check(table, values))
        # Without the option SQLAlchemy does not count what an insert did.
        result = await self._connection.execute(
            insert, execution_options={"preserve_rowcount": True}
        )
        if result.rowcount == 0:
            await self._repeated(creation)

    async def finish(self, creation: Creation, answer: bytes) -> None:
        """Keep the answer for those who repeat the request."""
        await self._connection.execute(
            update(table).where(key_of(creation)).values({"answer": answer})
        )

    async def forget(self, now: datetime) -> int:
        """Drop what is older than 24 hours. How many."""
        old = table.c.create_time <= now - KEPT
        return (await self._connection.execute(delete(table).where(old))).rowcount

    async def _repeated(self, creation: Creation) -> None:
        found = await self._connection.execute(
            select(table.c.body_digest, table.c.answer).where(key_of(creation))
        )
        digest, answer = found.one()
        if digest != creation.body_digest:
            raise RequestIdReused("another request was sent under this request_id")
        raise Repeated(answer)


def key_of(creation: Creation) -> ColumnElement[bool]:
    """Its row."""
    return and_(
        table.c.tenant == creation.tenant,
        table.c.method == creation.method,
        table.c.request_id == creation.request_id,
    )
