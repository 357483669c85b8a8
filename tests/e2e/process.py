"""The service and its commands as processes of their own, started as an operator starts them."""

import asyncio
import os
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.service import Service

START_SECONDS = 50
STOP_SECONDS = 50
NOT_OURS = ("LLM_", "OPENAI_", "ANTHROPIC_", "DEEPSEEK_", "GROK_", "ENCRYPTION_KEY")


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass
class Running:
    """A process that serves from `folder`. What it logged is in `log`."""

    process: Process
    folder: Path
    service: Service
    announced: str

    @property
    def address(self) -> str:
        return self.service.address

    @property
    def log(self) -> str:
        return log_in(self.folder).read_text()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def drain(self) -> None:
        """Terminate; return once the service says that it no longer serves."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            async for answer in watch:
                if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    return
                self.terminate()

    async def ended(self) -> int:
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()

    async def command(self, *words: str, stdin: str = "") -> Ran:
        """Run a command against this service."""
        return await command(*words, "--address", self.address, stdin=stdin)


@asynccontextmanager
async def serving(folder: Path, **environment: str) -> AsyncIterator[Running]:
    """`llm-service serve` on a free port; killed at the end if it still runs."""
    with log_in(folder).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llm_service", "serve"),
            env=environment_in(folder, environment),
            stdout=PIPE,
            stderr=log,
        )
    try:
        announced = await _first_line(process, folder)
        async with grpc.aio.insecure_channel(announced.split()[-1]) as channel:
            service = Service(announced.split()[-1], channel)
            yield Running(process, folder, service, announced)
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def command(
    *words: str, folder: Path | None = None, stdin: str = "", **environment: str
) -> Ran:
    """Run `llm-service <words>` to its end; the data folder is `folder`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_service", *words),
        env=environment_in(folder, environment),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(await process.wait(), out.decode(), err.decode())


def environment_in(folder: Path | None, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process without what configures a service, and what a test sets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    ours = {
        "LLM_LISTEN": "127.0.0.1:0",
        "LLM_EGRESS_ALLOW": "127.0.0.1",
        "LLM_AUTH": "open",
    }
    if folder is not None:
        ours["LLM_DATA_DIR"] = str(folder / "data")
    return {**kept, **ours, **more}


def stored(folder: Path, query: str) -> list[sqlite3.Row]:
    """Rows of the service's database, read beside it."""
    with closing(sqlite3.connect(database_in(folder))) as database:
        database.row_factory = sqlite3.Row
        return database.execute(query).fetchall()


def database_in(folder: Path) -> Path:
    return folder / "data" / "llm-service.db"


def log_in(folder: Path) -> Path:
    return folder / "service.log"


async def _first_line(process: Process, folder: Path) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(START_SECONDS):
        line = (await process.stdout.readline()).decode().strip()
    assert " is listening on " in line, log_in(folder).read_text()
    return line
