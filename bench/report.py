"""What a run found: ratios per round, bars, noise; as text and as JSON."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import Cores

LONG_CHUNKS, SHORT_CHUNKS = 200, 20
QUIET = 0.03
RIG_BOUND = 0.8
ENOUGH_SLICES = 40
BARS = {
    "CPU per chunk / echo": 2.3,
    "CPU per unary call / echo": 3.0,
    "KiB per open stream": 45.0,
    "idle worker, MB": 90.0,
    "accounting, us per call over bare": 120.0,
    "accounting, us per chunk over bare": 6.0,
}


@dataclass(slots=True)
class Result:
    """Everything measured, raw. `rounds[i][system][load]` has the CPU seconds and the work done."""

    about: dict[str, Any]
    plan: dict[str, Any]
    rounds: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    first_token_ms: list[dict[str, float]] = field(default_factory=list)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    idle_cpu: dict[str, float] = field(default_factory=dict)
    voids: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, cores: Cores, compiled_mock: bool, plan: dict[str, Any]) -> Result:  # noqa: FBT001
        packages = ("llm-service", "grpcio", "protobuf", "uvloop", "openai", "msgspec")
        about = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in packages},
            "cpu": _cpu_model(),
            "kernel": platform.release(),
            "cores": asdict(cores),
            "compiled_mock": compiled_mock,
        }
        return cls(about, plan)

    @property
    def systems(self) -> list[str]:
        """Those that lasted through every round."""
        return [name for name in self.rounds[0] if all(name in loads for loads in self.rounds)]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def quantiles(nanoseconds: Sequence[int]) -> dict[str, float]:
    """Median and tail, in ms."""
    ordered = sorted(nanoseconds)
    return {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


# ---- figures per round ----


def chunk_us(loads: dict[str, Any], streams: int = 20) -> float:
    """The slope between short and long streams: no set-up in it."""
    long, short = loads[f"P{streams}-long"], loads[f"P{streams}-short"]
    slope = long["cpu_seconds"] / long["work"] - short["cpu_seconds"] / short["work"]
    return slope / (LONG_CHUNKS - SHORT_CHUNKS) * 1e6


def stream_us(loads: dict[str, Any], streams: int = 20) -> float:
    """The intercept of the same line: what a stream costs besides its chunks."""
    short = loads[f"P{streams}-short"]
    return short["cpu_seconds"] / short["work"] * 1e6 - SHORT_CHUNKS * chunk_us(loads, streams)


def unary_us(loads: dict[str, Any]) -> float:
    return loads["U200"]["cpu_seconds"] / loads["U200"]["work"] * 1e6


def chunk_us_at_300(loads: dict[str, Any]) -> float:
    return chunk_us(loads, 300)


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """CPU per unit of work, the median undisturbed slice of all rounds; NaN where there is none."""

    us: float
    clean: int
    total: int


def undisturbed(result: Result, system: str, load: str) -> Undisturbed:
    slices = [each for loads in result.rounds for each in loads[system][load]["slices"]]
    costs = [us for each in slices for us in each["us"]]
    total = sum(each["total"] for each in slices)
    return Undisturbed(statistics.median(costs) if costs else math.nan, len(costs), total)


def undisturbed_ratio(result: Result, system: str, load: str) -> float:
    return undisturbed(result, system, load).us / undisturbed(result, "echo", load).us


def noisy(result: Result) -> bool:
    """More than a quarter of the windows were disturbed: whole windows then prove little."""
    windows = noise(result)
    return sum(_share(window) > QUIET for window in windows) > len(windows) / 4


def noise(result: Result) -> list[dict[str, float]]:
    return [
        window
        for loads in result.rounds
        for points in loads.values()
        for point in points.values()
        for window in point["noise"]
    ]


def _share(window: dict[str, float]) -> float:
    return window["foreign"] + window["stolen"] + window["paused"]


def per_round(
    result: Result, system: str, figure: Callable[[dict[str, Any]], float]
) -> list[float]:
    return [figure(loads[system]) for loads in result.rounds]


def ratios(result: Result, system: str, figure: Callable[[dict[str, Any]], float]) -> list[float]:
    """`system` over the echo server, round by round."""
    return [figure(loads[system]) / figure(loads["echo"]) for loads in result.rounds]


def added_first_token(result: Result, system: str) -> list[float]:
    return [times[system] - times["direct"] for times in result.first_token_ms]


# ---- bars ----


def bars(result: Result) -> Iterator[tuple[str, float | None, float]]:
    """(what, measured or None, at most). On a noisy machine ratios are those of quiet slices."""
    comparable = {"service", "echo"} <= set(result.systems)
    memory = result.memory.get("service", {})
    measured = (
        _judged(result, chunk_us, "P20-long") if comparable else None,
        _judged(result, unary_us, "U200") if comparable else None,
        memory.get("kib_per_stream"),
        memory.get("idle_mb"),
        _over_bare(result, unary_us),
        _over_bare(result, chunk_us),
    )
    for (what, limit), value in zip(BARS.items(), measured, strict=True):
        yield what, value, limit


def _judged(result: Result, figure: Callable[[dict[str, Any]], float], load: str) -> float | None:
    if not noisy(result):
        return statistics.median(ratios(result, "service", figure))
    fewest = min(undisturbed(result, system, load).clean for system in ("service", "echo"))
    return undisturbed_ratio(result, "service", load) if fewest >= ENOUGH_SLICES else None


def _over_bare(result: Result, figure: Callable[[dict[str, Any]], float]) -> float | None:
    """CPU us that the service uses more than the same service without accounting; by rounds."""
    if not {"service", "bare"} <= set(result.systems):
        return None
    pairs = zip(
        per_round(result, "service", figure), per_round(result, "bare", figure), strict=True
    )
    return statistics.median(service - bare for service, bare in pairs)


def passed(result: Result) -> bool:
    return all(value is not None and value <= limit for _, value, limit in bars(result))


# ---- text ----


def text(result: Result) -> str:
    return "\n".join(
        [
            *_about(result),
            "",
            *_table(result),
            "",
            *_ratios(result),
            "",
            *_bars(result),
            "",
            *_checks(result),
        ]
    )


def _about(result: Result) -> Iterator[str]:
    about = result.about
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    yield f"bench  {about['time']}  Python {about['python']}, {versions}"
    cores = about["cores"]
    yield f"on     {about['cpu']}, Linux {about['kernel']}"
    if cores["rig"] == cores["sut"]:
        yield "cores  ONLY ONE: generator, mock and system share it; compare ratios only"
    else:
        yield f"cores  system under test on {cores['sut']}; mock and generator on {cores['rig']}"


def _table(result: Result) -> Iterator[str]:
    yield f"{'median [min-max] over rounds':34}" + "".join(f"{s:>24}" for s in result.systems)
    rows: list[tuple[str, Callable[[str], list[float]]]] = [
        ("CPU us per chunk (P20)", lambda s: per_round(result, s, chunk_us)),
        ("CPU us per stream, besides", lambda s: per_round(result, s, stream_us)),
        ("CPU us per unary call (200/s)", lambda s: per_round(result, s, unary_us)),
        ("upstream events per message", lambda s: _joined(result, s)),
        ("transit of a chunk p50, ms", lambda s: _latency(result, s, "P20-long", "p50")),
        ("transit of a chunk p99, ms", lambda s: _latency(result, s, "P20-long", "p99")),
        ("unary call p50, ms", lambda s: _latency(result, s, "U200", "p50")),
        ("unary call p99, ms", lambda s: _latency(result, s, "U200", "p99")),
        ("added time to first token p50, ms", lambda s: added_first_token(result, s)),
        ("KiB per open stream", lambda s: [result.memory[s]["kib_per_stream"]]),
        ("resident when idle, MB", lambda s: [result.memory[s]["idle_mb"]]),
        ("CPU when idle, ms a second", lambda s: [result.idle_cpu[s]]),
    ]
    if 300 in result.plan["streams"]:
        rows.insert(1, ("CPU us per chunk (P300)", lambda s: per_round(result, s, chunk_us_at_300)))
    for title, figures in rows:
        yield f"{title:34}" + "".join(f"{_spread(figures(s)):>24}" for s in result.systems)


def _joined(result: Result, system: str) -> list[float]:
    return [loads[system]["P20-long"]["joined"] for loads in result.rounds]


def _latency(result: Result, system: str, load: str, quantile: str) -> list[float]:
    return [loads[system][load]["latency_ms"][quantile] for loads in result.rounds]


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{statistics.median(values):.4g} [{min(values):.4g}-{max(values):.4g}]"


def _ratios(result: Result) -> Iterator[str]:
    if "echo" not in result.systems:
        return
    for system in result.systems:
        for title, figure, load in (
            ("chunk", chunk_us, "P20-long"),
            ("unary call", unary_us, "U200"),
        ):
            if system != "echo":
                values = ratios(result, system, figure)
                each = "  ".join(f"{value:.2f}" for value in values)
                quiet = undisturbed_ratio(result, system, load)
                name = f"{system} / echo, per {title}"
                yield f"{name:34}{statistics.median(values):5.2f} x   rounds: {each}"
                yield f"{'  in undisturbed slices':34}{quiet:5.2f} x"


def _bars(result: Result) -> Iterator[str]:
    if noisy(result):
        yield "  (ratios judged in undisturbed slices: the machine was not quiet)"
    for what, value, limit in bars(result):
        if value is None:
            yield f"  ?     {what}: not measured (at most {limit:g})"
        else:
            verdict = "pass" if value <= limit else "MISS"
            yield f"  {verdict}  {what}: {value:.2f} (at most {limit:g})"


def _checks(result: Result) -> Iterator[str]:
    yield "checked: every event and answer counted was delivered whole and in order"
    for void in result.voids:
        yield f"void: {void}"
    windows = noise(result)
    for name in ("foreign", "stolen", "paused"):
        shares = [window[name] * 100 for window in windows]
        middle = statistics.median(shares)
        yield f"noise: {name} {middle:.1f} % of a window, worst {max(shares):.1f} %"
    yardsticks = [window["yardstick_ms"] for window in windows]
    stretch = max(yardsticks) / min(yardsticks)
    yield f"noise: the same work cost up to {stretch:.2f} x its least CPU time"
    worst = max(window["longest_pause_ms"] for window in windows)
    loud = sum(_share(window) > QUIET for window in windows)
    yield f"noise: longest pause {worst:.0f} ms; {loud} of {len(windows)} windows above {QUIET:.0%}"
    if noisy(result):
        yield "NOISY MACHINE: whole windows prove little; quote no absolute figure"
    if max(window["rig"] for window in windows) > RIG_BOUND or not result.about["compiled_mock"]:
        yield "RIG-BOUND POSSIBLE: the generator's core was full, or the mock is the Python one"
    yield from _cpu_measured(result)
    yield from _slices(result)


def _slices(result: Result) -> Iterator[str]:
    for system in result.systems:
        found = [
            f"{load} {quiet.us:.1f} us ({quiet.clean} of {quiet.total})"
            for load in ("P20-long", "U200")
            for quiet in (undisturbed(result, system, load),)
        ]
        yield f"undisturbed slices, {system}: {', '.join(found)}"


def _cpu_measured(result: Result) -> Iterator[str]:
    for system in result.systems:
        totals = [
            f"{load} {sum(loads[system][load]['cpu_seconds'] for loads in result.rounds):.2f} s"
            for load in result.rounds[0][system]
        ]
        yield f"CPU measured, {system}: {', '.join(totals)}"


def as_json(result: Result) -> dict[str, Any]:
    derived = {
        system: {
            "chunk_us": per_round(result, system, chunk_us),
            "stream_us": per_round(result, system, stream_us),
            "unary_us": per_round(result, system, unary_us),
            "added_first_token_ms": added_first_token(result, system),
        }
        for system in result.systems
    }
    judged = [
        {"bar": what, "measured": value, "at_most": limit} for what, value, limit in bars(result)
    ]
    return {**asdict(result), "derived": derived, "bars": judged}
