"""D3: two replicas on one PostgreSQL; what one changes the other serves within two seconds."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from sqlalchemy import make_url

from llm_service.rpc.status import GENERATION_KEY
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from llm_service.storage.config import CHANNEL
from llm_service.vault import Scheme, generate_key
from tests.contract.vendor_server import Asked, Reply, vendor_server
from tests.e2e.process import serving
from tests.e2e.service import asking
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)

TRIALS = int(os.environ.get("TRIALS", "2"))
BAR_SECONDS = 2.0
GUARD_SECONDS = 20
MANY = 100
POLITE_SECONDS = 0.005
OTHER_KEY = "sk-other-0123456789abcdef"


class Trials:
    """What a change on one replica took to be seen on the other, in seconds, by kind of change."""

    def __init__(self, here, there, vendor) -> None:
        self.here, self.there, self.vendor = here, there, vendor
        self.took: dict[str, list[float]] = {"create": [], "rotate": [], "disable": []}
        self.keys: list[str] = []
        self.vendor.replies = Endless(self._answer)

    def before(self) -> None:
        """What happens before each change."""

    async def run(self, provider_id: str) -> None:
        name = f"providers/{provider_id}"
        self.before()
        created = await self.here.add_provider(
            provider_id, self.vendor.base_uri, key="sk-first-0123456789abcdef"
        )
        await self._seen("create", lambda: self._answers(name))
        self.before()
        await self.here.admin.RotateCredential(
            admin_pb.RotateCredentialRequest(
                name=created.provider.default_credential,
                credential=provider_pb2.Credential(api_key=OTHER_KEY),
            )
        )
        await self._seen("rotate", lambda: self._uses(name, OTHER_KEY))
        self.before()
        disabling = self.here.admin.UpdateProvider(
            admin_pb.UpdateProviderRequest(
                provider=provider_pb2.Provider(name=name, disabled=True),
                update_mask=FieldMask(paths=["disabled"]),
            )
        )
        generation = await generation_of(disabling)
        await self._seen("disable", lambda: self._refuses(name, generation))

    async def _seen(self, change: str, observed: Callable[[], Awaitable[bool]]) -> None:
        start = time.monotonic()
        async with asyncio.timeout(GUARD_SECONDS):
            while not await observed():  # noqa: ASYNC110 - another process tells of no event
                await asyncio.sleep(POLITE_SECONDS)
        self.took[change].append(time.monotonic() - start)

    async def _answers(self, name: str) -> bool:
        try:
            await self.there.completions.Complete(asking(f"{name}/models/m"), timeout=GUARD_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() == StatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def _uses(self, name: str, key: str) -> bool:
        return await self._answers(name) and self.keys[-1] == f"Bearer {key}"

    async def _refuses(self, name: str, generation: int) -> bool:
        """An answer that shows the change's generation, or a later one, must be a refusal."""
        call = self.there.completions.Complete(asking(f"{name}/models/m"), timeout=GUARD_SECONDS)
        refused = await call.code() == StatusCode.FAILED_PRECONDITION
        shown = int(dict(await call.trailing_metadata())[GENERATION_KEY])
        assert refused is (shown >= generation)
        return refused

    def _answer(self, asked: Asked) -> Reply:
        self.keys.append(asked.headers["authorization"])
        answer = {
            "id": "c",
            "model": "m",
            "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
        return Reply(pieces=[json.dumps(answer).encode()])


class Endless(list):
    """A script of replies that never runs out."""

    def __init__(self, reply) -> None:
        super().__init__()
        self._reply = reply

    def pop(self, _place=0):
        return self._reply


async def generation_of(call) -> int:
    await call
    return int(dict(await call.trailing_metadata())[GENERATION_KEY])


@pytest.mark.timeout(90 + 10 * TRIALS)
async def test_d3_a_change_on_one_replica_is_seen_on_the_other_within_two_seconds(
    postgres,  # noqa: F811
    postgresql_url,  # noqa: F811
    tmp_path,
):
    shared = {
        "LLM_DATABASE_URL": postgresql_url,
        "LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1),
    }
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(vendor_server())
        # The second announces itself sooner for a compiled first.
        here, there = [
            await stack.enter_async_context(serving(made(tmp_path / name), **shared))
            for name in ("here", "there")
        ]
        notified = Trials(here.service, there.service, vendor)
        for number in range(TRIALS):
            await notified.run(f"notified-{number}")
        cut_off = Trials(here.service, there.service, vendor)
        cut_off.before = lambda: cut_listeners(postgres, postgresql_url)
        for number in range(TRIALS):
            await cut_off.run(f"cut-off-{number}")

    for kind, trials in (("notified", notified), ("cut off", cut_off)):
        for change, took in trials.took.items():
            slowest, half = max(took), sorted(took)[len(took) // 2]
            sys.stdout.write(
                f"{kind} {change}: n={len(took)}"
                f" p50={half * 1e3:.0f} ms max={slowest * 1e3:.0f} ms\n"
            )
            # Few trials may meet a machine that is paused; of many, all must hold.
            assert (slowest if TRIALS >= MANY else half) <= BAR_SECONDS


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def cut_listeners(postgres, url: str) -> None:  # noqa: F811
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query = %s",
        make_url(url).database,
        f"LISTEN {CHANNEL}",
    )
