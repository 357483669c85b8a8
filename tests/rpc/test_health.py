"""The standard health service of a running server."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.rpc.scripted import running

SERVING = health_pb2.HealthCheckResponse.SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def asked(service: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", ["", "llmservice.v1.CompletionService"])
async def test_the_process_and_each_service_are_serving(service):
    async with running() as server:
        reply = await health_pb2_grpc.HealthStub(server.channel).Check(asked(service))

    assert reply.status == SERVING


async def test_all_states_can_be_listed():
    async with running() as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        listed = (await stub.List(health_pb2.HealthListRequest())).statuses

    assert {name: listed[name].status for name in listed} == {
        "": SERVING,
        "llmservice.v1.CompletionService": SERVING,
    }


async def test_a_service_nobody_knows_is_not_found():
    async with running() as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Check(asked("llmservice.v1.Other"))

    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_tells_the_state_and_every_change_of_it():
    async with running() as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        watch, lost = stub.Watch(asked("")), stub.Watch(asked("llmservice.v1.Other"))
        states = [(await watch.read()).status, (await lost.read()).status]

        await server.serving._health.drain()

        states.append((await watch.read()).status)
        ends = [await watch.read(), await lost.read()]
    assert states == [SERVING, UNKNOWN, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert ends == [grpc.aio.EOF, grpc.aio.EOF]


async def test_probes_make_no_spans():
    async with running() as server:
        await health_pb2_grpc.HealthStub(server.channel).Check(asked(""))

        assert await server.spans() == []
