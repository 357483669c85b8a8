"""D3: two replicas on one PostgreSQL; what one changes the other serves within two seconds."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from sqlalchemy import make_url

from llm_service.rpc.status import GENERATION_KEY
from llm_service.rpc.stubs import access_service_pb2 as access_pb
from llm_service.rpc.stubs import access_service_pb2_grpc as access_grpc
from llm_service.rpc.stubs import model_service_pb2 as model_pb
from llm_service.rpc.stubs import model_service_pb2_grpc as model_grpc
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from llm_service.storage import pulse
from llm_service.storage.config import CHANNEL
from llm_service.vault import Scheme, generate_key
from tests.contract.vendor_server import Asked, Reply, vendor_server
from tests.e2e.process import serving
from tests.e2e.service import Service, asking
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)
from tests.rpc.guarded import bearer

TRIALS = int(os.environ.get("TRIALS", "1"))
BAR_SECONDS = 2.0
GUARD_SECONDS = 20
MANY = 100
POLITE_SECONDS = 0.005
OTHER_KEY = "sk-other-0123456789abcdef"


class Trials:
    """What a change on one replica took to be seen on the other, in seconds, by kind of change."""

    def __init__(self, here, there, vendor) -> None:
        self.here, self.there, self.vendor = here, there, vendor
        self.took: dict[str, list[float]] = {
            change: [] for change in ("create", "rotate", "disable", "revoke")
        }
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
        await self._revoke()

    async def _revoke(self) -> None:
        access = access_grpc.AccessServiceStub(self.here.channel)
        wanted = access_pb.ClientKey(roles=[access_pb.ACCESS_ROLE_INVOKE])
        made = await access.CreateClientKey(access_pb.CreateClientKeyRequest(client_key=wanted))
        assert await self._lets_in(made.key_text)
        self.before()
        await access.RevokeClientKey(access_pb.RevokeClientKeyRequest(name=made.client_key.name))
        await self._seen("revoke", lambda: self._turns_away(made.key_text))

    async def _lets_in(self, key: str) -> bool:
        stub = model_grpc.ModelServiceStub(self.there.bare)
        call = stub.ListModels(
            model_pb.ListModelsRequest(page_size=1), metadata=bearer(key), timeout=GUARD_SECONDS
        )
        code = await call.code()
        assert code in {StatusCode.OK, StatusCode.UNAUTHENTICATED}
        return code is StatusCode.OK

    async def _turns_away(self, key: str) -> bool:
        return not await self._lets_in(key)

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
        "LLM_AUTH": "required",
    }
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(vendor_server())
        # The second announces itself sooner for a compiled first.
        here, there = [
            await stack.enter_async_context(serving(made(tmp_path / name), **shared))
            for name in ("here", "there")
        ]
        operator = here.log.partition("shown this once: ")[2].split()[0]
        services = [await stack.enter_async_context(known(one, operator)) for one in (here, there)]
        notified = Trials(*services, vendor)
        for number in range(TRIALS):
            await notified.run(f"notified-{number}")
        cut_off = Trials(*services, vendor)
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


class Bearer(grpc.aio.UnaryUnaryClientInterceptor):
    """Shows a key with every call."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def intercept_unary_unary(self, continuation, details, request):
        shown = grpc.aio.Metadata(*(details.metadata or ()), *bearer(self._key))
        return await continuation(details._replace(metadata=shown), request)


@dataclass
class Known(Service):
    """A service whose calls show a key, and its channel without one."""

    bare: grpc.aio.Channel


@asynccontextmanager
async def known(running, key: str):
    shown = grpc.aio.insecure_channel(running.address, interceptors=[Bearer(key)])
    async with shown as channel:
        yield Known(running.address, channel, running.service.channel)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def cut_listeners(postgres, url: str) -> None:  # noqa: F811
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = %s AND query IN (%s, %s)",
        *(make_url(url).database, f"LISTEN {CHANNEL}", pulse.message()),
    )
