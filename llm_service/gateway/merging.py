"""Laying options over each other: field by field, the first that is set wins."""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, TypeVar

from llm_service.domain.completion import GenerationParams, Reasoning, RoutingOptions

Options = TypeVar("Options", GenerationParams, RoutingOptions, Reasoning)

_UNSET: dict[type, object] = {
    kind: kind() for kind in (GenerationParams, RoutingOptions, Reasoning)
}
_NAMES = {
    kind: tuple(field.name for field in fields(kind))
    for kind in (GenerationParams, RoutingOptions, Reasoning)
}


def merged(narrow: Options, wide: Options) -> Options:
    """What `narrow` sets, and from `wide` what it leaves unset. A list is taken as a whole."""
    if wide == _UNSET[type(wide)]:
        return narrow
    if narrow == _UNSET[type(narrow)]:
        return wide
    changes: dict[str, Any] = {}
    for name in _NAMES[type(narrow)]:
        value, other = getattr(narrow, name), getattr(wide, name)
        if isinstance(value, Reasoning) and isinstance(other, Reasoning):
            changes[name] = merged(value, other)
        elif value is None or value == ():
            changes[name] = other
    return replace(narrow, **changes)


def all_merged(layers: Iterable[Options], first: Options) -> Options:
    """`first`, then the layers in order."""
    result = first
    for layer in layers:
        result = merged(result, layer)
    return result
