"""Calls whose senders may repeat them: one answer for one request id, on whichever replica."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from llm_service.domain.access import as_service
from llm_service.domain.creation import Creation, Repeated
from llm_service.domain.usage import UsageRecord
from llm_service.errors import AlreadyExists, GatewayError, RequestInProgress, StorageUnavailable
from llm_service.gateway.ids import new_id
from llm_service.gateway.totals import summed
from llm_service.storage.call_claims import Standing
from llm_service.storage.database import Database, Transaction
from llm_service.vault import Unreadable, Vault, open_answer, seal_answer

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
"""How long a process may be silent before the same request may be made anew."""

EVERYBODY = "*"
"""Stands for every tenant among those whose answers are kept."""

_RENEW_SECONDS = LEASE.total_seconds() / 3
_RETRY_SECONDS = 1.0
_PATIENCE_SECONDS = 1.0  # an answer is not withheld for a database that is slow to note it
_RECORDS_SECONDS = 3.0  # usage records are stored within a second of the answer
_LOOK_SECONDS = 0.1


class Claim:
    """The right to serve a call. Given back by one of its methods.

    `keeps`: the answer is kept for whoever repeats the call.
    """

    def __init__(
        self, calls: "RepeatableCalls", call: Creation, completion_id: str, *, keeps: bool
    ) -> None:
        self.completion_id = completion_id
        self.keeps = keeps
        self._calls = calls
        self._call = call
        self._served = False

    async def served(self, answer: bytes) -> None:
        """The caller is about to be told: whoever repeats the call is told the same, or of it."""
        self._served = True
        await self._calls.serve(self._call, self, answer if self.keeps else None)

    async def failed(self) -> None:
        """The caller is about to be told so: it may make the call again at once."""
        await asyncio.wait({self._calls.release(self._call, self)}, timeout=_PATIENCE_SECONDS)

    def left(self) -> None:
        """Nobody waits for an answer any more: unless there is one, the call may be made again."""
        if not self._served:
            self._calls.release(self._call, self)


class RepeatableCalls:
    """The claims of this process.

    Args:
        database: where claims are: the only way for replicas to know of each other's.
        vault: seals the answers that are kept.
        keeping: tenants who have their answers kept; `EVERYBODY` is all of them.
    """

    def __init__(self, database: Database, vault: Vault, keeping: Container[str] = ()) -> None:
        self._database = database
        self._vault = vault
        self._keeping = keeping
        self._held: dict[str, Creation] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def claim(self, call: Creation, *, keep: bool = True) -> Claim:
        """Hold a call; `keep` False: its sender does not want its answer kept.

        Raises:
            Repeated: it was served; the exception has the answer.
            AlreadyExists: it was served, and its answer was not kept: `failure` says what it cost.
            RequestInProgress: it is being served.
            RequestIdReused: another call was made under that id.
            StorageUnavailable: nobody can say whether it was made before.
        """
        claim = Claim(self, call, new_id(), keeps=keep and self._keeps(call.tenant))
        self._held[claim.completion_id] = call
        try:
            standing = await self._stand(call, claim.completion_id)
        except BaseException:
            self.release(call, claim)
            raise
        if standing is None:
            return claim
        del self._held[claim.completion_id]
        if standing.answer is None:
            raise RequestInProgress(
                "the same request is being served",
                retry_delay=_RETRY_SECONDS,
                metadata={"completionId": standing.completion_id},
            )
        await self._tell(call, standing)
        return claim

    async def serve(self, call: Creation, claim: Claim, answer: bytes | None) -> None:
        """As `Claim.served`; `answer` None: it is not kept."""
        noting = self._keep(self._serve(call, claim, answer), claim)
        await asyncio.wait({noting}, timeout=_PATIENCE_SECONDS)

    def release(self, call: Creation, claim: Claim) -> asyncio.Task[None]:
        """As `Claim.left`; done when it is noted."""
        completion_id = claim.completion_id
        return self._keep(
            self._noted(lambda tx: tx.call_claims.release(call, completion_id)), claim
        )

    async def run(self) -> None:
        """Renew what is held, until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            if not self._held:
                continue
            try:
                # Of every tenant at once.
                with as_service():
                    async with self._database.begin() as tx:
                        await tx.call_claims.renew(self._held, LEASE)
            except StorageUnavailable:
                logger.warning("claims of repeatable calls wait for the database")
            except Exception:  # the next renewal must still be made
                logger.exception("claims of repeatable calls could not be renewed")

    async def aclose(self) -> None:
        """Return when everything is noted that could be."""
        if self._noting:
            await asyncio.wait(self._noting, timeout=_PATIENCE_SECONDS)
        for task in self._noting:
            task.cancel()

    def _keeps(self, tenant: str) -> bool:
        return EVERYBODY in self._keeping or tenant in self._keeping

    async def _stand(self, call: Creation, completion_id: str) -> Standing | None:
        async with self._database.begin() as tx:
            standing = await tx.call_claims.claim(call, completion_id, LEASE)
            if standing is None or standing.answer is not None or not standing.expired:
                return standing
            former = standing.completion_id
            records = await tx.usage.of_completion(former)
            if any(record.attempt.error is None for record in records):
                # Its process died between settling the call and saying so.
                await tx.call_claims.serve(call, former)
                return Standing(former, b"", "", expired=False)
            if await tx.call_claims.take_over(call, former, completion_id, LEASE):
                return None
            return standing

    async def _tell(self, call: Creation, standing: Standing) -> None:
        """Raise what a repeated call is told."""
        if standing.key_id and (ring := self._vault.keyring) is not None:
            place = _place(call, standing.completion_id)
            try:
                answer = await asyncio.to_thread(
                    open_answer, ring, standing.key_id, standing.answer or b"", place
                )
            except (Unreadable, GatewayError):
                logger.warning("a kept answer could not be opened")
            else:
                raise Repeated(answer)
        error = AlreadyExists(
            "the same request was served before, and its answer was not kept",
            metadata={"completionId": standing.completion_id},
        )
        attempts = [record.attempt for record in await self._records(standing.completion_id)]
        error.failure = summed(standing.completion_id, attempts, content_sent=False, dials=0)
        raise error

    async def _records(self, completion_id: str) -> Sequence[UsageRecord]:
        """Once they are stored, which they are soon after the answer."""
        for _ in range(int(_RECORDS_SECONDS / _LOOK_SECONDS)):
            async with self._database.read() as tx:
                found = await tx.usage.of_completion(completion_id)
            if any(record.attempt.error is None for record in found):
                return found
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    def _keep(self, noting: Coroutine[Any, Any, None], claim: Claim) -> asyncio.Task[None]:
        """Have it noted in the background, whatever becomes of whoever waits for that."""
        task = asyncio.create_task(noting)
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)
        task.add_done_callback(lambda _: self._held.pop(claim.completion_id, None))
        return task

    async def _serve(self, call: Creation, claim: Claim, answer: bytes | None) -> None:
        key_id, sealed = "", b""
        if answer is not None and (ring := self._vault.keyring) is not None:
            place = _place(call, claim.completion_id)
            key_id, sealed = await asyncio.to_thread(seal_answer, ring, answer, place)

        async def note(tx: Transaction) -> None:
            if not await tx.call_claims.serve(call, claim.completion_id, sealed, key_id):
                logger.warning("a repeatable call was served after its claim had lapsed")

        await self._noted(note)

    async def _noted(self, note: Callable[[Transaction], Awaitable[None]]) -> None:
        """Write it, again and again while the claim can last."""
        for _ in range(int(LEASE.total_seconds() / _RETRY_SECONDS)):
            try:
                async with self._database.begin() as tx:
                    await note(tx)
            except StorageUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)
            except GatewayError as error:  # a key that was retired: the answer is not kept
                logger.warning("what became of a repeatable call is not noted: %s", error.reason)
                return
            else:
                return
        logger.warning("what became of a repeatable call could not be noted in time")


def _place(call: Creation, completion_id: str) -> tuple[str, ...]:
    return (call.tenant, call.method, call.request_id, call.body_digest, completion_id)
