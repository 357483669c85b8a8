"""Limits and draining of a real server."""

import asyncio
import os
import signal
from contextlib import suppress

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from llm_service.rpc import door
from llm_service.rpc.server import Limits
from llm_service.rpc.stubs import completion_pb2 as pb
from tests.rpc.scripted import running
from tests.rpc.test_interceptors import details_of, info_of

COMPLETE = "/llmservice.v1.CompletionService/Complete"


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


@pytest.fixture
def patient_door(monkeypatch):
    """A door that a machine which pauses does not find quiet too soon."""
    monkeypatch.setattr(door, "QUIET_SECONDS", 30.0)
    monkeypatch.setattr(door, "LONGEST_SECONDS", 60.0)


async def until_not_serving(watch) -> None:
    while (await watch.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
        pass


def watched(server, service="llmservice.v1.CompletionService"):
    stub = health_pb2_grpc.HealthStub(server.channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service))


async def test_a_drain_reports_not_serving_and_lets_a_stream_finish():
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
        watch = watched(server)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING

        drain = asyncio.create_task(server.serving.drain(grace=30))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        assert not drain.done()
        release.set()
        assert (await call.read()).sequence == 1
        assert await call.read() is grpc.aio.EOF
        await drain
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fresh_call(server)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def own_channel(server) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options)


async def fresh_call(server):
    async with own_channel(server) as channel:
        return await channel.unary_unary(COMPLETE)(b"")


@pytest.mark.usefixtures("patient_door")
async def test_a_call_that_arrives_while_the_server_stops_is_told_so_and_when_to_try_again():
    hurry = asyncio.Event()

    async with running() as server:
        watch = watched(server)
        drain = asyncio.create_task(server.serving.drain(grace=30, hurry=hurry))
        await until_not_serving(watch)
        failures = []
        for call in (server.stub.Complete(pb.CompletionRequest()), fresh_call(server)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            failures.append(refused.value)
        stream = server.stub.StreamComplete(pb.CompletionRequest())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        failures.append(refused.value)
        check = health_pb2.HealthCheckRequest()
        health = await health_pb2_grpc.HealthStub(server.channel).Check(check)
        hurry.set()
        await drain

    assert {failure.code() for failure in failures} == {grpc.StatusCode.UNAVAILABLE}
    assert {info_of(failure).reason for failure in failures} == {"OVERLOADED"}
    for failure in failures:
        assert any(
            d.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for d in details_of(failure).details
        )
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_no_call_of_busy_clients_that_wait_when_told_is_cut_off(monkeypatch):
    monkeypatch.setattr(door, "QUIET_SECONDS", 2.0)  # longer than a busy machine pauses
    monkeypatch.setattr(door, "LONGEST_SECONDS", 30.0)
    begun, hurry = asyncio.Event(), asyncio.Event()

    async def call_until_refused(server) -> grpc.StatusCode:
        async with own_channel(server) as channel:
            while True:
                try:
                    await channel.unary_unary(COMPLETE)(b"")
                except grpc.aio.AioRpcError as failure:
                    return failure.code()
                begun.set()

    async with running() as server:
        clients = [asyncio.create_task(call_until_refused(server)) for _ in range(16)]
        await begun.wait()

        drain = asyncio.create_task(server.serving.drain(grace=30, hurry=hurry))
        codes = await asyncio.gather(*clients)
        hurry.set()
        await drain

    assert set(codes) == {grpc.StatusCode.UNAVAILABLE}


async def test_a_client_that_never_stops_calling_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(door, "QUIET_SECONDS", 3600.0)

    async def call_always(server) -> None:
        async with own_channel(server) as channel:
            while True:
                with suppress(grpc.aio.AioRpcError):
                    await channel.unary_unary(COMPLETE)(b"")

    async with running() as server:
        client = asyncio.create_task(call_always(server))

        await server.serving.drain(grace=3600)

        client.cancel()
        await asyncio.wait([client])


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_an_open_reflection_stream_does_not_hold_up_the_end(version):
    async with running() as server:
        call = server.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await call.read()).list_services_response.service

        await server.serving.drain(grace=3600)

        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


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
