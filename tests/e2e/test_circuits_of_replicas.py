"""R8, R9: circuits on two replicas, and room for administration under overload; over sockets."""

import asyncio
import json

import grpc
import pytest
from grpc import StatusCode

from llm_service.gateway.health.breaker import RULES
from llm_service.rpc.stubs import generation_pb2
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2 as pb
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from llm_service.vault import Scheme, generate_key
from tests.contract.vendor_server import Reply
from tests.e2e.service import asking, running
from tests.e2e.test_failures import details

NAME = "providers/flaky"
OPEN, CLOSED = pb.Circuit.STATE_OPEN, pb.Circuit.STATE_CLOSED
ANSWER = {
    "id": "c",
    "model": "m",
    "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}


class Always(list):
    """A vendor's script of one reply, again and again."""

    def __init__(self, reply) -> None:
        super().__init__()
        self.reply = reply

    def pop(self, _place=0):
        return self.reply


def down() -> Reply:
    return Reply(503, {}, [b'{"error": {"message": "words of the vendor"}}'])


def well() -> Reply:
    return Reply(200, {}, [json.dumps(ANSWER).encode()])


async def circuits(service) -> dict[str, pb.Circuit]:
    listed = await service.admin.ListCircuits(admin_pb.ListCircuitsRequest(parent=NAME))
    return {one.model.rpartition("/")[2]: one for one in listed.circuits}


async def until(service, state, model="m") -> pb.Circuit:
    async with asyncio.timeout(30):
        while True:
            found = (await circuits(service)).get(model)
            if found is not None and found.state == state:
                return found
            await asyncio.sleep(0.02)  # another replica tells of no event


async def health(service) -> pb.ProviderHealth:
    read = await service.admin.GetProvider(admin_pb.GetProviderRequest(name=NAME))
    return read.provider.health


async def fail(service, times=RULES.volume) -> None:
    once = asking(f"{NAME}/models/m", routing=generation_pb2.RoutingOptions(disable_fallback=True))
    for _ in range(times):
        with pytest.raises(grpc.aio.AioRpcError):
            await service.completions.Complete(once, timeout=20)


@pytest.fixture
def shared(postgresql_url):
    return {
        "LLM_DATABASE_URL": postgresql_url,
        "LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1),
        "LLM_CONFIG_POLL_SECONDS": "0.05",
    }


async def test_a_circuit_opened_by_one_replica_is_open_on_the_other_and_reset_on_both(
    shared, vendor, tmp_path
):
    vendor.replies = Always(down())
    async with (
        running(tmp_path / "here", **shared) as here,
        running(tmp_path / "there", **shared) as there,
    ):
        await here.add_provider("flaky", vendor.base_uri)
        await fail(here)

        seen = await until(there, OPEN)
        told = await health(there)
        asked = len(vendor.asked)
        reset = await there.admin.ResetCircuits(admin_pb.ResetCircuitsRequest(name=NAME))
        await until(here, CLOSED)
        vendor.replies = Always(well())
        await here.completions.Complete(asking(f"{NAME}/models/m"), timeout=20)
        now = await health(here)

    assert asked == RULES.volume
    assert seen.reason == "PROVIDER_UNAVAILABLE"
    assert seen.credential == f"{NAME}/credentials/default"
    assert seen.retry_time.ToDatetime().year > 2000
    assert told.condition == pb.ProviderHealth.CONDITION_UNAVAILABLE
    assert reset.reset_count == 1
    assert now.condition == pb.ProviderHealth.CONDITION_DEGRADED  # five of six failed
    assert now.last_error.reason == "PROVIDER_UNAVAILABLE"
    assert "vendor" not in now.last_error.message
    assert 0.8 < now.error_ratio < 0.9


async def test_a_reset_names_what_is_the_providers(service, vendor):
    await service.add_provider("named", vendor.base_uri)
    name = "providers/named"

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await service.admin.ResetCircuits(
            admin_pb.ResetCircuitsRequest(
                name=name, model="providers/other/models/m", credential=f"{name}/credentials/"
            )
        )
    known = await service.admin.ResetCircuits(
        admin_pb.ResetCircuitsRequest(name=name, model=f"{name}/models/never-called")
    )

    violations = details(failure.value)["BadRequest"]
    assert failure.value.code() == StatusCode.INVALID_ARGUMENT
    assert {one.field for one in violations.field_violations} == {"model", "credential"}
    assert known.reset_count == 0


async def test_when_all_places_are_taken_calls_are_shed_and_administration_goes_on(
    data_folder, vendor
):
    answered = asyncio.Event()
    vendor.replies = Always(Reply(200, {}, [b" ", json.dumps(ANSWER).encode()], until=answered))
    limits = {"LLM_MAX_CONCURRENT_CALLS": "20", "LLM_MAX_CALLS_PER_PROVIDER": "20"}
    async with running(data_folder, **limits) as service:
        await service.add_provider("flaky", vendor.base_uri)
        request = asking(f"{NAME}/models/m")
        stuck = [service.completions.Complete(request, timeout=60) for _ in range(20)]
        tasks = [asyncio.ensure_future(one.code()) for one in stuck]
        async with asyncio.timeout(30):
            while len(vendor.asked) < 20:
                vendor.heard.clear()
                await vendor.heard.wait()

        flood = [service.completions.Complete(request, timeout=60) for _ in range(20)]
        codes = await asyncio.gather(*(one.code() for one in flood))
        with pytest.raises(grpc.aio.AioRpcError) as shed:
            await service.completions.Complete(request, timeout=60)
        listed = await service.admin.ListProviders(admin_pb.ListProvidersRequest(), timeout=20)
        usage = usage_pb.ListUsageRecordsRequest(parent="tenants/default")
        await service.usage.ListUsageRecords(usage, timeout=20)
        answered.set()
        finished = await asyncio.gather(*tasks)
        await service.completions.Complete(request, timeout=60)

    assert set(codes) == {StatusCode.UNAVAILABLE}
    assert details(shed.value)["ErrorInfo"].reason == "OVERLOADED"
    assert details(shed.value)["RetryInfo"].retry_delay.ToTimedelta().total_seconds() >= 1
    assert f"{NAME}" in {one.name for one in listed.providers}
    assert set(finished) == {StatusCode.OK}


async def test_one_stalled_provider_leaves_room_for_the_others(data_folder, vendor):
    vendor.replies = Always(Reply(200, {}, [b" "], held=True))
    limits = {"LLM_MAX_CONCURRENT_CALLS": "10", "LLM_MAX_CALLS_PER_PROVIDER": "5"}
    async with running(data_folder, **limits) as service:
        await service.add_provider("flaky", vendor.base_uri)
        stuck = [
            service.completions.Complete(asking(f"{NAME}/models/m"), timeout=60) for _ in range(5)
        ]
        tasks = [asyncio.ensure_future(one.code()) for one in stuck]
        async with asyncio.timeout(30):
            while len(vendor.asked) < 5:
                vendor.heard.clear()
                await vendor.heard.wait()

        with pytest.raises(grpc.aio.AioRpcError) as busy:
            await service.completions.Complete(asking(f"{NAME}/models/m"), timeout=20)
        others = [
            await service.completions.Complete(asking("echo-1"), timeout=20) for _ in range(10)
        ]
        for one in stuck:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert details(busy.value)["ErrorInfo"].reason == "OVERLOADED"
    assert len(others) == 10
