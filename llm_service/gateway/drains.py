"""After an answer broke off: reading on, or asking, in the background for what it used."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar

from llm_service.catalog.vocabularies import PACKAGED, Vocabularies
from llm_service.domain.provider import Model
from llm_service.domain.usage import UsageRecord
from llm_service.errors import GatewayError, ProviderProtocolError, ProviderTimeout
from llm_service.gateway.attempts import TrackedAttempt
from llm_service.gateway.inquiries import inquire, inquiry, restated
from llm_service.providers.base import (
    Adapter,
    AdapterEvent,
    Answer,
    BrokenOff,
    Call,
    Deadlines,
    Embeddings,
    EmbeddingsCall,
    Inquiry,
    TokenCount,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Asked = TypeVar("_Asked", Call, EmbeddingsCall)
_MOST_INPUTS_AT_ONCE = 8
_TOO_LATE = "the provider did not answer in time"
_Heard = Sequence[AdapterEvent] | Answer | Embeddings
Lease = AbstractContextManager[Adapter]
"""Keeps an adapter open for the length of a block; several may be within it at a time."""


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """Of one drain, seconds and bytes of content; how many may run at once; and for asking.

    `ask_seconds`: how long a vendor may take to say what an answer used; 0: it is not asked.
    """

    seconds: float = 30.0
    content_bytes: int = 8 << 20
    at_once: int = 100
    ask_seconds: float = 5.0


class Reading:
    """An adapter for one call, which reads in a task of its own and so can outlive its caller.

    Args:
        adapter: what reads.
        extra_seconds: how much longer than its caller it may have to read.
    """

    def __init__(self, adapter: Adapter, extra_seconds: float) -> None:
        self._adapter = adapter
        self._extra = extra_seconds
        self._task: asyncio.Task[Any] | None = None
        self._timeout: asyncio.Timeout | None = None
        self._streams = False
        # One batch ahead of the caller at most: a slow caller still slows the vendor down.
        self._ahead: asyncio.Queue[Sequence[AdapterEvent] | Exception | None] = asyncio.Queue(1)
        self.sent = False
        """The vendor has the request, or part of it: it may be working on it."""
        self.taken = False
        """Somebody reads on."""

    async def complete(self, call: Call) -> Answer:
        return await self._whole(self._adapter.complete(self._longer(call)), call.deadlines)

    async def embed(self, call: EmbeddingsCall) -> Embeddings:
        return await self._whole(self._adapter.embed(self._longer(call)), call.deadlines)

    async def stream(self, call: Call) -> AsyncGenerator[Sequence[AdapterEvent]]:
        """As the adapter's; leaving it leaves what it reads from as it is."""
        self._streams = True
        stream = self._adapter.stream(self._longer(call))
        by = asyncio.get_running_loop().time() + call.deadlines.total
        self._task = asyncio.create_task(self._read(stream, call.deadlines))
        while (batch := await self._next(by)) is not None:
            yield batch

    async def count_tokens(self, call: Call) -> TokenCount:
        return await self._adapter.count_tokens(call)

    def inquiry(self, call: Call, answer: BrokenOff) -> Inquiry | None:
        return self._adapter.inquiry(call, answer)

    async def models(self, deadline: float) -> tuple[Model, ...]:
        return await self._adapter.models(deadline)

    async def rest(self, hear: Callable[[_Heard], object]) -> None:
        """Read on to the end of the answer, for `extra_seconds` at most.

        Raises:
            GatewayError: the answer ended otherwise.
        """
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._extra)
        if self._streams:
            while (batch := await self._next()) is not None:
                hear(batch)
        elif self._task is not None:
            hear(await self._task)

    async def aclose(self) -> None:
        """Hang up, unless it is over."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            with suppress(asyncio.CancelledError, Exception):
                self._task.result()

    def _longer(self, call: _Asked) -> _Asked:
        """The call with more time, where its deadlines are its caller's; ours end it till then."""
        limits = call.deadlines

        def longer(seconds: float) -> float:
            return seconds + self._extra if seconds >= limits.total else seconds

        deadlines = Deadlines(
            limits.connect,
            longer(limits.first_token),
            longer(limits.idle),
            longer(limits.total),
        )
        return replace(call, deadlines=deadlines, on_send=self._note_sent)

    def _note_sent(self) -> None:
        self.sent = True

    async def _whole(self, work: Coroutine[Any, Any, T], limits: Deadlines) -> T:
        task = asyncio.create_task(self._in_time(work, limits))
        self._task = task
        # Unlike the task itself, the wait for it can be left.
        if not (await asyncio.wait([task], timeout=limits.total))[0]:
            raise ProviderTimeout(_TOO_LATE)
        return task.result()

    async def _in_time(self, work: Coroutine[Any, Any, T], limits: Deadlines) -> T:
        """Longer than its caller waits, so that whoever reads on finds it under way."""
        by = asyncio.get_running_loop().time() + limits.total + self._extra
        try:
            async with asyncio.timeout_at(by) as self._timeout:
                return await work
        except TimeoutError as error:
            raise ProviderTimeout(_TOO_LATE) from error
        finally:
            self._timeout = None  # an ended one cannot be moved

    async def _read(
        self, stream: AsyncGenerator[Sequence[AdapterEvent]], limits: Deadlines
    ) -> None:
        end: Exception | None = None
        try:
            await self._in_time(self._put_all(stream), limits)
        except Exception as error:  # noqa: BLE001 - is raised where the batches are taken
            end = error
        await self._ahead.put(end)

    async def _put_all(self, stream: AsyncGenerator[Sequence[AdapterEvent]]) -> None:
        async with aclosing(stream) as batches:
            async for batch in batches:
                await self._ahead.put(batch)

    async def _next(self, by: float | None = None) -> Sequence[AdapterEvent] | None:
        """None: the answer has ended. `by`: on the loop's clock."""
        if by is None or not self._ahead.empty():
            taken = await self._ahead.get()
        else:
            try:
                async with asyncio.timeout_at(by):
                    taken = await self._ahead.get()
            except TimeoutError as error:
                raise ProviderTimeout(_TOO_LATE) from error
        if isinstance(taken, Exception):
            raise taken
        return taken


