"""Partial updates: a request's fields laid over a stored message, as its update_mask says."""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from llm_service.errors import InvalidField, Violation

MAX_PATHS = 128

M = TypeVar("M", bound=Message)

_READ_ONLY = {field_behavior_pb2.OUTPUT_ONLY, field_behavior_pb2.IDENTIFIER}


def paths(mask: FieldMask, message: Message) -> tuple[str, ...]:
    """The fields an update sets or clears, each once, parents before children.

    An empty mask means every populated field, "*" every field; read-only ones are left out.

    Raises:
        InvalidField: on "update_mask", for each path that the message does not have.
    """
    if not mask.paths:
        return tuple(_populated(message))
    if len(mask.paths) > MAX_PATHS:
        raise InvalidField(Violation("update_mask", f"has more than {MAX_PATHS} paths"))
    if list(mask.paths) == ["*"]:
        return tuple(field.name for field in _descriptor(message).fields if not _read_only(field))
    unknown = [path for path in mask.paths if _fields(_descriptor(message), path) is None]
    if unknown:
        name = message.DESCRIPTOR.name
        raise InvalidField(
            *(Violation("update_mask", f'{name} has no path "{path[:64]}"') for path in unknown)
        )
    return tuple(dict.fromkeys(_writable(_descriptor(message), mask.paths)))


def merged(stored: M, request: M, chosen: tuple[str, ...]) -> M:
    """A copy of `stored` with the `chosen` paths as in `request`.

    Lists and maps are replaced whole, and what `request` leaves unset is cleared.
    """
    result = type(stored)()
    result.CopyFrom(stored)
    for path in chosen:
        _replace(result, request, path.split("."))
    return result


def _descriptor(message: Message) -> Descriptor:
    return cast(Descriptor, message.DESCRIPTOR)


def _populated(message: Message, prefix: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        if _read_only(field):
            continue
        if _is_open(field):
            yield from _populated(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def _writable(descriptor: Descriptor, asked: Any) -> Iterator[str]:
    for path in sorted(asked):
        fields = _fields(descriptor, path) or []
        if not any(_read_only(field) for field in fields):
            yield path


def _fields(descriptor: Descriptor, path: str) -> list[FieldDescriptor] | None:
    """The fields along a path; None if it leads nowhere, or into a list, a map or a timestamp."""
    fields: list[FieldDescriptor] = []
    within: Descriptor | None = descriptor
    for name in path.split("."):
        field = within.fields_by_name.get(name) if within else None
        if field is None:
            return None
        fields.append(field)
        within = field.message_type if _is_open(field) else None
    return fields


def _is_open(field: FieldDescriptor) -> bool:
    """A single message of this service's own, whose fields have paths of their own."""
    message_type = field.message_type
    return (
        message_type is not None
        and not field.is_repeated
        and not message_type.full_name.startswith("google.")
    )


def _read_only(field: FieldDescriptor) -> bool:
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field.name == "etag" or not _READ_ONLY.isdisjoint(behaviors)


def _replace(target: Message, source: Message, path: list[str]) -> None:
    name = path[0]
    field = target.DESCRIPTOR.fields_by_name[name]
    if len(path) > 1:
        if source.HasField(name) or target.HasField(name):
            _replace(getattr(target, name), getattr(source, name), path[1:])
        return
    target.ClearField(name)
    if field.is_repeated:
        getattr(target, name).MergeFrom(getattr(source, name))
    elif field.message_type is not None:
        if source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))
    elif not field.has_presence or source.HasField(name):
        setattr(target, name, getattr(source, name))
