"""The service config that is published for clients, used by a real client library."""

import json
import re
from pathlib import Path

import grpc
import pytest

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_stubs
from tests.contract.vendor_server import Reply
from tests.e2e.service import asking

CONFIG = Path(__file__).parents[2] / "proto" / "service_config.json"


def without_health_checks() -> str:
    """As published, for servers that have no health service."""
    config = json.loads(CONFIG.read_text())
    del config["healthCheckConfig"]
    return json.dumps(config)


def test_the_published_config_names_every_service_and_nothing_else():
    named = {
        one["service"]
        for method in json.loads(CONFIG.read_text())["methodConfig"]
        for one in method["name"]
    }

    protos = CONFIG.parent.glob("llmservice/v1/*.proto")
    found = (re.findall(r"^service (\w+) ", proto.read_text(), re.M) for proto in protos)
    assert named == {f"llmservice.v1.{name}" for names in found for name in names}


def channel_to(address: str, config: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=[("grpc.service_config", config)])


class Failing(completion_stubs.CompletionServiceServicer):
    """Unavailable until the third call; `pushback`: as after an upstream attempt."""

    def __init__(self, *, pushback: bool) -> None:
        self.calls = 0
        self.pushback = pushback

    async def Complete(self, request, context):
        self.calls += 1
        if self.calls < 3:
            trailing = (("grpc-retry-pushback-ms", "-1"),) if self.pushback else ()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now", trailing)
        return service_pb.CompleteResponse(completion=pb.Completion(id="c-1"))


@pytest.fixture
async def failing():
    """Starts a server; gives its servicer and a stub that has the config."""
    server, channels = grpc.aio.server(), []

    async def start(*, pushback: bool):
        servicer = Failing(pushback=pushback)
        completion_stubs.add_CompletionServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channels.append(channel_to(f"127.0.0.1:{port}", without_health_checks()))
        return servicer, completion_stubs.CompletionServiceStub(channels[0])

    yield start
    for channel in channels:
        await channel.close()
    await server.stop(None)


async def test_a_client_tries_again_while_nobody_upstream_was_asked(failing):
    servicer, stub = await failing(pushback=False)

    assert (await stub.Complete(pb.CompletionRequest())).completion.id == "c-1"
    assert servicer.calls == 3


async def test_a_client_stops_where_it_is_told_that_others_have_tried(failing):
    servicer, stub = await failing(pushback=True)

    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Complete(pb.CompletionRequest())

    assert servicer.calls == 1


async def test_attempts_are_the_services_alone_whatever_the_client_may_retry(service, vendor):
    """Three attempts in all, not three times three."""
    await service.add_provider("down", vendor.base_uri)
    vendor.replies += [Reply(503, {}, [b"{}"])] * 9
    asked = len(vendor.asked)

    async with channel_to(service.address, CONFIG.read_text()) as channel:
        stub = completion_stubs.CompletionServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Complete(asking("providers/down/models/m"), timeout=30)

    vendor.replies.clear()
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(vendor.asked) - asked == 3
