"""Writes `docs/api.md`, the API reference, from the comments in the descriptor set.

Run it after `tools/gen_proto.py`. `--check` writes nothing and fails if the file is out of date.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2 as pb

from llm_service.rpc.codes import REASON_STATUS, STATUS, WITHOUT_ERROR

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTORS = ROOT / "llm_service" / "rpc" / "stubs" / "llmservice.binpb"
PAGE = ROOT / "docs" / "api.md"
PACKAGE = "llmservice.v1"

INTRODUCTION = """# API reference

Generated from the comments in `proto/llmservice/v1` by `tools/gen_api_docs.py`. Do not edit.

The same text comes from a running service: `grpcurl describe`, by server reflection.
"""

Node = pb.DescriptorProto | pb.EnumDescriptorProto | pb.ServiceDescriptorProto
D = TypeVar("D", pb.DescriptorProto, pb.EnumDescriptorProto, pb.ServiceDescriptorProto)
D_co = TypeVar("D_co", bound=Node, covariant=True)

_MESSAGE, _ENUM, _SERVICE = 4, 5, 6  # field numbers in FileDescriptorProto
_FIELD, _NESTED, _NESTED_ENUM = 2, 3, 4  # in DescriptorProto
_SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in pb.FieldDescriptorProto.Type.items()
}


@dataclass(frozen=True)
class Documented(Generic[D_co]):
    """A descriptor with its full name, its comment, and those of its fields, values or methods."""

    name: str
    descriptor: D_co
    comment: str
    parts: tuple[str, ...]


def main(arguments: list[str]) -> int:
    page = render(load())
    if "--check" in arguments:
        current = PAGE.read_text() if PAGE.exists() else ""
        if current != page:
            print("docs/api.md is out of date: run tools/gen_api_docs.py", file=sys.stderr)
        return int(current != page)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
    print(f"{page.count(chr(10))} lines -> {PAGE.relative_to(ROOT)}")
    return 0


def load() -> list[Documented[Node]]:
    """Everything the package declares, in the order of its files."""
    descriptors = pb.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    ours = [file for file in descriptors.file if file.package == PACKAGE]
    return [found for file in ours for found in _declared(file)]


def render(found: list[Documented[Node]]) -> str:
    services = _only(pb.ServiceDescriptorProto, found)
    messages = _only(pb.DescriptorProto, found)
    enums = _only(pb.EnumDescriptorProto, found)
    maps = {f".{PACKAGE}.{d.name}": d.descriptor for d in messages if _is_map(d)}
    lines = [INTRODUCTION, *_contents(services)]
    for service in services:
        lines += _service(service)
    lines += _errors(next(enum for enum in enums if enum.name == "ErrorReason"))
    lines += ["## Messages", ""]
    for message in sorted((m for m in messages if not _is_map(m)), key=lambda m: m.name):
        lines += _message(message, maps)
    lines += ["## Enums", ""]
    for enum in sorted(enums, key=lambda e: e.name):
        if enum.name != "ErrorReason":
            lines += _enum(enum)
    return "\n".join(lines).rstrip() + "\n"


# --- reading


def _declared(file: pb.FileDescriptorProto) -> Iterator[Documented[Node]]:
    comments = {
        tuple(location.path): _clean(location.leading_comments)
        for location in file.source_code_info.location
    }
    for index, service in enumerate(file.service):
        path = (_SERVICE, index)
        parts = tuple(comments.get((*path, 2, n), "") for n in range(len(service.method)))
        yield Documented(service.name, service, comments.get(path, ""), parts)
    for index, message in enumerate(file.message_type):
        yield from _in_message(message, "", (_MESSAGE, index), comments)
    for index, enum in enumerate(file.enum_type):
        yield _in_enum(enum, "", (_ENUM, index), comments)


def _in_message(
    message: pb.DescriptorProto,
    scope: str,
    path: tuple[int, ...],
    comments: dict[tuple[int, ...], str],
) -> Iterator[Documented[Node]]:
    name = scope + message.name
    parts = tuple(comments.get((*path, _FIELD, n), "") for n in range(len(message.field)))
    yield Documented(name, message, comments.get(path, ""), parts)
    for index, nested in enumerate(message.nested_type):
        yield from _in_message(nested, f"{name}.", (*path, _NESTED, index), comments)
    for index, enum in enumerate(message.enum_type):
        yield _in_enum(enum, f"{name}.", (*path, _NESTED_ENUM, index), comments)


def _in_enum(
    enum: pb.EnumDescriptorProto,
    scope: str,
    path: tuple[int, ...],
    comments: dict[tuple[int, ...], str],
) -> Documented[Node]:
    parts = tuple(comments.get((*path, 2, n), "") for n in range(len(enum.value)))
    return Documented(scope + enum.name, enum, comments.get(path, ""), parts)


def _clean(comment: str) -> str:
    lines = [line for line in comment.splitlines() if "buf:lint" not in line]
    return " ".join(" ".join(lines).split())


def _only(kind: type[D], found: Iterable[Documented[Node]]) -> list[Documented[D]]:
    return [cast(Documented[D], one) for one in found if isinstance(one.descriptor, kind)]


def _is_map(message: Documented[pb.DescriptorProto]) -> bool:
    return message.descriptor.options.map_entry


# --- writing


def _contents(services: Iterable[Documented[pb.ServiceDescriptorProto]]) -> Iterator[str]:
    for service in services:
        yield f"- {_link(service.name)}"
    yield from ("- [Errors](#errors)", "- [Messages](#messages)", "- [Enums](#enums)", "")


def _service(service: Documented[pb.ServiceDescriptorProto]) -> Iterator[str]:
    yield from (f"## {service.name}", "", service.comment, "")
    for method, comment in zip(service.descriptor.method, service.parts, strict=True):
        stream = "stream of " if method.server_streaming else ""
        yield from (f"### {service.name}/{method.name}", "", comment, "")
        yield f"{_link(_short(method.input_type))} → {stream}{_link(_short(method.output_type))}"
        yield ""


def _errors(reasons: Documented[pb.EnumDescriptorProto]) -> Iterator[str]:
    yield from ("## Errors", "", reasons.comment, "")
    yield from ("| Reason | Status | RetryInfo | When |", "| --- | --- | --- | --- |")
    retry = {kind.reason: "yes" if kind.retriable else "no" for kind in STATUS}
    retry |= {reason: "no" if reason == "INTERNAL" else "-" for reason in WITHOUT_ERROR}
    for value, comment in zip(reasons.descriptor.value[1:], reasons.parts[1:], strict=True):
        reason = value.name.removeprefix("ERROR_REASON_")
        status = REASON_STATUS[reason].name
        yield f"| `{reason}` | {status} | {retry[reason]} | {_cell(comment)} |"
    yield ""


def _message(
    message: Documented[pb.DescriptorProto], maps: dict[str, pb.DescriptorProto]
) -> Iterator[str]:
    yield from (f"### {message.name}", "", message.comment, "")
    if not message.descriptor.field:
        return
    yield from ("| Field | Type | |", "| --- | --- | --- |")
    for field, comment in zip(message.descriptor.field, message.parts, strict=True):
        kind = _type(field, maps)
        notes = " ".join([*_notes(message.descriptor, field), comment]).strip()
        yield f"| {field.number} `{field.name}` | {kind} | {_cell(notes)} |"
    yield ""


def _enum(enum: Documented[pb.EnumDescriptorProto]) -> Iterator[str]:
    yield from (f"### {enum.name}", "", enum.comment, "", "| Value | |", "| --- | --- |")
    for value, comment in zip(enum.descriptor.value, enum.parts, strict=True):
        yield f"| {value.number} `{value.name}` | {_cell(comment)} |"
    yield ""


def _type(field: pb.FieldDescriptorProto, maps: dict[str, pb.DescriptorProto]) -> str:
    entry = maps.get(field.type_name)
    if entry is not None:
        key, value = (_type(inner, maps) for inner in entry.field)
        return f"map of {key} to {value}"
    name = _link(_short(field.type_name)) if field.type_name else _SCALARS[field.type]
    if field.label == pb.FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _notes(message: pb.DescriptorProto, field: pb.FieldDescriptorProto) -> Iterator[str]:
    if field.HasField("oneof_index") and not field.proto3_optional:
        yield f"One of `{message.oneof_decl[field.oneof_index].name}`."
    for behavior in field.options.Extensions[field_behavior_pb2.field_behavior]:
        name = field_behavior_pb2.FieldBehavior.Name(behavior)
        yield f"{name.replace('_', ' ').capitalize()}."


def _short(type_name: str) -> str:
    return type_name.removeprefix(f".{PACKAGE}.").removeprefix(".")


def _link(name: str) -> str:
    if name.startswith("google."):
        return f"`{name}`"
    return f"[{name}](#{re.sub('[^a-z0-9]', '', name.lower())})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
