"""Where the service's time goes, per chunk and per unary call, as a deterministic profiler sees it.

Not a measurement: the profiler makes every Python call dearer, so what is called often looks worse
than it is. It tells who, not how much.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import load
import systems
import uvloop
from machine import Cores
from run import LONG, ONE, RATE, UNARY

_CHILD = "--as-the-service"
_OUT = systems.BUILD / "hot_spots.pstats"
_ROOT = f"{systems.HERE.parent}{os.sep}"

# (file, line, function) -> primitive calls, calls, own seconds, cumulative seconds, callers
Entries = dict[tuple[str, int, str], tuple[int, int, float, float, object]]


async def show(top: int) -> None:
    cores = Cores.of_this_machine()
    os.sched_setaffinity(0, {cores.rig})
    command = [sys.executable, __file__, _CHILD]
    with tempfile.TemporaryDirectory() as folder:
        async with (
            systems.mock(cores) as upstream,
            systems.service(command, cores.sut, Path(folder)) as system,
            load.Client(system.port) as client,
        ):
            await systems.configure(system, upstream, (LONG, UNARY, ONE))
            await load.waves_of_streams(client, ONE, 20, 2)
            await load.unary_at_rate(client, UNARY, RATE / 2, 2)
            streams = await _profiled(system, lambda: load.waves_of_streams(client, LONG, 20, 2))
            _print("chunk", LONG.chunks * len(streams), top)
            calls = await _profiled(system, lambda: load.unary_at_rate(client, UNARY, RATE / 2, 8))
            _print("unary call", len(calls), top)


async def _profiled(
    system: systems.System, work: Callable[[], Awaitable[list[load.Answer]]]
) -> list[load.Answer]:
    os.kill(system.pid, signal.SIGUSR1)
    answers = await work()
    await asyncio.sleep(0.5)
    _OUT.unlink(missing_ok=True)
    os.kill(system.pid, signal.SIGUSR2)
    while not _OUT.exists():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.05)
    return answers


def _print(unit: str, count: int, top: int) -> None:
    entries: Entries = pstats.Stats(str(_OUT)).stats  # type: ignore[attr-defined]
    print(f"\nper {unit} ({count}): own us, calls, cumulative us")
    own = sorted(entries.items(), key=lambda entry: -entry[1][2])
    for (file, line, function), (_, calls, seconds, total, _callers) in own[:top]:
        figures = f"{seconds / count * 1e6:9.2f} {calls / count:7.2f} {total / count * 1e6:9.2f}"
        print(f"{figures}  {_short(file)}:{line} {function}")
    print(f"per {unit}, by file: own us")
    for file, seconds in _by_file(entries)[:top]:
        print(f"{seconds / count * 1e6:9.2f}  {file}")


def _by_file(entries: Entries) -> list[tuple[str, float]]:
    sums: dict[str, float] = defaultdict(float)
    for (file, _line, _function), figures in entries.items():
        sums[_short(file)] += figures[2]
    return sorted(sums.items(), key=lambda item: -item[1])


def _short(file: str) -> str:
    return file.removeprefix(_ROOT).rpartition("site-packages" + os.sep)[2]


def serve_under_profiler() -> None:
    """The child: the service itself; SIGUSR1 starts the profiler, SIGUSR2 stops it and writes."""
    from llm_service.__main__ import main

    profile = cProfile.Profile(time.thread_time)  # waiting is no work

    def write(*_signal: object) -> None:
        profile.disable()
        written = _OUT.with_suffix(".part")
        profile.dump_stats(written)
        written.rename(_OUT)
        profile.clear()

    signal.signal(signal.SIGUSR1, lambda *_signal: profile.enable())
    signal.signal(signal.SIGUSR2, write)
    sys.argv = ["llm-service", "serve"]
    main()


if __name__ == "__main__":
    if _CHILD in sys.argv:
        serve_under_profiler()
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--top", type=int, default=40, help="lines of each table")
        uvloop.run(show(parser.parse_args().top))
