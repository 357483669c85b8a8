"""One call of a kind's adapter, whole and streamed, with its fake saying what it is told."""

from contextlib import aclosing
from dataclasses import replace

from every_vendor import Kind
from fakes.said import Said

from llm_service.providers.base import Adapter, Answer, Call
from llm_service.providers.fold import fold


async def whole(kind: Kind, vendor, adapter: Adapter, asked: Call, said: Said) -> Answer:
    """The answer; the request was one the vendor takes."""
    vendor.replies.append(lambda request: kind.fake.answer(said, request))
    answer = await adapter.complete(asked)
    kind.fake.check(vendor.asked[-1])
    return answer


async def streamed(kind: Kind, vendor, adapter: Adapter, asked: Call, said: Said) -> Answer:
    """The same of a stream, folded."""
    vendor.replies.append(lambda request: kind.fake.stream(said, request))
    events = await events_of(adapter, asked)
    kind.fake.check(vendor.asked[-1])
    return fold(events)


async def events_of(adapter: Adapter, asked: Call) -> list:
    events = []
    async with aclosing(adapter.stream(asked)) as batches:
        async for batch in batches:
            events += batch
    return events


def alike(answer: Answer) -> Answer:
    """The answer without what a vendor may say of one form of it only."""
    return replace(answer, provider_request_id="", warnings=())
