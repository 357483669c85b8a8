"""How a list is asked for: a filter tree, an order and a place to go on from."""

from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from llm_service.domain.value import value

Value = str | int | float | bool | datetime


class Operator(StrEnum):
    """AIP-160's comparisons. HAS (":") is "contains": a substring, a list member or a map key."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    HAS = ":"


@value
class Comparison:
    """`field` is a dotted path of the resource in the proto's spelling: "labels.team"."""

    field: str
    operator: Operator
    value: Value


@value
class Search:
    """A bare word: somewhere in the resource's texts, whatever the case of A to Z."""

    text: str


@value
class And:
    """Every term holds."""

    terms: "tuple[Filter, ...]"


@value
class Or:
    """Some term holds."""

    terms: "tuple[Filter, ...]"


@value
class Not:
    """The term does not hold."""

    term: "Filter"


Filter = Comparison | Search | And | Or | Not


@value
class Order:
    """One sort key."""

    field: str
    descending: bool = False


@value
class Listing:
    """One page of a list.

    `after` holds the last row's sort values (JSON scalars), as a page gave them.
    """

    limit: int
    filter: Filter | None = None
    order_by: tuple[Order, ...] = ()
    after: tuple[str | int | float | bool | None, ...] | None = None


T = TypeVar("T")


@value
class Page(Generic[T]):
    """`after` None: this is the last page."""

    items: tuple[T, ...]
    after: tuple[str | int | float | bool | None, ...] | None = None
