"""Answers in a format: by the API itself, or by a tool whose arguments are the answer."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from llm_service.domain.content import JsonSchemaFormat
from llm_service.providers.lenient import items, mapping, text

Schema = dict[str, Any]

# What the API's own format takes of JSON Schema; anything else it refuses.
_TAKEN = frozenset(
    {
        "$defs",
        "$ref",
        "$schema",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "default",
        "definitions",
        "description",
        "enum",
        "format",
        "items",
        "minItems",
        "properties",
        "required",
        "title",
        "type",
    }
)
_FORMATS = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }
)
_LOCAL = re.compile(r"#/(\$defs|definitions)/[^/]+")


def native(wanted: JsonSchemaFormat) -> msgspec.Raw | Schema | None:
    """The schema as the API's own format takes it; None: it does not.

    The text itself wherever it can be. The API wants every object closed: one that leaves that open
    is closed, as every answer to the closed one also fits the open one.
    """
    schema = msgspec.json.decode(wanted.schema_json, type=dict[str, Any])
    if schema.get("type") != "object" or not _fits(schema) or _refers_to_itself(schema):
        return None
    closed = _closed(schema)
    return msgspec.Raw(wanted.schema_json.encode()) if closed == schema else closed


def _fits(schema: Any) -> bool:  # noqa: ANN401 - any JSON
    return _is_taken(schema) and all(_fits(inner) for inner in _inner(schema))


def _is_taken(schema: Any) -> bool:  # noqa: ANN401
    if type(schema) is not dict or not _TAKEN.issuperset(schema):
        return False
    if _is_object(schema) and not _can_be_closed(schema):
        return False
    if schema.get("minItems", 0) not in (0, 1):
        return False
    if "format" in schema and text(schema["format"]) not in _FORMATS:
        return False
    if any(type(value) in (dict, list) for value in items(schema.get("enum"))):
        return False
    return "$ref" not in schema or bool(_LOCAL.fullmatch(text(schema["$ref"])))


def _is_object(schema: Schema) -> bool:
    kind = schema.get("type")
    return kind == "object" or (type(kind) is list and "object" in kind) or "properties" in schema


def _can_be_closed(schema: Schema) -> bool:
    """An object without properties would be left with none."""
    if "additionalProperties" in schema:
        return schema["additionalProperties"] is False
    return bool(schema.get("properties"))


def _inner(schema: Schema) -> Iterable[Any]:
    for name in ("properties", "$defs", "definitions"):
        inner = schema.get(name)
        if type(inner) is dict:
            yield from inner.values()
    for name in ("anyOf", "allOf"):
        inner = schema.get(name)
        if type(inner) is list:
            yield from inner
    if "items" in schema:
        yield schema["items"]


def _closed(schema: Schema) -> Schema:
    shaped: Schema = {}
    for name, inner in schema.items():
        if name in ("properties", "$defs", "definitions") and type(inner) is dict:
            shaped[name] = {key: _closed(value) for key, value in inner.items()}
        elif name in ("anyOf", "allOf") and type(inner) is list:
            shaped[name] = [_closed(value) for value in inner]
        else:
            shaped[name] = _closed(inner) if name == "items" else inner
    if _is_object(shaped):
        shaped.setdefault("additionalProperties", False)
    return shaped


def _refers_to_itself(schema: Schema) -> bool:
    """A definition that leads back to itself."""
    named = mapping(schema.get("definitions")) | mapping(schema.get("$defs"))
    refers = {name: set(_references(inner)) for name, inner in named.items()}
    for name, found in refers.items():
        seen: set[str] = set()
        ahead = list(found)
        while ahead:
            at = ahead.pop()
            if at == name:
                return True
            if at not in seen:
                seen.add(at)
                ahead += refers.get(at, ())
    return False


def _references(schema: Any) -> Iterable[str]:  # noqa: ANN401
    if type(schema) is not dict:
        return
    if type(schema.get("$ref")) is str:
        yield schema["$ref"].rpartition("/")[2]
    for inner in _inner(schema):
        yield from _references(inner)
