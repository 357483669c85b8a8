"""Server reflection, v1 and v1alpha, from a descriptor set that has comments and JSON names.

The stock servicer speaks v1alpha only and serves Python's embedded descriptors, which have neither.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cached_property
from importlib import resources
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""Both have the same messages, so one handler serves both."""

_METHOD = "ServerReflectionInfo"


class Reflection:
    """Answers what the server serves, and what its messages look like."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted(services)
        self._draining = asyncio.Event()

    @cached_property
    def _index(self) -> "_Index":
        # Several megabytes that a server nobody asks need not carry.
        return _Index(_descriptors())

    def register(self, server: Any) -> None:
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self._answer_all,
            request_deserializer=pb.ServerReflectionRequest.FromString,
            response_serializer=pb.ServerReflectionResponse.SerializeToString,
        )
        for service in SERVICES:
            generic = grpc.method_handlers_generic_handler(service, {_METHOD: handler})
            server.add_generic_rpc_handlers((generic,))
            server.add_registered_method_handlers(service, {_METHOD: handler})

    async def _answer_all(
        self, requests: AsyncIterator[pb.ServerReflectionRequest], context: Any
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        while (request := await self._next(requests)) is not None:
            yield self.answer(request)

    def drain(self) -> None:
        """End every stream: one that a client keeps open would hold up the end of the server."""
        self._draining.set()

    async def _next(
        self, requests: AsyncIterator[pb.ServerReflectionRequest]
    ) -> pb.ServerReflectionRequest | None:
        """The next question; None once the client, or the server, has had enough."""
        asked = asyncio.ensure_future(anext(requests, None))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((asked, draining), return_when=asyncio.FIRST_COMPLETED)
            return asked.result() if asked.done() else None
        finally:
            asked.cancel()
            draining.cancel()

    def answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        """The answer to one question of a reflection stream."""
        reply = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            reply.list_services_response.service.extend(
                pb.ServiceResponse(name=name) for name in self._services
            )
        elif kind == "all_extension_numbers_of_type":
            self._answer_numbers(request.all_extension_numbers_of_type, reply)
        else:
            self._answer_file(self._file_for(request, kind), reply)
        return reply

    def _file_for(self, request: pb.ServerReflectionRequest, kind: str | None) -> str | None:
        index = self._index
        if kind == "file_by_filename":
            name = request.file_by_filename
            return name if name in index.files else None
        if kind == "file_containing_symbol":
            return index.symbols.get(request.file_containing_symbol)
        if kind == "file_containing_extension":
            asked = request.file_containing_extension
            return index.extensions.get(asked.containing_type, {}).get(asked.extension_number)
        return None

    def _answer_file(self, name: str | None, reply: pb.ServerReflectionResponse) -> None:
        if name is None:
            _not_found(reply)
            return
        index = self._index
        needed = [name]
        for file in needed:  # grows as it goes
            needed.extend(i for i in index.imports[file] if i not in needed)
        reply.file_descriptor_response.file_descriptor_proto.extend(index.files[f] for f in needed)

    def _answer_numbers(self, type_name: str, reply: pb.ServerReflectionResponse) -> None:
        if type_name not in self._index.symbols:
            _not_found(reply)
            return
        numbers = sorted(self._index.extensions.get(type_name, {}))
        reply.all_extension_numbers_response.base_type_name = type_name
        reply.all_extension_numbers_response.extension_number.extend(numbers)


class _Index:
    """Files by name, their imports, and the files of symbols and extensions."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self.files: dict[str, bytes] = {}
        self.imports: dict[str, list[str]] = {}
        self.symbols: dict[str, str] = {}
        self.extensions: dict[str, dict[int, str]] = {}
        for file in files:
            self._add(file)

    def _add(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self.files[file.name] = file.SerializeToString()
        self.imports[file.name] = list(file.dependency)
        self.symbols.update(dict.fromkeys(_symbols(file), file.name))
        for extension in file.extension:
            numbers = self.extensions.setdefault(extension.extendee.lstrip("."), {})
            numbers[extension.number] = file.name


def _not_found(reply: pb.ServerReflectionResponse) -> None:
    code, message = grpc.StatusCode.NOT_FOUND.value
    reply.error_response.error_code = int(code)
    reply.error_response.error_message = message


def _descriptors() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """The contract, then the standard protos it is used with, each once."""
    stored = (resources.files("llm_service.rpc.stubs") / "llmservice.binpb").read_bytes()
    files = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(stored).file}
    for module in (health_pb2, status_pb2, error_details_pb2, pb):
        for descriptor in (*module.DESCRIPTOR.dependencies, module.DESCRIPTOR):
            if descriptor.name not in files:
                files[descriptor.name] = _with_json_names(descriptor.serialized_pb)
    alpha = files[pb.DESCRIPTOR.name]
    files["v1"] = _as_v1(alpha)
    return iter(files.values())


def _with_json_names(serialized: bytes) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    for message in _messages(file.message_type):
        for field in message.field:
            first, *rest = field.name.split("_")
            field.json_name = first + "".join(word.capitalize() for word in rest)
    return file


def _as_v1(alpha: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    file.CopyFrom(alpha)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = "grpc.reflection.v1"
    for message in _messages(file.message_type):
        for field in message.field:
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return file


def _messages(
    messages: Iterable[descriptor_pb2.DescriptorProto],
) -> Iterator[descriptor_pb2.DescriptorProto]:
    for message in messages:
        yield message
        yield from _messages(message.nested_type)


def _symbols(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    scope = f"{file.package}." if file.package else ""
    yield from _enum_symbols(scope, file.enum_type)
    yield from (scope + extension.name for extension in file.extension)
    for service in file.service:
        yield scope + service.name
        yield from (f"{scope}{service.name}.{method.name}" for method in service.method)
    yield from _message_symbols(scope, file.message_type)


def _message_symbols(
    scope: str, messages: Iterable[descriptor_pb2.DescriptorProto]
) -> Iterator[str]:
    for message in messages:
        name = scope + message.name
        yield name
        yield from (f"{name}.{field.name}" for field in message.field)
        yield from _enum_symbols(f"{name}.", message.enum_type)
        yield from _message_symbols(f"{name}.", message.nested_type)


def _enum_symbols(scope: str, enums: Iterable[descriptor_pb2.EnumDescriptorProto]) -> Iterator[str]:
    for enum in enums:
        yield scope + enum.name
        yield from (scope + value.name for value in enum.value)  # beside their type, as in C++
