"""Lists: a filter tree, an order and a place to go on from, as bound SQL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto
from operator import eq, ge, gt, le, lt, ne
from typing import Any, NoReturn, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Select,
    String,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from llm_service.domain.listing import (
    And,
    Comparison,
    Filter,
    Listing,
    Not,
    Operator,
    Or,
    Order,
    Search,
    Value,
)
from llm_service.errors import InvalidField, Violation
from llm_service.storage import reading
from llm_service.storage.expressions import JsonHas, JsonMember, Position
from llm_service.storage.tables import Time

MAX_DEPTH = 32
"""How deep a filter may nest: both databases limit their own recursion."""

_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_COMPARE = {
    Operator.EQ: eq,
    Operator.NE: ne,
    Operator.LT: lt,
    Operator.LE: le,
    Operator.GT: gt,
    Operator.GE: ge,
}
_INT64 = range(-(2**63), 2**63)

After = tuple[str | int | float | bool | None, ...]


class Kind(Enum):
    """What a field holds, which decides what it can be compared with."""

    TEXT = auto()
    INTEGER = auto()
    BOOLEAN = auto()
    TIME = auto()
    LIST = auto()
    MAP = auto()


_TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.TEXT: String(),
    Kind.INTEGER: BigInteger(),
    Kind.BOOLEAN: Boolean(),
    Kind.TIME: Time(),
    Kind.LIST: String(),
}
_SORTABLE = frozenset({Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.TIME})
_OPERATORS: dict[Kind, frozenset[Operator]] = {
    Kind.TEXT: frozenset(Operator),
    Kind.INTEGER: frozenset(_COMPARE),
    Kind.BOOLEAN: frozenset({Operator.EQ, Operator.NE}),
    Kind.TIME: frozenset(_COMPARE),
    Kind.LIST: frozenset({Operator.HAS}),
    Kind.MAP: frozenset({Operator.HAS}),
}
_ENUM_OPERATORS: dict[Kind, frozenset[Operator]] = {
    Kind.TEXT: frozenset({Operator.EQ, Operator.NE}),
    Kind.LIST: frozenset({Operator.HAS}),
}


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What one field of a resource is in SQL.

    `nullable`: it may be unset; then it equals nothing, and a list cannot be ordered by it.
    `members`: the values it is chosen from, spelled as the contract's enum, `prefix` or not.
    """

    expression: ColumnElement[Any]
    kind: Kind = Kind.TEXT
    nullable: bool = False
    members: type[StrEnum] | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """What may be asked of one resource's lists.

    `key`: the fields that make any order total. `found_by`: whether a lower-case text is somewhere
    in the resource; None: nothing is searched.
    """

    fields: Mapping[str, Field]
    key: tuple[str, ...]
    found_by: Callable[[ColumnElement[str]], ColumnElement[bool]] | None = None

    def where(self, condition: Filter, depth: int = 0) -> ColumnElement[bool]:
        """The filter as a condition that is true or false, never NULL."""
        if depth > MAX_DEPTH:
            _refuse("filter", f"nests deeper than {MAX_DEPTH}")
        match condition:
            case And(terms):
                return and_(true(), *(self.where(term, depth + 1) for term in terms))
            case Or(terms):
                return or_(false(), *(self.where(term, depth + 1) for term in terms))
            case Not(term):
                return not_(self.where(term, depth + 1))
            case Search(text):
                return self._found(text)
        return _comparison(condition, self._field(condition.field))

    def _found(self, text: str) -> ColumnElement[bool]:
        if self.found_by is None:
            _refuse("filter", "needs a field and an operator")
        return self.found_by(_lowered("filter", text))

    async def page(
        self, connection: AsyncConnection, statement: Select[Any], listing: Listing
    ) -> tuple[Sequence[Any], After | None]:
        """The rows of one page, and where the next one starts."""
        keys = self._keys(listing.order_by)
        if listing.filter is not None:
            statement = statement.where(self.where(listing.filter))
        if listing.after is not None:
            statement = statement.where(_beyond(keys, listing.after))
        statement = statement.order_by(
            *(field.expression.desc() if down else field.expression for field, down in keys)
        ).limit(listing.limit + 1)
        for place, (field, _) in enumerate(keys):
            statement = statement.add_columns(field.expression.label(f"sort_{place}"))
        rows = await reading.every(connection, statement)
        if len(rows) <= listing.limit:
            return rows, None
        rows = rows[: listing.limit]
        last = (getattr(rows[-1], f"sort_{place}") for place in range(len(keys)))
        return rows, tuple(map(_scalar, last))

    def _field(self, path: str) -> Field:
        if field := self.fields.get(path):
            return field
        for name, field in self.fields.items():
            if field.kind is Kind.MAP and path.startswith(f"{name}.") and path != f"{name}.":
                key = literal(_text("filter", path.removeprefix(f"{name}.")), String())
                return Field(JsonMember(field.expression, key), nullable=True)
        allowed = ", ".join(
            f"{name}.{{key}}" if field.kind is Kind.MAP else name
            for name, field in sorted(self.fields.items())
        )
        return _refuse("filter", f"no such field; there are: {allowed}")

    def _keys(self, order_by: tuple[Order, ...]) -> list[tuple[Field, bool]]:
        """Every sort key and whether it descends; the table's own key goes the way of the last."""
        directions: dict[str, bool] = {}
        for order in order_by:
            self._sortable(order.field)
            directions.setdefault(order.field, order.descending)
        last = order_by[-1].descending if order_by else False
        for path in self.key:
            directions.setdefault(path, last)
        return [(self.fields[path], descending) for path, descending in directions.items()]

    def _sortable(self, path: str) -> None:
        sortable = sorted(
            name
            for name, field in self.fields.items()
            if field.kind in _SORTABLE and not field.nullable
        )
        if path not in sortable:
            _refuse("order_by", f"cannot order by this; there are: {', '.join(sortable)}")


