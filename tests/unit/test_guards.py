"""What a guarded stream does between its chunks."""

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace

import grpc
import pytest

from llm_service.domain.access import ANYONE, Caller
from llm_service.rpc.callers import Permits
from llm_service.rpc.guards import Guards

METHOD = "/grpc.health.v1.Health/Watch"


class Context:
    """Takes chunks; its caller leaves after the first, as the event loop hears of it."""

    def __init__(self) -> None:
        self.task = None
        self.begun: list[str] = []

    def invocation_metadata(self):
        return ()

    async def write(self, reply):
        self.begun.append(reply)
        loop = asyncio.get_running_loop()
        # The loop finds a call closed, in its next pass a coroutine of gRPC's hears of it, and
        # that one cancels the handler.
        loop.call_soon(loop.call_soon, self.task.cancel)


async def burst(request, context):
    for chunk in ("first", "second", "third"):
        yield chunk


def guarded(handler):
    everything = lambda *_: nullcontext()  # noqa: E731 - stands for every guard

    async def caller(method, context, metadata):
        return Caller(ANYONE)

    guards = Guards(
        spans=SimpleNamespace(around=everything),
        errors=SimpleNamespace(around=everything),
        door=SimpleNamespace(enter=lambda: None),
        audits=None,
        callers=SimpleNamespace(caller=caller),
        permits=Permits({METHOD: None}),
    )
    return guards.around(METHOD, grpc.unary_stream_rpc_method_handler(handler)).unary_stream


async def test_a_caller_who_left_in_a_burst_is_heard_of_before_the_next_chunk_is_written():
    context = Context()
    context.task = asyncio.create_task(guarded(burst)(None, context))

    with pytest.raises(asyncio.CancelledError):
        await context.task

    assert context.begun == ["first"]
