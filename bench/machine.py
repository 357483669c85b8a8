"""What the kernel knows: a process tree's CPU time and memory, a core's foreign load and pauses."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_BEAT = 0.005
_SLICE_NS = 50_000_000
_WORK = bytes(4 << 20)


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores a run is pinned to; one and the same where there is only one."""

    rig: int
    sut: int

    @property
    def shared(self) -> bool:
        return self.rig == self.sut

    @classmethod
    def of_this_machine(cls) -> Cores:
        cores = sorted(os.sched_getaffinity(0))
        return cls(rig=cores[0], sut=cores[min(1, len(cores) - 1)])


def tree(pid: int) -> list[int]:
    """`pid` and every descendant of it alive now."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in task.read_text().split())
            except FileNotFoundError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of `pid`'s tree, ended threads included: the scheduler's clock, in nanoseconds.

    The clock's number is what clock_getcpuclockid(3) returns on Linux; /proc/PID/schedstat counts
    the same time, but for one thread and as long as it lives.
    """
    return clock_of(tree(pid))


def clock_of(processes: list[int]) -> float:
    return sum(time.clock_gettime((~process << 3) | 2) for process in processes)


def resident_kib(pid: int) -> int:
    return sum(
        int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_KIB
        for process in tree(pid)
    )


def pinned_to(pid: int, core: int) -> bool:
    """Whether every thread of the tree runs on `core` alone."""
    return all(
        os.sched_getaffinity(int(task.name)) == {core}
        for process in tree(pid)
        for task in Path(f"/proc/{process}/task").iterdir()
    )


def core_seconds(core: int) -> tuple[float, float]:
    """(busy, stolen) seconds of a core since boot, in ticks of 10 ms."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq) * TICK, steal * TICK
    raise LookupError(f"no core {core}")


def yardstick(core: int) -> float:
    """CPU milliseconds of hashing 4 MiB on `core`. Call it in a thread: it moves its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        start = time.thread_time_ns()
        hashlib.sha256(_WORK)
        return (time.thread_time_ns() - start) / 1e6
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Noise:
    """What disturbed a window, as shares of its length.

    Attributes:
        foreign: others' CPU time on the measured core.
        stolen: time the hypervisor says it gave to others.
        paused: time this process, wanting to run every 5 ms, was late by more than 5 ms.
        longest_pause_ms: the worst of it.
        rig: how busy the generator's and mock's core was.
        yardstick_ms: CPU time of a fixed piece of work on the measured core, before and after;
            where it varies, so does the worth of a CPU second.
    """

    foreign: float
    stolen: float
    paused: float
    longest_pause_ms: float
    rig: float
    yardstick_ms: float

    @property
    def total(self) -> float:
        return self.foreign + self.stolen + self.paused


@dataclass(frozen=True, slots=True)
class Sample:
    """The CPU clock at a moment, and how late the worst beat since the sample before was, in s."""

    time_ns: int
    cpu_seconds: float
    late: float


class Window:
    """`async with Window(pid, cores) as window:` measures a process while the block runs."""

    def __init__(self, pid: int, cores: Cores) -> None:
        self._pid = pid
        self._cores = cores
        self.cpu = 0.0
        self.noise = Noise(0, 0, 0, 0, 0, 0)

    async def __aenter__(self) -> Window:
        self._yardstick = await asyncio.to_thread(yardstick, self._cores.sut)
        self._late: list[float] = []
        self.samples: list[Sample] = []
        self._beat = asyncio.create_task(self._listen())
        self._start = time.monotonic()
        self._sut_core = core_seconds(self._cores.sut)
        self._rig_core = core_seconds(self._cores.rig)
        self.cpu = -cpu_seconds(self._pid)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.cpu += cpu_seconds(self._pid)
        length = time.monotonic() - self._start
        busy, stolen = core_seconds(self._cores.sut)
        rig_busy, _ = core_seconds(self._cores.rig)
        self._beat.cancel()
        yardsticks = (self._yardstick, await asyncio.to_thread(yardstick, self._cores.sut))
        self.noise = Noise(
            foreign=max(0.0, busy - self._sut_core[0] - self.cpu) / length,
            stolen=(stolen - self._sut_core[1]) / length,
            paused=sum(self._late) / length,
            longest_pause_ms=max(self._late, default=0) * 1000,
            rig=(rig_busy - self._rig_core[0]) / length,
            yardstick_ms=sum(yardsticks) / 2,
        )

    async def _listen(self) -> None:
        processes = tree(self._pid)
        now, worst = time.monotonic_ns(), 0.0
        self.samples.append(Sample(now, clock_of(processes), worst))
        while True:
            before = now
            await asyncio.sleep(_BEAT)
            now = time.monotonic_ns()
            late = (now - before) / 1e9 - _BEAT
            worst = max(worst, late)
            if late > _BEAT:
                self._late.append(late)
            if now - self.samples[-1].time_ns >= _SLICE_NS:
                self.samples.append(Sample(now, clock_of(processes), worst))
                worst = 0.0