def _comparison(comparison: Comparison, field: Field) -> ColumnElement[bool]:
    operator, value = comparison.operator, comparison.value
    allowed = _OPERATORS[field.kind] if field.members is None else _ENUM_OPERATORS[field.kind]
    if operator not in allowed:
        spelled = " ".join(sorted(allowed))
        _refuse("filter", f"{comparison.field} takes only {spelled}")
    if operator is Operator.HAS:
        return _has(comparison.field, field, value)
    bound = literal(_operand(comparison.field, field, value), _TYPES[field.kind])
    condition: ColumnElement[bool] = _COMPARE[operator](field.expression, bound)
    if not field.nullable:
        return condition
    return func.coalesce(condition, true() if operator is Operator.NE else false())


def _has(path: str, field: Field, value: Value) -> ColumnElement[bool]:
    expression = field.expression
    match field.kind:
        case Kind.MAP:
            key = literal(_text(path, value), String())
            return JsonMember(expression, key).is_not(None)
        case Kind.LIST:
            return JsonHas(expression, literal(_operand(path, field, value), String()))
    if value == "*":
        return expression.is_not(None) if field.nullable else expression != literal("", String())
    found = Position(expression, _lowered(path, value)) > 0
    return func.coalesce(found, false()) if field.nullable else found


def _lowered(path: str, value: Value) -> ColumnElement[str]:
    return literal(_text(path, value).translate(_ASCII_LOWER), String())


def _operand(path: str, field: Field, value: Value) -> Value:
    """The value as the field's kind, or InvalidField."""
    match field.kind:
        case Kind.INTEGER:
            if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
                _refuse("filter", f"{path} is compared with a whole number of 64 bits")
            return value
        case Kind.BOOLEAN:
            if not isinstance(value, bool):
                _refuse("filter", f"{path} is true or false")
            return value
        case Kind.TIME:
            return _time("filter", path, value)
    text = _text(path, value)
    return text if field.members is None else _member(path, field.members, field.prefix, text)


def _member(path: str, members: type[StrEnum], prefix: str, text: str) -> str:
    value = text.upper().removeprefix(prefix).lower()
    if value not in {member.value for member in members}:
        allowed = ", ".join(prefix + member.value.upper() for member in members)
        _refuse("filter", f"{path} is one of {allowed}")
    return value


def _text(path: str, value: Value) -> str:
    if not isinstance(value, str) or "\0" in value:
        _refuse("filter", f"{path} is compared with text")
    return value


def _time(parameter: str, path: str, value: object) -> datetime:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        time = None
    if not isinstance(time, datetime) or time.tzinfo is None:
        _refuse(parameter, f"{path} is compared with a time, like 2026-01-31T00:00:00Z")
    return time


def _beyond(keys: Sequence[tuple[Field, bool]], after: After) -> ColumnElement[bool]:
    """Rows that come after the one with these sort values."""
    if len(after) != len(keys):
        _refuse("page_token", "is not from this list")
    bounds = [_bound(field, value) for (field, _), value in zip(keys, after, strict=True)]
    directions = {descending for _, descending in keys}
    if len(directions) == 1:
        # As one comparison of rows, which an index answers however far into the list it is.
        further = lt if directions.pop() else gt
        return cast(
            "ColumnElement[bool]",
            further(tuple_(*(field.expression for field, _ in keys)), tuple_(*bounds)),
        )
    alternatives = []
    for place, (field, descending) in enumerate(keys):
        further = lt if descending else gt
        alternatives.append(
            and_(
                *(keys[i][0].expression == bounds[i] for i in range(place)),
                further(field.expression, bounds[place]),
            )
        )
    return or_(*alternatives)


def _bound(field: Field, value: object) -> ColumnElement[Any]:
    expected = {Kind.INTEGER: int, Kind.BOOLEAN: bool}.get(field.kind, str)
    if type(value) is not expected or (expected is int and value not in _INT64):
        _refuse("page_token", "is not from this list")
    if field.kind is Kind.TIME:
        value = _time("page_token", "it", value)
    return literal(value, _TYPES[field.kind])


def _scalar(value: object) -> str | int | float | bool | None:
    if isinstance(value, datetime):
        return value.isoformat()
    assert value is None or isinstance(value, str | int | float)  # noqa: S101 - for the type checker
    return value


def _refuse(parameter: str, description: str) -> NoReturn:
    raise InvalidField(Violation(parameter, description))
