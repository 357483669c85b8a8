"""How lists are asked for on the wire: AIP-160 filters, order_by and opaque page tokens.

A filter is comparisons joined by AND, OR and NOT with parentheses. As in AIP-160, OR binds tighter
than AND, terms side by side are joined by AND, and "-" before a term is NOT.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
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
    Value,
)
from llm_service.errors import InvalidField, Violation

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_FILTER_LENGTH = 2000  # characters
MAX_FILTER_DEPTH = 16  # parentheses and negations inside each other
MAX_FILTER_COMPARISONS = 64
MAX_ORDER_FIELDS = 8
MAX_TOKEN_LENGTH = 4096
INT64 = 1 << 63

After = tuple[str | int | float | bool | None, ...]
T = TypeVar("T")


class FieldType(Enum):
    """What a field holds, hence which operators and literals it takes."""

    TEXT = auto()
    INTEGER = auto()
    BOOLEAN = auto()
    TIME = auto()
    LIST = auto()
    """A list of texts; only ":"."""
    MAP = auto()
    """Texts by key: `labels.team = "x"`, and `labels:team` for the key itself."""


Fields = Mapping[str, FieldType]

_EQUALITY = frozenset({Operator.EQ, Operator.NE})
_ORDERED = _EQUALITY | {Operator.LT, Operator.LE, Operator.GT, Operator.GE}
_OPERATORS = {
    FieldType.TEXT: _ORDERED | {Operator.HAS},
    FieldType.INTEGER: _ORDERED,
    FieldType.BOOLEAN: _EQUALITY,
    FieldType.TIME: _ORDERED,
    FieldType.LIST: frozenset({Operator.HAS}),
    FieldType.MAP: frozenset({Operator.HAS}),
}
_TOKEN = re.compile(
    r"\s*(?:(?P<operator><=|>=|!=|[=<>:])|(?P<open>\()|(?P<close>\))"
    r"|(?P<quoted>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<word>[^\s()\"'=<>:!,]+(?::[0-9][^\s()\"'=<>!,]*)?))"
)
_TRAILING_SPACE = re.compile(r"\s*\Z")


def listing(request: Any, method: str, fields: Fields, scope: Sequence[object] = ()) -> Listing:
    """The page that `request` asks for.

    `scope` holds the request's other parameters: a token given for one scope is refused in another.

    Raises:
        InvalidField: names each that is wrong of page_size, page_token, filter and order_by.
    """
    filter_text, order_text = getattr(request, "filter", ""), getattr(request, "order_by", "")
    scope = (method, filter_text, order_text, *scope)
    violations: list[Violation] = []
    limit = attempt(violations, lambda: page_size(request.page_size))
    after = attempt(violations, lambda: read_token(request.page_token, scope))
    tree = attempt(violations, lambda: parse_filter(filter_text, fields))
    order = attempt(violations, lambda: parse_order(order_text, fields))
    if violations:
        raise InvalidField(*violations)
    return Listing(limit or DEFAULT_PAGE_SIZE, tree, order or (), after)


def attempt(violations: list[Violation], parse: Callable[[], T]) -> T | None:
    """What `parse` gives; None, and what is wrong added to `violations`, if it refuses."""
    try:
        return parse()
    except InvalidField as error:
        violations += error.violations
        return None


def next_token(request: Any, method: str, page: Page[Any], scope: Sequence[object] = ()) -> str:
    """The token of the page after `page`; "" when it is the last."""
    if page.after is None:
        return ""
    order_text = getattr(request, "order_by", "")
    return write_token(page.after, (method, getattr(request, "filter", ""), order_text, *scope))


def page_size(size: int) -> int:
    """0 asks for the default; more than the maximum gets the maximum, as AIP-158 has it."""
    if size < 0:
        raise InvalidField(Violation("page_size", "must not be negative"))
    return min(size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


# --- page tokens ---------------------------------------------------------------------------------


def write_token(after: After, scope: Sequence[object]) -> str:
    """An opaque token for the place `after` in the list that `scope` describes.

    It carries a digest of both, so that a cut, altered or borrowed token is refused. It is not a
    secret: whoever forges one only starts elsewhere in a list they may read anyway.
    """
    text = json.dumps([_digest(after, scope), *after], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str, scope: Sequence[object], field: str = "page_token") -> After | None:
    """The place a token stands for; None for "", the list's beginning.

    Raises:
        InvalidField: not a token of this service, or one given for other parameters.
    """
    if not token:
        return None
    entries = _token_entries(token)
    if entries is None:
        raise InvalidField(Violation(field, "is not one that this service gave out"))
    digest, after = entries[0], tuple(entries[1:])
    if digest != _digest(after, scope):
        raise InvalidField(Violation(field, "was given for other parameters"))
    return after


def _token_entries(token: str) -> list[Any] | None:
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        return None
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        entries = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(entries, list) or not entries or not all(map(_is_scalar, entries)):
        return None
    return entries


def _is_scalar(entry: object) -> bool:
    if isinstance(entry, bool) or not isinstance(entry, int):
        return entry is None or isinstance(entry, str | float | bool)
    return -INT64 <= entry < INT64


def _digest(after: After, scope: Sequence[object]) -> str:
    text = json.dumps([list(after), [str(part) for part in scope]], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


# --- order_by ------------------------------------------------------------------------------------


def parse_order(text: str, fields: Fields) -> tuple[Order, ...]:
    """Sort keys from "priority, create_time desc"; () for "".

    Raises:
        InvalidField: a field that cannot be sorted by, named twice, or a direction that is none.
    """
    if not text.strip():
        return ()
    parts = text.split(",")
    if len(parts) > MAX_ORDER_FIELDS:
        raise InvalidField(Violation("order_by", f"has more than {MAX_ORDER_FIELDS} fields"))
    order = tuple(_order(part.split(), fields) for part in parts)
    if len({key.field for key in order}) < len(order):
        raise InvalidField(Violation("order_by", "names a field twice"))
    return order


def _order(words: list[str], fields: Fields) -> Order:
    if not words or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):  # noqa: PLR2004
        raise InvalidField(Violation("order_by", 'must be like "priority, create_time desc"'))
    if fields.get(words[0]) in (None, FieldType.LIST, FieldType.MAP):
        known = ", ".join(sorted(sortable(fields)))
        raise InvalidField(Violation("order_by", f"can only name {known or 'nothing'}"))
    return Order(words[0], descending=words[1:] == ["desc"])


def sortable(fields: Fields) -> list[str]:
    """The fields an order may name."""
    return [name for name, kind in fields.items() if kind not in (FieldType.LIST, FieldType.MAP)]


# --- filter --------------------------------------------------------------------------------------


def parse_filter(text: str, fields: Fields) -> Filter | None:
    """The tree of an AIP-160 filter over `fields`; None for "".

    Raises:
        InvalidField: on "filter", saying at which character (from 1) and why.
    """
    if len(text) > MAX_FILTER_LENGTH:
        raise InvalidField(Violation("filter", f"is longer than {MAX_FILTER_LENGTH} characters"))
    tokens = _tokens(text)
    if not tokens:
        return None
    parser = _Parser(tokens, len(text), fields)
    tree = parser.expression(depth=0)
    parser.expect_end()
    return tree


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not _TRAILING_SPACE.match(text, position):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            blank = len(text) - len(text[position:].lstrip())
            raise _wrong(blank + 1, "cannot be read")
        kind = match.lastgroup
        tokens.append(_Token(kind, match[kind], match.start(kind) + 1))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, tokens: list[_Token], length: int, fields: Fields) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = length + 1
        self._fields = fields
        self._comparisons = 0

    def expression(self, depth: int) -> Filter:
        terms = [self._factor(depth)]
        while (token := self._peek()) is not None and token.kind != "close":
            if _is_word(token, "AND"):
                self._next += 1
            terms.append(self._factor(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def expect_end(self) -> None:
        if (token := self._peek()) is not None:
            raise _wrong(token.position, "closes nothing")

    def _factor(self, depth: int) -> Filter:
        terms = [self._term(depth)]
        while (token := self._peek()) is not None and _is_word(token, "OR"):
            self._next += 1
            terms.append(self._term(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _term(self, depth: int) -> Filter:
        if depth > MAX_FILTER_DEPTH:
            raise InvalidField(Violation("filter", f"is nested deeper than {MAX_FILTER_DEPTH}"))
        token = self._take("a comparison")
        if _is_word(token, "NOT") or _is_word(token, "-"):
            return Not(self._term(depth + 1))
        if token.kind == "open":
            tree = self.expression(depth + 1)
            closing = self._take('")"')
            if closing.kind != "close":
                raise _wrong(closing.position, 'needs ")" before it')
            return tree
        if token.kind == "word" and token.text.startswith("-"):
            return Not(self._comparison(_Token("word", token.text[1:], token.position + 1)))
        return self._comparison(token)

    def _comparison(self, field: _Token) -> Comparison:
        if field.kind != "word" or field.text in ("AND", "OR"):
            raise _wrong(field.position, "needs the name of a field")
        self._comparisons += 1
        if self._comparisons > MAX_FILTER_COMPARISONS:
            raise InvalidField(
                Violation("filter", f"has more than {MAX_FILTER_COMPARISONS} comparisons")
            )
        kind = self._kind(field)
        operator = self._take("an operator")
        if operator.kind != "operator":
            raise _wrong(operator.position, "needs an operator before it")
        chosen = Operator(operator.text)
        if chosen not in _OPERATORS[kind]:
            allowed = ", ".join(sorted(_OPERATORS[kind]))
            raise _wrong(operator.position, f"{field.text} takes only {allowed}")
        return Comparison(field.text, chosen, _value(kind, self._take("a value")))

    def _kind(self, field: _Token) -> FieldType:
        if (kind := self._fields.get(field.text)) is not None:
            return kind
        for name, kind in self._fields.items():
            prefix = f"{name}."
            if kind is FieldType.MAP and field.text.startswith(prefix) and field.text != prefix:
                return FieldType.TEXT
        raise _wrong(field.position, f"the fields are {', '.join(sorted(self._fields))}")

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self, wanted: str) -> _Token:
        token = self._peek()
        if token is None:
            raise _wrong(self._end, f"needs {wanted}")
        self._next += 1
        return token


def _is_word(token: _Token, word: str) -> bool:
    return token.kind == "word" and token.text == word


def _value(kind: FieldType, token: _Token) -> Value:
    if token.kind not in ("word", "quoted"):
        raise _wrong(token.position, "needs a value")
    text = token.text
    if token.kind == "quoted":
        text = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    if kind is FieldType.BOOLEAN:
        return _boolean(text, token.position)
    if kind is FieldType.INTEGER:
        return _integer(text, token.position)
    if kind is FieldType.TIME:
        return _time(text, token.position)
    return text


def _boolean(text: str, position: int) -> bool:
    if text not in ("true", "false"):
        raise _wrong(position, "must be true or false")
    return text == "true"


def _integer(text: str, position: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or not -INT64 <= int(text) < INT64:
        raise _wrong(position, "must be an integer")
    return int(text)


def _time(text: str, position: int) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(position, "must be a time like 2026-01-31T00:00:00Z") from None
    if moment.tzinfo is None:
        raise _wrong(position, "needs a time zone: 2026-01-31T00:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise _wrong(position, "is out of range") from None


def _wrong(position: int, description: str) -> InvalidField:
    return InvalidField(Violation("filter", f"at character {position}: {description}"))
