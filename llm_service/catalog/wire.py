"""Which form of its vendor's API a model takes, by its name: `wire.json`."""

import functools
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType

import msgspec

_NOTHING: Mapping[str, str] = MappingProxyType({})


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    """What holds of the models of `kinds` whose upstream id `match` finds."""

    kinds: tuple[str, ...]
    match: str
    facts: dict[str, str]


@functools.lru_cache(maxsize=4096)
def wire_facts(kind: str, provider_model: str) -> Mapping[str, str]:
    """What only the adapter needs to know of a model; what is not known is absent.

    `openai`, `azure`: "api" is "chat" or "responses". `anthropic`: "anthropic_version", the newest
    that takes the model's parameters, and "reasoning", "budget" or "adaptive". `bedrock`:
    "reasoning", of Claude. `google`: "thinking", "budget" or "level".

    The rules go by families of names, so they hold for releases that came after them too.
    """
    for pattern, facts in _rules().get(kind, ()):
        if pattern.search(provider_model):
            return facts
    return _NOTHING


@functools.cache
def _rules() -> Mapping[str, Sequence[tuple[re.Pattern[str], Mapping[str, str]]]]:
    """By kind, in the order they are tried."""
    text = files(__package__).joinpath("wire.json").read_bytes()
    rules: dict[str, list[tuple[re.Pattern[str], Mapping[str, str]]]] = {}
    for rule in msgspec.json.decode(text, type=list[_Rule]):
        for kind in rule.kinds:
            known = re.compile(rule.match), MappingProxyType(rule.facts)
            rules.setdefault(kind, []).append(known)
    return rules
