"""A connection to PostgreSQL that waits for no answer for ever.

The server ends a statement that takes too long, and TCP a connection whose data nobody takes; a
server or a network between that takes our bytes and sends none, or sends them late, passes both.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from psycopg import AsyncConnection, OperationalError, errors
from psycopg.abc import PQGen

from llm_service.storage.patience import AT_LEAST

T = TypeVar("T")

Connect = Callable[..., Awaitable[AsyncConnection[Any]]]


def connector(seconds: float) -> Connect:
    """What makes connections that are closed when one answer takes longer than `seconds`."""

    class Impatient(AsyncConnection[Any]):
        async def wait(
            self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None
        ) -> T:
            if timeout is not None:
                return await super().wait(gen, interval, timeout)
            try:
                # Not asyncio.timeout: psycopg meets a cancellation by asking the server, for long.
                return await super().wait(gen, interval, max(seconds, AT_LEAST.get()))
            except errors._WaitTimeout as error:  # noqa: SLF001 - it has no public name
                self.pgconn.finish()
                raise OperationalError("the server took too long to answer") from error

    return Impatient.connect
