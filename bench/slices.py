"""CPU per unit of work in the undisturbed slices of a window: what is left of a noisy machine."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from load import Answer
from machine import Sample
from shape import Shape

LATE = 0.003
TOLERANCE = 0.3


@dataclass(slots=True)
class Slices:
    """CPU-us per unit of work in each undisturbed slice, and how many slices there were in all."""

    us: list[float] = field(default_factory=list)
    total: int = 0

    def add(self, samples: Sequence[Sample], arrivals: Sequence[int], rate: float) -> None:
        """Takes the slices in which no beat was late and about `rate` units a second arrived."""
        for before, after in pairwise(samples):
            first, last = (bisect_left(arrivals, sample.time_ns) for sample in (before, after))
            expected = rate * (after.time_ns - before.time_ns) / 1e9
            self.total += 1
            if after.late < LATE and abs(last - first - expected) <= TOLERANCE * expected:
                cpu_seconds = after.cpu_seconds - before.cpu_seconds
                self.us.append(cpu_seconds / (last - first) * 1e6)


def of_streams(samples: Sequence[Sample], answers: list[Answer], shape: Shape, wave: int) -> Slices:
    """While all of a wave of streams are past their first event and before their last."""
    slices = Slices()
    rate = wave * 1000 / shape.interval_ms
    for start in range(0, len(answers), wave):
        arrivals = [_arrivals(answer, shape) for answer in answers[start : start + wave]]
        begin = max(times[0] for times in arrivals)
        end = min(times[-1] for times in arrivals)
        steady = [sample for sample in samples if begin <= sample.time_ns <= end]
        slices.add(steady, sorted(time for times in arrivals for time in times), rate)
    return slices


def of_unaries(samples: Sequence[Sample], answers: list[Answer], rate: float) -> Slices:
    slices = Slices()
    arrivals = sorted(answer.end_ns for answer in answers)
    begin, end = min(answer.due_ns for answer in answers), max(answer.due_ns for answer in answers)
    slices.add([sample for sample in samples if begin <= sample.time_ns <= end], arrivals, rate)
    return slices


def _arrivals(answer: Answer, shape: Shape) -> list[int]:
    """When each content event was received: joined ones at once."""
    return [
        received for received, text in answer.texts() for _ in range(len(text) // shape.text_bytes)
    ]
