"""The server as a process: read the environment, serve, say in one line why not."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from importlib import metadata

from llm_service import bootstrap
from llm_service.settings import Settings, SettingsError

FAILED = 1
USAGE_ERROR = 2

_PR_SET_DUMPABLE = 4  # <sys/prctl.h>
_M_ARENA_MAX = -8  # <malloc.h>


def run() -> int:
    """Serve until a signal; the exit code."""
    keep_memory_private()
    keep_memory_together()
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        return _failed(str(error), USAGE_ERROR)
    try:
        _on_uvloop(bootstrap.serve(settings, announce=_announce))
    except bootstrap.CannotStart as error:
        return _failed(str(error), FAILED)
    return 0


def keep_memory_private() -> None:
    """Leave no core dump, and keep other processes of the same user out of this one's memory.

    Where the system can: on Linux both, elsewhere on Unix the first. What a child inherits of it
    ends with the program it runs, but for the core dumps.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def keep_memory_together() -> None:
    """Have all threads allocate from one heap, unless the operator says otherwise.

    glibc gives each thread one of its own, and what is free in one is of no use to the others.
    Other C libraries have no such choice.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    import ctypes

    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


def version() -> str:
    return metadata.version("llm-service")


def _announce(address: str, notes: list[str]) -> None:
    for note in notes:
        print(note, file=sys.stderr)
    print(f"llm-service {version()} is listening on {address}", flush=True)


def _failed(message: str, code: int) -> int:
    print(f"llm-service: {message}", file=sys.stderr)
    return code


def _on_uvloop(work: Coroutine[object, object, None]) -> None:
    if sys.platform == "win32":
        asyncio.run(work)
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
