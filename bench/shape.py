"""What a call asks of the upstream: the vocabulary mock, servers and load generator share."""

from __future__ import annotations

import re
from dataclasses import dataclass

STAMP = re.compile(r"(\d{6}) (\d{19}) ")
STAMP_BYTES = 27
_NAME = re.compile(r"c(\d+)-i(\d+)-b(\d+)-t(\d+)")


@dataclass(frozen=True, slots=True)
class Shape:
    """How an answer looks; its name is a path segment of the mock and a provider's id.

    Attributes:
        chunks: content events of a streamed answer.
        interval_ms: time between two of them.
        text_bytes: text in each, or in the whole unary answer; at least STAMP_BYTES.
        ttft_ms: time before the first byte.
    """

    chunks: int
    interval_ms: int
    text_bytes: int = 32
    ttft_ms: int = 0

    @property
    def name(self) -> str:
        return f"c{self.chunks}-i{self.interval_ms}-b{self.text_bytes}-t{self.ttft_ms}"

    @property
    def model(self) -> str:
        return f"providers/{self.name}/models/bench"

    @classmethod
    def find(cls, text: str) -> Shape:
        """The shape named somewhere in `text`: a model's resource name or a URL path.

        Raises:
            ValueError: none is.
        """
        match = _NAME.search(text)
        if match is None:
            raise ValueError(f"no shape in {text!r}")
        return cls(*(int(group) for group in match.groups()))


def text(number: int, now_ns: int, length: int) -> str:
    """The text of event `number` sent at `now_ns` (monotonic clock): what mock.c writes too."""
    return f"{number:06d} {now_ns:019d} ".ljust(length, "x")
