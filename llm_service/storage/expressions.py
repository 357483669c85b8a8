"""SQL that PostgreSQL and SQLite spell differently."""

from datetime import date
from typing import Any

from sqlalchemy import BigInteger, Boolean, Date, Integer, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_MOST = 2**63 - 1
_LEAST = -(2**63)
_LOW = 2**32 - 1


class JsonMember(FunctionElement[str]):
    """The text of a member of a JSON object, ordered by code point; NULL if it has none."""

    name = "json_member"
    type = String()
    inherit_cache = True


class JsonFlag(FunctionElement[bool]):
    """A true or false member of a JSON object; NULL if it has none."""

    name = "json_flag"
    type = Boolean()
    inherit_cache = True


class JsonHas(FunctionElement[bool]):
    """Whether a JSON list of texts holds one."""

    name = "json_has"
    type = Boolean()
    inherit_cache = True


class JsonFinds(FunctionElement[bool]):
    """Whether a text of a JSON list of texts has a lower-case part, in any case (A to Z)."""

    name = "json_finds"
    type = Boolean()
    inherit_cache = True


class Position(FunctionElement[int]):
    """Where a lower-case text starts in another of any case (A to Z), from 1; 0: nowhere."""

    name = "position_of"
    type = Integer()
    inherit_cache = True


class UtcDay(FunctionElement[date]):
    """The day of an instant, in UTC."""

    name = "utc_day"
    type = Date()
    inherit_cache = True


class Total(FunctionElement[int]):
    """The sum of a group's whole numbers; on SQLite, whose own fails beyond it, within 64 bits."""

    name = "total_of"
    type = BigInteger()
    inherit_cache = True


class Difference(FunctionElement[int]):
    """One number of 64 bits less another; where that is none, the nearest that is."""

    name = "difference_of"
    type = BigInteger()
    inherit_cache = True


class Clamped(FunctionElement[int]):
    """The nearest number of 64 bits to a total."""

    name = "clamped"
    type = BigInteger()
    inherit_cache = True


def _arguments(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> tuple[str, str]:  # noqa: ANN401 - the compiler's own
    first, second = element.clauses
    return compiler.process(first, **kw), compiler.process(second, **kw)


@compiles(JsonMember, "sqlite")
@compiles(JsonFlag, "sqlite")
def _sqlite_member(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    document, key = _arguments(element, compiler, **kw)
    # Not json_extract: its paths cannot name a key that holds a quotation mark.
    return f"(SELECT value FROM json_each({_sound(document)}) WHERE key = {key})"  # noqa: S608 - bound


def _sound(document: str) -> str:
    """Nothing in place of what is not JSON: one broken row must not fail every search."""
    return f"CASE WHEN json_valid({document}) THEN {document} END"


@compiles(JsonMember, "postgresql")
def _postgresql_member(element: JsonMember, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    document, key = _arguments(element, compiler, **kw)
    return f'(({document} ->> {key}) COLLATE "C")'


@compiles(JsonFlag, "postgresql")
def _postgresql_flag(element: JsonFlag, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    document, key = _arguments(element, compiler, **kw)
    return f"CASE {document} ->> {key} WHEN 'true' THEN true WHEN 'false' THEN false END"


@compiles(JsonHas, "sqlite")
def _sqlite_has(element: JsonHas, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    document, item = _arguments(element, compiler, **kw)
    return f"EXISTS (SELECT 1 FROM json_each({_sound(document)}) WHERE value = {item})"  # noqa: S608 - bound


@compiles(JsonHas, "postgresql")
def _postgresql_has(element: JsonHas, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    document, item = _arguments(element, compiler, **kw)
    a_list = f"CASE jsonb_typeof({document}) WHEN 'array' THEN {document} END"
    elements = f"jsonb_array_elements_text({a_list})"
    return f"EXISTS (SELECT 1 FROM {elements} AS items (item) WHERE item = {item})"  # noqa: S608 - bound


@compiles(Position, "sqlite")
def _sqlite_position(element: Position, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    text, part = _arguments(element, compiler, **kw)
    return f"instr(lower({text}), {part})"


@compiles(Position, "postgresql")
def _postgresql_position(element: Position, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    text, part = _arguments(element, compiler, **kw)
    return f"strpos(lower({text}), {part})"


@compiles(JsonFinds, "sqlite")
def _sqlite_finds(element: JsonFinds, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    document, part = _arguments(element, compiler, **kw)
    found = f"instr(lower(value), {part}) > 0"
    return f"EXISTS (SELECT 1 FROM json_each({document}) WHERE {found})"  # noqa: S608 - bound


@compiles(JsonFinds, "postgresql")
def _postgresql_finds(element: JsonFinds, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    document, part = _arguments(element, compiler, **kw)
    elements = f"jsonb_array_elements_text({document})"
    found = f'strpos(lower(item COLLATE "C"), {part}) > 0'
    return f"EXISTS (SELECT 1 FROM {elements} AS items (item) WHERE {found})"  # noqa: S608 - bound


@compiles(UtcDay, "sqlite")
def _sqlite_day(element: UtcDay, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    (instant,) = element.clauses
    return f"substr({compiler.process(instant, **kw)}, 1, 10)"


@compiles(UtcDay, "postgresql")
def _postgresql_day(element: UtcDay, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    (instant,) = element.clauses
    return f"(({compiler.process(instant, **kw)}) AT TIME ZONE 'UTC')::date"


@compiles(Total, "sqlite")
def _sqlite_total(element: Total, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    (clause,) = element.clauses
    number = compiler.process(clause, **kw)
    upper, lower = f"sum(({number}) >> 32)", f"sum(({number}) & {_LOW})"
    # A cast of what is beyond 64 bits, and so no whole number any more, ends at the nearest.
    return f"CAST(({upper} + ({lower} >> 32)) * {_LOW + 1} + ({lower} & {_LOW}) AS INTEGER)"


@compiles(Total, "postgresql")
def _postgresql_total(element: Total, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    (clause,) = element.clauses
    return f"sum({compiler.process(clause, **kw)})"


@compiles(Difference, "sqlite")
def _sqlite_difference(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    first, second = _arguments(element, compiler, **kw)
    return f"CAST({first} - {second} AS INTEGER)"


@compiles(Difference, "postgresql")
def _postgresql_difference(element: Difference, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    first, second = _arguments(element, compiler, **kw)
    # Of two signs only can it be too large; all others are not to pay for that.
    exact = _within_64_bits(f"{first}::numeric - {second}")
    unlike = f"({first} < 0) <> ({second} < 0)"
    return f"CASE WHEN {unlike} THEN {exact}::bigint ELSE {first} - {second} END"


@compiles(Clamped, "sqlite")
def _sqlite_clamped(element: Clamped, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    (number,) = element.clauses
    return compiler.process(number, **kw)


@compiles(Clamped, "postgresql")
def _postgresql_clamped(element: Clamped, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    (number,) = element.clauses
    return _within_64_bits(compiler.process(number, **kw))


def _within_64_bits(number: str) -> str:
    return f"greatest(least({number}, {_MOST}), {_LEAST})"