class Drains:
    """What goes on for callers who are gone, bounded in number, time and size.

    Answers are read on, and vendors are asked what those used that broke off.
    `vocabularies`: what is counted here is counted by.
    """

    def __init__(
        self, limits: DrainLimits = DrainLimits(), vocabularies: Vocabularies = PACKAGED
    ) -> None:
        self._limits = limits
        self._vocabularies = vocabularies
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False
        self._weighing = 0

    @property
    def running(self) -> int:
        return len(self._running)

    def closing(
        self, attempt: TrackedAttempt, adapter: Adapter, lease: Lease
    ) -> AbstractAsyncContextManager[Adapter]:
        """As `around`, without reading on."""
        return _Closing(self, attempt, adapter, lease)

    @asynccontextmanager
    async def around(
        self, attempt: TrackedAttempt, adapter: Adapter, lease: Lease
    ) -> AsyncIterator[Reading]:
        """Settle the attempt by whatever ends the block early; if that is its caller, read on.

        The adapter is open for the block; `lease` keeps it open for what goes on afterwards.
        """
        reading = Reading(adapter, self._limits.seconds)
        try:
            async with self._left(attempt, reading, lease):
                yield reading
        except BaseException as leaving:
            attempt.broken_off(leaving, taken=reading.taken)
            raise
        finally:
            if not attempt.handed_over:
                await reading.aclose()

    @asynccontextmanager
    async def _left(
        self,
        attempt: TrackedAttempt,
        reading: Reading,
        lease: Lease,
    ) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as leaving:
            gone = not isinstance(leaving, Exception) or (
                isinstance(leaving, ProviderTimeout) and attempt.caller_ran_out
            )
            if not gone or not self._take(attempt, reading, lease):
                await self.count(attempt, reading, lease)
            raise

    async def count(self, attempt: TrackedAttempt, adapter: Adapter, lease: Lease) -> None:
        """Estimate what came; if the vendor can tell, its record waits for that, and no one else.

        The caller and the gates, which hold places and judge targets, have the estimate at once.
        """
        await self._weigh(attempt)
        ask = None if self._full else inquiry(attempt, adapter, self._limits.ask_seconds)
        if ask is None:
            return
        file = attempt.file

        def later(record: UsageRecord) -> None:
            self._start(self._file(attempt, record, ask, file), lease)

        attempt.file = later

    async def _weigh(self, attempt: TrackedAttempt) -> None:
        # Its caller waits for this. Where many break off at once, the length of inputs tells.
        asked = attempt.asked if self._weighing < _MOST_INPUTS_AT_ONCE else None
        request = asked.request if asked is not None else None
        self._weighing += 1
        try:
            await attempt.evidence.weigh(self._vocabularies, request)
        finally:
            self._weighing -= 1

    async def _file(
        self,
        attempt: TrackedAttempt,
        record: UsageRecord,
        ask: Inquiry,
        file: Callable[[UsageRecord], None],
    ) -> None:
        try:
            await inquire(attempt, ask, self._limits.ask_seconds)
        finally:
            file(restated(attempt, record))

    async def quiet(self) -> None:
        """Return when none goes on."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def aclose(self, seconds: float) -> None:
        """Let drains end for so long, then settle each by what it has heard; none begins."""
        self._closed = True
        if running := set(self._running):
            await asyncio.wait(running, timeout=max(0.0, seconds))
        left = set(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _take(
        self,
        attempt: TrackedAttempt,
        reading: Reading,
        lease: Lease,
    ) -> bool:
        """Read on from here, if there is anything to read and room to do it."""
        if self._full or attempt.settled or not reading.sent:
            return False
        self._start(self._drain(attempt, reading), lease)
        reading.taken = True
        return True

    @property
    def _full(self) -> bool:
        """There is no room for more."""
        return self._closed or len(self._running) >= self._limits.at_once

    def _start(self, work: Coroutine[Any, Any, None], lease: Lease) -> None:
        """Do it in the background, with the adapter open."""
        held = ExitStack()
        held.enter_context(lease)
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: held.close())

    async def _drain(self, attempt: TrackedAttempt, reading: Reading) -> None:
        failure: GatewayError | None = None
        try:
            try:
                await reading.rest(self._hearing(attempt))
            except GatewayError as error:
                failure = error
            await self._weigh(attempt)
            if ask := inquiry(attempt, reading, self._limits.ask_seconds):
                await reading.aclose()
                await inquire(attempt, ask, self._limits.ask_seconds)
        except Exception:  # nobody else would hear of it
            logger.exception("an answer was not read to its end")
        finally:
            attempt.drained(failure)
            await reading.aclose()

    def _hearing(self, attempt: TrackedAttempt) -> Callable[[_Heard], None]:
        most = attempt.evidence.content_bytes + self._limits.content_bytes

        def hear(heard: _Heard) -> None:
            attempt.hear(heard)
            if attempt.evidence.content_bytes > most:
                raise ProviderProtocolError("the answer is larger than what is read of it")

        return hear


class _Closing:
    """What `Drains.closing` makes: most attempts have one, so it is no generator."""

    __slots__ = ("_adapter", "_attempt", "_drains", "_lease")

    def __init__(
        self, drains: Drains, attempt: TrackedAttempt, adapter: Adapter, lease: Lease
    ) -> None:
        self._drains = drains
        self._attempt = attempt
        self._adapter = adapter
        self._lease = lease

    async def __aenter__(self) -> Adapter:
        return self._adapter

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        leaving: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if leaving is None:
            return
        try:
            await self._drains.count(self._attempt, self._adapter, self._lease)
        except BaseException as other:
            self._attempt.broken_off(other)
            raise
        self._attempt.broken_off(leaving)
