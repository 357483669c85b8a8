"""The processes of a run: how each is built, started on its core, made ready, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import load
from google.protobuf.duration_pb2 import Duration
from machine import Cores, pinned_to
from shape import Shape

from llm_service import bootstrap
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_admin_service_pb2_grpc as admin_grpc
from llm_service.rpc.stubs import provider_pb2
from llm_service.settings import Settings

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
NAMES = ("echo", "service", "bare", "naive")
CONFIGURED = ("service", "bare")
"""Those that are told of their providers; the others read the shape from the model."""
READY_SECONDS = 300


# A stream kept open and silent on purpose is not a failure.
_PATIENT = provider_pb2.UpstreamTimeouts(
    first_token_timeout=Duration(seconds=600), idle_timeout=Duration(seconds=600)
)


class NotReady(Exception):
    """A process of the run did not come up; the text says which and why."""


@dataclass(frozen=True, slots=True)
class System:
    """A server under test, up and answering; `key`: what it asks its callers for."""

    name: str
    pid: int
    port: int
    key: str = ""


@dataclass(frozen=True, slots=True)
class Mock:
    """The upstream, up and answering; `compiled` is false where there was no C compiler."""

    pid: int
    port: int
    compiled: bool

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def compile_mock() -> Path | None:
    """The mock's executable, or None where there is no C compiler."""
    BUILD.mkdir(exist_ok=True)
    source, target = HERE / "mock.c", BUILD / "mock"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([compiler, "-O2", "-o", target, source], check=True)
    return target


@asynccontextmanager
async def mock(cores: Cores) -> AsyncGenerator[Mock]:
    binary = compile_mock()
    command = [str(binary)] if binary else [sys.executable, str(HERE / "mock.py")]
    async with _process("mock", command, cores.rig) as process:
        yield Mock(process.pid, await _printed_port(process), compiled=binary is not None)


@asynccontextmanager
async def system(name: str, upstream: Mock, core: int, folder: Path) -> AsyncGenerator[System]:
    """Starts `name` on `core`; `folder` is where the service may keep its data.

    Raises:
        NotReady: it did not come up.
    """
    starting = {
        "echo": lambda: _printing("echo", ["echo_server.py"], core),
        "naive": lambda: _printing("naive", ["naive_relay.py", upstream.uri], core),
        "service": lambda: guarded(service_command(), core, folder),
        "bare": lambda: service(
            [sys.executable, str(HERE / "bare_service.py")], core, folder, name="bare"
        ),
    }[name]
    async with starting() as started:
        if not pinned_to(started.pid, core):
            raise NotReady(f"{name} runs outside core {core}")
        yield started


@asynccontextmanager
async def _printing(name: str, script: list[str], core: int) -> AsyncGenerator[System]:
    """One of our own servers: it prints the port it took."""
    async with _process(
        name, [sys.executable, str(HERE / script[0]), *script[1:]], core
    ) as process:
        yield System(name, process.pid, await _printed_port(process))


@asynccontextmanager
async def service(
    command: list[str], core: int, folder: Path, *, name: str = "service", key: str = ""
) -> AsyncGenerator[System]:
    """The service as `command` starts it, its data in `folder`; with a `key`, it asks for one."""
    environment = _environment(folder, asks=bool(key))
    async with _process(name, command, core, environment) as process:
        yield System(name, process.pid, await _announced_port(process), key)


@asynccontextmanager
async def guarded(command: list[str], core: int, folder: Path) -> AsyncGenerator[System]:
    """The service with authentication on, and its first key."""
    settings = Settings.from_env(_environment(folder, asks=True))
    async with bootstrap.client_keys(settings) as keys:
        key = await keys.create_first()
    async with service(command, core, folder, key=key) as started:
        yield started


def _environment(folder: Path, *, asks: bool) -> dict[str, str]:
    return {
        "LLM_DATA_DIR": str(folder),
        "LLM_LISTEN": "127.0.0.1:0",
        "LLM_EGRESS_ALLOW": "127.0.0.1",
        "LLM_AUTH": "required" if asks else "open",
        "LLM_MAX_CALLS_PER_PROVIDER": "1000",  # there is but one
    }


def service_command() -> list[str]:
    return [str(Path(sys.executable).with_name("llm-service")), "serve"]


async def configure(started: System, upstream: Mock, shapes: Sequence[Shape]) -> None:
    """Tells the service of one provider per shape."""
    if started.name not in CONFIGURED:
        return
    async with grpc.aio.insecure_channel(f"127.0.0.1:{started.port}") as channel:
        admin = admin_grpc.ProviderAdminServiceStub(channel)
        for shape in shapes:
            await admin.CreateProvider(
                admin_pb.CreateProviderRequest(
                    provider_id=shape.name,
                    provider=provider_pb2.Provider(
                        kind="openai-compatible",
                        base_uri=f"{upstream.uri}/{shape.name}/v1",
                        timeouts=_PATIENT,
                    ),
                    credential=provider_pb2.Credential(api_key="sk-bench-0000000000000000"),
                ),
                metadata=load.bearer(started.key),
            )


async def first_call(started: System, shape: Shape) -> None:
    """One streamed call, so that what is loaded late is loaded.

    Raises:
        NotReady: it failed.
    """
    try:
        async with load.Client(started.port, connections=1, key=started.key) as client:
            load.check_streams([await client.stream(load.body(shape))], shape)
    except (grpc.aio.AioRpcError, load.Void) as error:
        raise NotReady(f"{started.name} does not complete: {error}") from error


@asynccontextmanager
async def _process(
    name: str, command: list[str], core: int, environment: dict[str, str] | None = None
) -> AsyncGenerator[asyncio.subprocess.Process]:
    log = BUILD / f"{name}.log"
    with log.open("wb") as errors, _on_core(core):
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(HERE.parent), **(environment or {})},
            )
        except OSError as error:
            raise NotReady(f"{name}: cannot run {command[0]}: {error.strerror}") from error
    try:
        yield process
    finally:
        await _end(process)


@contextlib.contextmanager
def _on_core(core: int):
    """A child inherits the affinity of the thread that starts it: no moment on the wrong core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 15)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _printed_port(process: asyncio.subprocess.Process) -> int:
    return await _port(process, re.compile(rb"port (\d+)"))


async def _announced_port(process: asyncio.subprocess.Process) -> int:
    return await _port(process, re.compile(rb"listening on \S+:(\d+)"))


async def _port(process: asyncio.subprocess.Process, pattern: re.Pattern[bytes]) -> int:
    """The port in the first line that names one; what is printed after it is read by nobody.

    Raises:
        NotReady: the process ended, or said nothing, first.
    """
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_SECONDS):
            async for line in process.stdout:
                match = pattern.search(line)
                if match is not None:
                    return int(match[1])
    except TimeoutError:
        pass
    raise NotReady(f"a system did not come up: see {BUILD.relative_to(HERE.parent)}/*.log")
