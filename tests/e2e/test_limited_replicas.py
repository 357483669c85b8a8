"""Rate limits of a service as its operator configures it, with and without a Redis."""

import shutil
import threading
from contextlib import contextmanager

import fakeredis
import grpc
import pytest

from llm_service.gateway.rate_limits import shared
from tests.e2e.service import asking, running


@contextmanager
def redis():
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def is_served(service) -> bool:
    try:
        await service.completions.Complete(asking("echo-1"))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


async def test_two_replicas_hold_a_tenants_limit_together(started_once, tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "WAIT_SECONDS", 10.0)  # a busy machine is no Redis out of reach
    one, two = (shutil.copytree(started_once, tmp_path / name) for name in ("one", "two"))
    with redis() as url:
        limits = {"LLM_RATE_LIMIT_PER_MINUTE": "3", "LLM_REDIS_URL": url}
        async with running(one, **limits) as a, running(two, **limits) as b:
            served = [await is_served(replica) for replica in (a, b, a, b, a)]

    assert served == [True, True, True, False, False]


async def test_a_redis_that_is_away_keeps_nobody_from_starting_or_serving(data_folder):
    limits = {"LLM_RATE_LIMIT_PER_MINUTE": "2", "LLM_REDIS_URL": "redis://127.0.0.1:1/0"}
    async with running(data_folder, **limits) as service:
        assert [await is_served(service) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("variable", "value", "served"),
    [
        ("LLM_RATE_LIMIT_PER_DAY", "1", [True, False]),
        ("LLM_RATE_LIMIT_TOKENS_PER_MINUTE", "3", [True, False]),
        ("LLM_RATE_LIMIT_TOKENS_PER_DAY", "3", [True, False]),
        ("LLM_RATE_LIMIT_CONCURRENT", "1", [True, True]),
    ],
)
async def test_each_variable_is_a_limit_of_each_tenant(data_folder, variable, value, served):
    async with running(data_folder, **{variable: value}) as service:
        assert [await is_served(service) for _ in served] == served
