"""Which calls that may be repeated are at work or were served, and by whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Update, and_, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.creation import Creation
from llm_service.errors import RequestIdReused
from llm_service.storage import rows, sealed
from llm_service.storage.creations import KEPT, key_of
from llm_service.storage.tables import creations as table


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a call so far.

    `answer` None: it has not been served. `key_id` "": its answer was not kept. `expired`: whoever
    was at work on it has been silent for too long.
    """

    completion_id: str
    answer: bytes | None
    key_id: str
    expired: bool


class CallClaims:
    """The calls of the last 24 hours that their senders may repeat.

    A claim is held by the completion it was made for: who has lost it changes nothing any more.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, call: Creation, completion_id: str, lease: timedelta) -> Standing | None:
        """Hold the call for `lease`; None: it is held, else how it stands with another.

        Raises:
            RequestIdReused: another call was made under that id.
        """
        now = await rows.now(self._connection)
        old = and_(key_of(call), table.c.create_time <= now - KEPT)
        await self._connection.execute(delete(table).where(old))
        values = {
            "tenant": call.tenant,
            "method": call.method,
            "request_id": call.request_id,
            "body_digest": call.body_digest,
            "create_time": now,
            "completion_id": completion_id,
            "lease_time": now + lease,
        }
        insert = rows.insert_new(self._connection.dialect, table).values(rows.check(table, values))
        # Without the option SQLAlchemy does not count what an insert did.
        made = await self._connection.execute(insert, execution_options={"preserve_rowcount": True})
        if made.rowcount:
            return None
        found = (await self._connection.execute(select(table).where(key_of(call)))).one()
        if found.body_digest != call.body_digest:
            raise RequestIdReused("another request was sent under this request_id")
        expired = found.lease_time <= now
        return Standing(found.completion_id, found.answer, found.key_id or "", expired)

    async def take_over(
        self, call: Creation, former: str, completion_id: str, lease: timedelta
    ) -> bool:
        """Hold what `former` held and let lapse; False: another was quicker."""
        now = await rows.now(self._connection)
        lapsed = and_(
            key_of(call),
            table.c.completion_id == former,
            table.c.lease_time <= now,
            table.c.answer.is_(None),
        )
        values = {"completion_id": completion_id, "lease_time": now + lease}
        return await self._changed(update(table).where(lapsed).values(values))

    async def renew(self, held: Mapping[str, Creation], lease: timedelta) -> None:
        """Hold those calls for `lease` from now on, each as long as its completion holds it."""
        until = await rows.now(self._connection) + lease
        # By their keys: whoever looks through the calls of a day comes too late for its own.
        keys = [(call.tenant, call.method, call.request_id) for call in held.values()]
        key = tuple_(table.c.tenant, table.c.method, table.c.request_id)
        own = and_(key.in_(keys), table.c.completion_id.in_(list(held)))
        await self._connection.execute(update(table).where(own).values(lease_time=until))

    async def serve(
        self, call: Creation, completion_id: str, answer: bytes = b"", key_id: str = ""
    ) -> bool:
        """Note that it was served, with its answer if that is kept; False: the claim was lost.

        Raises:
            EncryptionKeyMissing: the answer is sealed with a key that was retired.
        """
        held = and_(key_of(call), table.c.completion_id == completion_id, table.c.answer.is_(None))
        values = {"answer": answer, "key_id": key_id}
        if not await self._changed(update(table).where(held).values(values)):
            return False
        await sealed.refuse_retired(self._connection, table, key_of(call))
        return True

    async def release(self, call: Creation, completion_id: str) -> None:
        """It was not served: let it be made again."""
        held = and_(key_of(call), table.c.completion_id == completion_id, table.c.answer.is_(None))
        await self._connection.execute(delete(table).where(held))

    async def _changed(self, statement: Update) -> bool:
        return bool((await self._connection.execute(statement)).rowcount)
