"""A service under load while its keys are rotated, and all that must be true of it after."""

import asyncio
import itertools
import json
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from click.testing import Result
from google.protobuf.field_mask_pb2 import FieldMask
from typer.testing import CliRunner

from llm_service.commands import app
from llm_service.domain.provider import Credential, Provider, SourceType
from llm_service.gateway.ids import new_id
from llm_service.gateway.manager import binding
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs import provider_pb2
from llm_service.storage.database import Database
from llm_service.vault import Keyring, Vault
from tests.contract.vendor_server import Asked, Reply, Vendor, vendor_server
from tests.e2e.process import Running, environment_in, serving
from tests.e2e.service import asking

LIVE = "sk-live-key-number-{:08}"
SECONDS = 30


class Answers:
    """In place of a vendor's list of replies: answers each call, and keeps which key it had."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}

    def pop(self, _index: int):
        return self.answer

    def answer(self, asked: Asked) -> Reply:
        said = asked.json["messages"][-1]["content"]
        text = said if isinstance(said, str) else said[0]["text"]
        self.keys[text] = asked.headers["authorization"].removeprefix("Bearer ")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}
        return Reply(pieces=[json.dumps({**body, "usage": usage}).encode()])


@dataclass
class Loaded:
    """A service that is called and changed all the time, and what it was told last."""

    running: Running
    environment: Mapping[str, str]
    ring: Path
    vendor: Vendor
    answers: Answers
    secrets: dict[str, str]
    titles: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    calls: int = 0
    changes: int = 0
    _live: int = 0
    _resting: bool = False

    async def rest(self, tasks: list[asyncio.Task]) -> None:
        """Let each task end what it has begun."""
        self._resting = True
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*tasks)

    async def command(self, *words: str, stdin: str = "") -> Result:
        """A command, in a thread of this process: starting one anew takes seconds."""
        invoke = partial(CliRunner().invoke, app, words, input=stdin, env=self.environment)
        return await asyncio.to_thread(invoke)

    async def call(self) -> None:
        """Completions, one after another. None may be sent with a key that was rotated before."""
        for number in self._numbers():
            text, oldest = f"call-{number}", self._live
            request = asking("providers/live/models/m", text)
            await self._count(self.running.service.completions.Complete(request, timeout=SECONDS))
            if self.answers.keys.get(text, "") < LIVE.format(oldest):
                self.stale.append(text)
            self.calls += 1
            await asyncio.sleep(0.02)

    async def rotate_what_is_called(self) -> None:
        for number in self._numbers():
            await self._rotate("providers/live/credentials/default", LIVE.format(number + 1))
            self._live = number + 1
            await asyncio.sleep(0.1)

    async def change(self, chance: random.Random) -> None:
        """Rotate or rename one credential after another; remember what the service agreed to."""
        ids = sorted(self.secrets)
        for number in self._numbers():
            one = chance.choice(ids)
            name = f"providers/bulk/credentials/{one}"
            if number % 2:
                self.secrets[one] = f"sk-changed-secret-{number:08}"
                await self._rotate(name, self.secrets[one])
            else:
                self.titles[one] = f"title {number}"
                changed = provider_pb2.Credential(name=name, display_name=self.titles[one])
                request = pb.UpdateCredentialRequest(
                    credential=changed, update_mask=FieldMask(paths=["display_name"])
                )
                admin = self.running.service.admin
                await self._count(admin.UpdateCredential(request, timeout=SECONDS))
            self.changes += 1
            await asyncio.sleep(0.01)

    def _numbers(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self._resting, itertools.count())

    async def _rotate(self, name: str, secret: str) -> None:
        request = pb.RotateCredentialRequest(
            name=name, credential=provider_pb2.Credential(api_key=secret)
        )
        await self._count(self.running.service.admin.RotateCredential(request, timeout=SECONDS))

    async def _count(self, call) -> None:
        try:
            await call
        except Exception as error:  # noqa: BLE001 - counted, whatever it is
            self.failures.append(f"{type(error).__name__}: {error}")

    async def kill_a_rewrap(self, chance: random.Random) -> None:
        """Start the command, and kill it at a random point after its first step."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llm_service", "keys", "rewrap", "--rate", "2000"),
            env=environment_in(None, self.environment),
            stdout=DEVNULL,
            stderr=PIPE,
        )
        async with asyncio.timeout(SECONDS):
            await process.stderr.readline()
        await asyncio.sleep(chance.uniform(0, 0.05))
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def settled(self, key_id: str, *, primary: bool = False) -> None:
        """Return once the replica says that it has a key, or seals with it."""
        async with asyncio.timeout(SECONDS), opened(self.environment) as database:
            while True:
                async with database.read() as tx:
                    found = await tx.keys.replicas(datetime(2000, 1, 1, tzinfo=UTC))
                if found and all(
                    one.primary_id == key_id if primary else key_id in one.key_ids for one in found
                ):
                    return
                await asyncio.sleep(0.02)

    async def stored(self) -> tuple[dict[str, str], dict[str, str], set[str]]:
        """Secrets and titles as they are stored, opened with the file as it is; and key ids."""
        async with opened(self.environment) as database:
            vault = Vault(Keyring.from_text(self.ring.read_text()), await database.deployment_id())
            async with database.read() as tx:
                provider = await tx.providers.get("", "bulk")
                found = await tx.credentials.of_tenant("")
        bulk = [one for one in found if one.provider_uid == provider.uid]
        secrets = {
            one.credential_id: vault.open(one.sealed, binding(provider, one)) for one in bulk
        }
        titles = {one.credential_id: one.display_name for one in bulk if one.display_name}
        return secrets, titles, {Vault.describe(one.sealed)[1] for one in found}


