"""Collects everything wrong with a request, so that one answer names every bad field."""

import json
import re
from collections.abc import Collection
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from llm_service.errors import InvalidField, Violation
from llm_service.rpc.convert.times import from_duration


class Checks:
    """Violations found so far; `done` raises them together.

    `prefix` goes before every field: the place of the checked message in its request.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._violations: list[Violation] = []

    def refuse(self, field: str, description: str) -> None:
        self._violations.append(Violation(self._prefix + field, description))

    def done(self) -> None:
        """Raise `InvalidField` if anything was refused."""
        if self._violations:
            raise InvalidField(*self._violations)

    def between(self, field: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:  # also refuses NaN
            self.refuse(field, f"must be between {low:g} and {high:g}")

    def at_most(self, field: str, values: Collection[object], limit: int) -> None:
        if len(values) > limit:
            self.refuse(field, f"has {len(values)} entries; at most {limit} are taken")

    def matches(self, field: str, value: str, pattern: re.Pattern[str]) -> None:
        if not pattern.fullmatch(value):
            self.refuse(field, f"must match {pattern.pattern}")

    def json(self, field: str, text: str, kind: type = dict) -> None:
        """The text is JSON of the given Python type."""
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            self.refuse(field, "is not valid JSON")
            return
        if not isinstance(value, kind):
            self.refuse(field, "must be a JSON object")

    def positive_duration(self, field: str, duration: Duration, limit: float) -> float:
        """Seconds; refused unless above 0 and at most `limit`."""
        seconds = from_duration(duration)
        if not 0 < seconds <= limit:
            self.refuse(field, f"must be above 0s and at most {limit:g}s")
        return seconds


def _no_constant(name: str) -> None:
    """NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(name)


def given(message: Message, name: str) -> Any:
    """A field with presence: its value, or None when it is unset."""
    return getattr(message, name) if message.HasField(name) else None
