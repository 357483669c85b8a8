"""How the cost of work grows with its size: what a machine that pauses or traces cannot change."""

import gc
import math
import time
from collections.abc import Callable
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")

FACTOR = 4
"""How much more work the larger of two runs has."""

MOST = 9.0
"""Linear work costs 4 times as much, quadratic work 16 times; the bar is between the two."""

ROUNDS = 8
ENOUGH_SECONDS = 5.0
"""After which no pause of the machine explains a cost any more."""

LONG_SECONDS = 10.0
"""Of the processor's time, where the work is some milliseconds: an end that does not come."""


def in_linear_time(
    prepare: Callable[[int], Given], work: Callable[[Given], Result], size: int
) -> Result:
    """Do work of `size` and of four times that, and hold their costs together.

    Only `work` is measured, by the processor's time of its thread, and the cheapest run counts: the
    machine adds to a cost and never takes from it. Returns the result of the larger run.
    """
    small, large = prepare(size), prepare(size * FACTOR)
    lower = higher = math.inf
    began = time.thread_time()
    for _ in range(ROUNDS):
        _, cost = _measured(work, small)
        lower = min(lower, cost)
        result, cost = _measured(work, large)
        higher = min(higher, cost)
        if higher < lower * MOST:
            return result
        if time.thread_time() - began > ENOUGH_SECONDS:
            break
    raise AssertionError(f"{FACTOR} times the work costs {higher / lower:.1f} times as much")


def _measured(work: Callable[[Given], Result], given: Given) -> tuple[Result, float]:
    gc.disable()  # a collection costs by what other tests left behind
    began = time.thread_time()
    try:
        return work(given), time.thread_time() - began
    finally:
        gc.enable()


class Stopwatch:
    """The processor's time that this thread used since."""

    def __init__(self) -> None:
        self._began = time.thread_time()

    def assert_not_long(self) -> None:
        assert time.thread_time() - self._began < LONG_SECONDS
