"""AIP-160 filters on the wire: text in, a tree out.

A filter is comparisons joined by AND, OR and NOT with parentheses. As in AIP-160, OR binds tighter
than AND, terms side by side are joined by AND, "-" before a term is NOT, and a bare word is looked
for in the resource's texts, where a list is searchable.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

from llm_service.domain.listing import (
    And,
    Comparison,
    Filter,
    Not,
    Operator,
    Or,
    Search,
    Value,
)
from llm_service.errors import InvalidField, Violation

MAX_FILTER_LENGTH = 2000  # characters
MAX_FILTER_DEPTH = 16  # parentheses and negations inside each other
MAX_FILTER_COMPARISONS = 64
INT64 = 1 << 63


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


def parse_filter(text: str, fields: Fields, *, searchable: bool = False) -> Filter | None:
    """The tree of an AIP-160 filter over `fields`; None for "".

    Raises:
        InvalidField: on "filter", saying at which character (from 1) and why.
    """
    if len(text) > MAX_FILTER_LENGTH:
        raise InvalidField(Violation("filter", f"is longer than {MAX_FILTER_LENGTH} characters"))
    tokens = _tokens(text)
    if not tokens:
        return None
    parser = _Parser(tokens, len(text), fields, searchable)
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

    def __init__(
        self,
        tokens: list[_Token],
        length: int,
        fields: Fields,
        searchable: bool,  # noqa: FBT001
    ) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = length + 1
        self._fields = fields
        self._searchable = searchable
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

    def _comparison(self, field: _Token) -> Comparison | Search:
        if self._searchable and self._is_bare(field):
            self._count()
            return Search(_unquoted(field))
        if field.kind != "word" or field.text in ("AND", "OR"):
            raise _wrong(field.position, "needs the name of a field")
        self._count()
        kind = self._kind(field)
        operator = self._take("an operator")
        if operator.kind != "operator":
            raise _wrong(operator.position, "needs an operator before it")
        chosen = Operator(operator.text)
        if chosen not in _OPERATORS[kind]:
            allowed = ", ".join(sorted(_OPERATORS[kind]))
            raise _wrong(operator.position, f"{field.text} takes only {allowed}")
        return Comparison(field.text, chosen, _value(kind, self._take("a value")))

    def _is_bare(self, token: _Token) -> bool:
        """Whether it stands alone, with no operator behind it."""
        if token.kind == "word" and (token.text in ("AND", "OR") or not token.text):
            return False
        behind = self._peek()
        return token.kind in ("word", "quoted") and (behind is None or behind.kind != "operator")

    def _count(self) -> None:
        self._comparisons += 1
        if self._comparisons > MAX_FILTER_COMPARISONS:
            raise InvalidField(
                Violation("filter", f"has more than {MAX_FILTER_COMPARISONS} comparisons")
            )

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
    text = _unquoted(token)
    if kind is FieldType.BOOLEAN:
        return _boolean(text, token.position)
    if kind is FieldType.INTEGER:
        return _integer(text, token.position)
    if kind is FieldType.TIME:
        return _time(text, token.position)
    return text


def _unquoted(token: _Token) -> str:
    if token.kind == "quoted":
        return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
    return token.text


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