@asynccontextmanager
async def opened(environment: Mapping[str, str]) -> AsyncIterator[Database]:
    async with Database.open(environment["LLM_DATABASE_URL"]) as database:
        yield database


@asynccontextmanager
async def loaded(
    folder: Path, url: str, ring_text: str, chance: random.Random, *, count: int
) -> AsyncIterator[Loaded]:
    """A service on a migrated database, with `count` stored secrets, under load in the block."""
    ring = folder / "keyring"
    ring.write_text(ring_text)
    environment = {
        "LLM_DATABASE_URL": url,
        "LLM_KEYRING_FILE": str(ring),
        "LLM_CONFIG_POLL_SECONDS": "0.1",
    }
    answers = Answers()
    async with vendor_server() as vendor, serving(folder, **environment) as running:
        vendor.replies = answers
        await running.service.add_provider("live", vendor.base_uri, key=LIVE.format(0))
        secrets = await _filled(environment, ring_text, count)
        one = Loaded(running, environment, ring, vendor, answers, secrets)
        work = [one.call(), one.rotate_what_is_called(), one.change(chance)]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield one
        finally:
            await one.rest(tasks)


async def _filled(environment: Mapping[str, str], ring: str, count: int) -> dict[str, str]:
    now = datetime.now(UTC)
    provider = Provider("", "bulk", new_id(), "openai-compatible", now, now)
    secrets = {f"c{number:05}": f"sk-first-secret-{number:08}" for number in range(count)}
    async with opened(environment) as database:
        vault = Vault(Keyring.from_text(ring), await database.deployment_id())
        async with database.begin() as tx:
            await tx.providers.add(provider)
            for credential_id, secret in secrets.items():
                one = Credential(
                    provider_uid=provider.uid,
                    provider_name=provider.name,
                    credential_id=credential_id,
                    uid=new_id(),
                    source_type=SourceType.API_KEY,
                    create_time=now,
                    update_time=now,
                )
                one = replace(one, sealed=vault.seal(secret, binding(provider, one)))
                await tx.credentials.add(one)
            await tx.config.bump("")
    return secrets
