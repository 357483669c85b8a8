"""How often a vendor ran tools of its own, by what each is charged under."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from llm_service.domain.content import ProviderToolUse
from llm_service.providers.lenient import count

MOST_USES = 10_000
"""Of one tool in one answer; what is said beyond is not believed, and what it costs stays exact."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GAP = re.compile(r"[^a-z0-9]+")
_COUNTED = re.compile(r"-(requests|calls|call)$")
_LENGTH = 48
_UNNAMED = "provider-tool"
# One tool has one meter, whatever its vendor calls it.
_SAME = {
    "bash-code-execution": "code-execution",
    "text-editor-code-execution": "code-execution",
    "code-interpreter": "code-execution",
    "python": "code-execution",
    "google-search": "web-search",
    "enterprise-web-search": "web-search",
    "browser-search": "web-search",
    "search": "web-search",
}


def meter(said: str) -> str:
    """The meter of a tool or a count by its vendor's name: "x_search_calls" is "x-search"."""
    words = _GAP.sub("-", _HUMP.sub("-", said[:_LENGTH]).lower()).strip("-0123456789")
    name = _COUNTED.sub("", words)
    return _SAME.get(name, name) or _UNNAMED


def uses(counts: Mapping[str, Any]) -> tuple[ProviderToolUse, ...]:
    """By meter; what is no number above nothing is left out."""
    read = ((name, count(said) or 0) for name, said in counts.items())
    return tuple(ProviderToolUse(name, min(number, MOST_USES)) for name, number in read if number)


def reported(counts: Mapping[str, Any]) -> dict[str, int]:
    """A vendor's own object of counts, by meter."""
    sums: Counter[str] = Counter()
    for name, said in counts.items():
        sums[meter(name)] += count(said) or 0
    return dict(sums)


def seen(names: Iterable[str]) -> dict[str, int]:
    """Uses that nobody counted, by meter, from the name of each."""
    return dict(Counter(map(meter, names)))
