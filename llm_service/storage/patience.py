"""How long the statements of one unit of work may take, where that is longer than usual."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

AT_LEAST: ContextVar[float] = ContextVar("AT_LEAST", default=0.0)
"""Seconds that an answer is waited for, by our own clock."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Wait that long for each answer within the block; the server's own limit is another."""
    token = AT_LEAST.set(seconds)
    try:
        yield
    finally:
        AT_LEAST.reset(token)
