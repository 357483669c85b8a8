"""Limits and draining of a real server."""

import asyncio
import os
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llm_service.rpc.server import Limits
from llm_service.rpc.stubs import completion_pb2 as pb
from tests.rpc.scripted import running


async def test_a_message_above_the_limit_is_refused_by_the_library():
    async with running(limits=Limits(receive_bytes=1000)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(pb.CompletionRequest(model="m" * 2000))

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in failure.value.details()


@pytest.mark.parametrize(("size", "accepted"), [(12_000, True), (17_000, False)])
async def test_metadata_is_refused_above_one_sharp_limit(size, accepted):
    async with running() as server:
        for _ in range(10):
            call = server.stub.Complete(pb.CompletionRequest(), metadata=(("x-pad", "v" * size),))
            if accepted:
                await call
            else:
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await call
                assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_method_is_unimplemented():
    async with running() as server:
        method = server.channel.unary_unary("/llmservice.v1.CompletionService/Sing")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await method(b"")

    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_drain_reports_not_serving_finishes_streams_and_refuses_new_calls():
    begun, release = asyncio.Event(), asyncio.Event()

    async def stream(context):
        begun.set()
        yield pb.StreamCompleteResponse(sequence=0)
        await release.wait()
        yield pb.StreamCompleteResponse(sequence=1)

    async with running() as server:
        server.servicer.stream = stream
        call = server.stub.StreamComplete(pb.CompletionRequest())
        assert (await call.read()).sequence == 0
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(
            health_pb2.HealthCheckRequest(service="llmservice.v1.CompletionService")
        )
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING

        drain = asyncio.create_task(server.serving.drain(grace=30))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _call_until_refused(server)
        assert not drain.done()
        release.set()
        assert (await call.read()).sequence == 1
        assert await call.read() is grpc.aio.EOF
        await drain

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def _call_until_refused(server):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as fresh:
        method = fresh.unary_unary("/llmservice.v1.CompletionService/Complete")
        while True:
            await method(b"")


async def test_a_drain_cuts_off_what_outlives_its_grace_and_waits_for_its_settlement():
    settled = asyncio.Event()

    async def stream(context):
        yield pb.StreamCompleteResponse()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            settled.set()

    async with running() as server:
        server.servicer.stream = stream
        call = server.stub.StreamComplete(pb.CompletionRequest())
        await call.read()

        await server.serving.drain(grace=0.05)

        assert settled.is_set()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call.read()
    assert failure.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_one_sigterm_drains_and_a_second_one_hurries():
    begun = asyncio.Event()

    async def stream(context):
        begun.set()
        yield pb.StreamCompleteResponse()
        await asyncio.Event().wait()

    async with running() as server:
        server.servicer.stream = stream
        call = server.stub.StreamComplete(pb.CompletionRequest())
        await call.read()
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()

        stopped = asyncio.create_task(server.serving.until_signalled(grace=60))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopped, 10)

        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_more_calls_than_allowed_at_once_are_refused():
    begun, release = asyncio.Event(), asyncio.Event()

    async def unary(context):
        begun.set()
        await release.wait()

    async with running(limits=Limits(concurrent_calls=1)) as server:
        server.servicer.unary = unary
        first = server.stub.Complete(pb.CompletionRequest())
        await begun.wait()

        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(pb.CompletionRequest())
        first.cancel()

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
