"""A caller who goes closes the upstream call, whichever the kind and wherever it waits."""

import asyncio
import time
from contextlib import aclosing

import pytest
from calls import call
from every_vendor import KINDS, connected
from settling import SAID, events_of
from vendor_server import Reply

from llm_service import errors
from llm_service.domain.content import Text
from llm_service.providers.base import Deadlines, EmbeddingsCall

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
WITHIN_SECONDS = 0.1
TRIES = 10
LONG = Deadlines(30, 30, 30, 30)


async def leave(vendor, work, ready: asyncio.Event) -> float:
    """Seconds until the vendor sees the connection close."""
    vendor.hung_up.clear()
    vendor.heard.clear()
    task = asyncio.create_task(work)
    async with asyncio.timeout(10):
        await ready.wait()
        left = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await vendor.hung_up.wait()
    return time.monotonic() - left


async def in_time(one) -> None:
    """A machine that pauses adds time and takes none: the best of some tries counts."""
    for _ in range(TRIES):
        if await one() < WITHIN_SECONDS:
            return
    pytest.fail("the upstream call stayed open")


@every_kind
async def test_waiting_for_a_whole_answer(kind):
    async with connected(kind) as (vendor, adapter):

        async def one():
            vendor.replies.append(Reply(held=True))
            return await leave(vendor, adapter.complete(call(model=kind.model)), vendor.heard)

        await in_time(one)


@every_kind
@pytest.mark.parametrize("begun", [False, True], ids=["first token", "next chunk"])
async def test_waiting_for_a_stream(kind, begun):
    async with connected(kind) as (vendor, adapter):

        async def one():
            come = asyncio.Event()

            def reply(asked):
                pieces = events_of(kind, asked)[:5] if begun else []
                headers = kind.fake.stream(SAID, asked).headers
                return Reply(200, headers, pieces, held=True)

            async def read():
                async with aclosing(adapter.stream(call(model=kind.model))) as batches:
                    async for _ in batches:
                        come.set()

            vendor.replies.append(reply)
            return await leave(vendor, read(), come if begun else vendor.heard)

        await in_time(one)


@every_kind
async def test_leaving_while_more_comes_than_is_read(kind):
    async with connected(kind) as (vendor, adapter):

        async def one():
            come = asyncio.Event()

            def reply(asked):
                flood = events_of(kind, asked)[:4] + [events_of(kind, asked)[4]] * 20_000
                return Reply(200, kind.fake.stream(SAID, asked).headers, flood, held=True)

            async def read():
                async with aclosing(adapter.stream(call(model=kind.model))) as batches:
                    async for _ in batches:
                        come.set()
                        await asyncio.Event().wait()  # a caller who takes no more

            vendor.replies.append(reply)
            return await leave(vendor, read(), come)

        await in_time(one)


@every_kind
async def test_waiting_for_vectors(kind):
    async with connected(kind) as (vendor, adapter):
        asked = EmbeddingsCall((Text("hi"),), kind.model, LONG)

        async def one():
            vendor.replies.append(Reply(held=True))
            return await leave(vendor, adapter.embed(asked), vendor.heard)

        try:
            async with asyncio.timeout(1):
                vendor.replies.append(Reply(500))
                await adapter.embed(asked)
        except errors.CapabilityNotSupported:
            return  # it has none
        except errors.GatewayError:
            pass
        vendor.replies.clear()
        await in_time(one)
