"""R10: replicas are replaced one after another under load, and no caller notices."""

import asyncio
import json
import os
import socket
import sys
from contextlib import AsyncExitStack

import grpc
import pytest

from llm_service.vault import Scheme, generate_key
from tests.contract.vendor_server import Reply, vendor_server
from tests.e2e.chaos import DONE, Endless, records_of
from tests.e2e.load import Load
from tests.e2e.process import Running, serving
from tests.e2e.service import Service, asking
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)

MEASURED = "RESTARTS" in os.environ
RESTARTS = int(os.environ.get("RESTARTS", "1"))
PER_SECOND = 100.0 if MEASURED else 30.0
STREAMS = 10
STREAM_SECONDS = 2.0 if MEASURED else 1.0
CALL_SECONDS = 30.0
READY_SECONDS = 2.0 if MEASURED else 1.0
"""A rolling update goes on no sooner (Kubernetes: minReadySeconds): clients find a new replica."""
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "llmservice.v1.CompletionService"},
    "methodConfig": [
        {
            "name": [{"service": "llmservice.v1.CompletionService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def slow_answer(asked) -> Reply:
    """A streamed answer of some seconds."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": "w "}}]}]
    end = [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    usage = [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}]
    lines = [f"data: {json.dumps(one)}\n\n".encode() for one in (*deltas, *end, *usage)]
    headers = {"content-type": "text/event-stream"}
    return Reply(headers=headers, pieces=[*lines, DONE], seconds=STREAM_SECONDS)


class Fleet:
    """Two replicas on one database, behind one name."""

    def __init__(self, folder, **environment: str) -> None:
        self._folder = folder
        self._environment = environment
        self._ports = (free_port(), free_port())
        self._stacks: list[AsyncExitStack] = []
        self._replicas: list[Running] = []

    @property
    def target(self) -> str:
        return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in self._ports)

    async def __aenter__(self):
        for number in range(2):
            self._stacks.append(AsyncExitStack())
            self._replicas.append(await self._started(number))
        return self

    async def __aexit__(self, *_error) -> None:
        for stack in self._stacks:
            await stack.aclose()

    async def restart(self, number: int) -> None:
        """As a rolling update does: end one politely, and go on when its successor is there."""
        replica = self._replicas[number]
        replica.terminate()
        assert await replica.ended() == 0
        await self._stacks[number].aclose()
        self._stacks[number] = AsyncExitStack()
        self._replicas[number] = await self._started(number)
        await asyncio.sleep(READY_SECONDS)

    async def _started(self, number: int) -> Running:
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        listen = f"127.0.0.1:{self._ports[number]}"
        one = serving(folder, LLM_LISTEN=listen, **self._environment)
        return await self._stacks[number].enter_async_context(one)


async def stored(service, known: set[str]) -> set[str]:
    """The calls that have a record, once all known ones have: each replica stores its own."""
    async with asyncio.timeout(CALL_SECONDS):
        while True:
            found = {one.completion_id for one in await records_of(service)}
            if known <= found:
                return found
            await asyncio.sleep(0.2)


@pytest.mark.timeout(120 + 20 * RESTARTS)
async def test_r10_replicas_are_replaced_under_load_and_no_call_fails(
    postgresql_url,  # noqa: F811
    tmp_path,
):
    environment = {
        "LLM_DATABASE_URL": postgresql_url,
        "LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1),
    }
    known: list[str] = []
    options = (
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.max_reconnect_backoff_ms", 500),
    )
    async with (
        vendor_server() as vendor,
        Fleet(tmp_path, **environment) as fleet,
        grpc.aio.insecure_channel(fleet.target, options=options) as channel,
    ):
        vendor.replies = Endless([slow_answer])
        service = Service(fleet.target, channel)
        await service.add_provider("main", "", kind="echo", key="")
        await service.add_provider("slow", vendor.base_uri)

        async def whole():
            answer = await service.completions.Complete(asking("echo-1"), timeout=CALL_SECONDS)
            known.append(answer.completion.id)

        async def streamed():
            asked = asking("providers/slow/models/m")
            call = service.completions.StreamComplete(asked, timeout=CALL_SECONDS)
            events = [event async for event in call]
            assert events[-1].HasField("finished")
            known.append(events[0].started.id)

        async def restarts():
            for number in range(RESTARTS):
                await fleet.restart(number % 2)

        short, long = Load(whole, PER_SECOND), Load(streamed, STREAMS / STREAM_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            rolling = tasks.create_task(restarts())
            tasks.create_task(short.during(asyncio.shield(rolling)))
            tasks.create_task(long.during(asyncio.shield(rolling)))

        records = await stored(service, set(known))
    if MEASURED:
        sys.__stdout__.write(
            f"\n{RESTARTS} restarts: {len(short.seconds)} calls and {len(long.seconds)} streams"
            f" served, {len(short.failures)} and {len(long.failures)} failed,"
            f" {len(set(known) - records)} without a record\n"
        )
    assert short.failures == long.failures == []
    assert set(known) <= records
    assert len(known) == len(set(known))
