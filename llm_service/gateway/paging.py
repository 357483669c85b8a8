"""Lists that are in memory: filtered, ordered and cut into pages as the database does its own."""

import string
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cmp_to_key
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeVar

from llm_service.domain.listing import (
    And,
    Comparison,
    Filter,
    Listing,
    Not,
    Operator,
    Or,
    Order,
    Page,
    Search,
)
from llm_service.errors import InvalidField, Violation

T = TypeVar("T")
ValueOf = Callable[[T, str], object]
TextsOf = Callable[[T], Iterable[str]]
Scalar = str | int | float | bool | None

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: eq,
    Operator.NE: ne,
    Operator.LT: lt,
    Operator.LE: le,
    Operator.GT: gt,
    Operator.GE: ge,
}


def page(
    items: Iterable[T],
    listing: Listing,
    key: tuple[str, ...],
    value_of: ValueOf[T],
    texts_of: TextsOf[T] | None = None,
) -> Page[T]:
    """One page of `items`. The fields of `key` make the order total; unset values come last.

    `texts_of` gives the texts a bare word of the filter is looked for in; None: nowhere.

    Raises:
        InvalidField: the page token fits another order.
    """
    order = _total(listing.order_by, key)

    def place(item: T) -> tuple[Scalar, ...]:
        return tuple(_scalar(value_of(item, one.field)) for one in order)

    def compare(left: tuple[Scalar, ...], right: tuple[Scalar, ...]) -> int:
        return _compare(left, right, order)

    tree = listing.filter
    kept = [item for item in items if tree is None or matches(tree, item, value_of, texts_of)]
    ordered = cmp_to_key(compare)
    placed = sorted(
        ((place(item), item) for item in kept),
        key=lambda placed: ordered(placed[0]),
    )
    if (after := listing.after) is not None:
        if len(after) != len(order):
            raise InvalidField(Violation("page_token", "was given for other parameters"))
        placed = [(where, item) for where, item in placed if compare(where, after) > 0]
    shown = placed[: listing.limit]
    more = len(placed) > listing.limit
    return Page(tuple(item for _, item in shown), place(shown[-1][1]) if more else None)


def matches(
    tree: Filter, item: T, value_of: ValueOf[T], texts_of: TextsOf[T] | None = None
) -> bool:
    """Whether a filter holds for an item. An unset value equals nothing."""
    match tree:
        case And(terms):
            return all(matches(term, item, value_of, texts_of) for term in terms)
        case Or(terms):
            return any(matches(term, item, value_of, texts_of) for term in terms)
        case Not(term):
            return not matches(term, item, value_of, texts_of)
        case Search(text):
            return found_in(text, texts_of(item) if texts_of else ())
        case Comparison(field, operator, wanted):
            return _holds(value_of(item, field), operator, wanted, field)


def found_in(text: str, texts: Iterable[str]) -> bool:
    """Whether it is a part of one of them, whatever the case of A to Z."""
    part = text.translate(_ASCII_LOWER)
    return any(part in one.translate(_ASCII_LOWER) for one in texts)


def attribute(item: object, path: str) -> object:
    """The value at a dotted path of attributes and, at a mapping, of its key; None: it is unset."""
    value: object = item
    while path and value is not None:
        if isinstance(value, Mapping):
            return value.get(path)
        name, _, path = path.partition(".")
        value = getattr(value, name)
    return value


def _holds(value: object, operator: Operator, wanted: object, field: str) -> bool:
    if operator is Operator.HAS:
        return _has(value, str(wanted), field)
    if isinstance(value, StrEnum):
        value, wanted = str(value), _member(str(wanted), field)
    if value is None:
        return operator is Operator.NE
    return _COMPARE[operator](value, wanted)


def _has(value: object, wanted: str, field: str) -> bool:
    if isinstance(value, Mapping):
        return wanted in value
    if isinstance(value, tuple):
        return wanted in value or _member(wanted, field) in value
    if value is None or wanted == "*":
        # A key of a map is there whatever its value; a text of its own that is empty is unset.
        return value is not None and (value != "" or _is_member(field))
    return found_in(wanted, (str(value),))


def _is_member(field: str) -> bool:
    return any(part in ("label", "labels") for part in field.split(".")[:-1])


def _member(wanted: str, field: str) -> str:
    """An enum's value however the caller spells it: "STAGE_STABLE", "stable"."""
    leaf = field.rpartition(".")[2]
    text = wanted.lower().removeprefix(f"{leaf}_")
    return text.removeprefix("modality_") if leaf.endswith("modalities") else text


def _total(order_by: tuple[Order, ...], key: tuple[str, ...]) -> tuple[Order, ...]:
    named = {order.field for order in order_by}
    return (*order_by, *(Order(field) for field in key if field not in named))


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool | int | float):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _compare(left: tuple[Scalar, ...], right: tuple[Scalar, ...], order: tuple[Order, ...]) -> int:
    for one, other, key in zip(left, right, order, strict=True):
        first, second = _rank(one), _rank(other)
        if first != second:
            smaller = first < second
            unset = one is None or other is None
            return -1 if smaller != (key.descending and not unset) else 1
    return 0


def _rank(value: Scalar) -> tuple[int, Any]:
    """Comparable with that of any other scalar; unset is greatest."""
    if value is None:
        return 2, 0
    return (1, value) if isinstance(value, str) else (0, value)
