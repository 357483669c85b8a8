"""Both versions of reflection, asked as grpcurl asks them."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2

from tests.rpc.scripted import running

VERSIONS = ["v1", "v1alpha"]
COMPLETION = "llmservice.v1.CompletionService"


async def ask(channel, version: str, **question):
    """One question of a reflection stream, in raw messages."""
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = method(iter([reflection_pb2.ServerReflectionRequest(**question)]))
    [reply] = [reply async for reply in call]
    return reply


def files_of(reply) -> list[descriptor_pb2.FileDescriptorProto]:
    return [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in reply.file_descriptor_response.file_descriptor_proto
    ]


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_lists_what_the_server_serves(version):
    async with running() as server:
        reply = await ask(server.channel, version, list_services="")

    assert [service.name for service in reply.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        COMPLETION,
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "symbol",
    [
        COMPLETION,
        f"{COMPLETION}.Complete",
        "llmservice.v1.Credential.SourceType",
        "llmservice.v1.StreamCompleteResponse.part_delta",
        "llmservice.v1.ERROR_REASON_INTERNAL",
        "google.rpc.ErrorInfo",
        "google.rpc.Status",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflectionRequest",
        "google.api.field_behavior",
    ],
)
async def test_every_symbol_comes_with_all_its_imports_and_json_names(version, symbol):
    async with running() as server:
        reply = await ask(server.channel, version, file_containing_symbol=symbol)

    files = files_of(reply)
    names = {file.name for file in files}
    assert {needed for file in files for needed in file.dependency} <= names
    fields = [field for message in files[0].message_type for field in message.field]
    assert all(field.json_name for field in fields)


async def test_descriptions_have_the_protos_comments():
    async with running() as server:
        reply = await ask(server.channel, "v1", file_containing_symbol=f"{COMPLETION}.Complete")

    comments = [
        location.leading_comments for location in files_of(reply)[0].source_code_info.location
    ]
    assert any(comment.strip() for comment in comments)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_with_nothing_but_reflection_can_call_with_json(version):
    async with running() as server:
        reply = await ask(server.channel, version, file_containing_symbol=COMPLETION)
        pool = descriptor_pool.DescriptorPool()
        known = {file.name: file for file in files_of(reply)}
        _load(pool, known, files_of(reply)[0].name, set())
        method = pool.FindServiceByName(COMPLETION).FindMethodByName("Complete")
        request = message_factory.GetMessageClass(method.input_type)()
        json_format.Parse('{"model": "fast", "streamOptions": {}}', request, descriptor_pool=pool)
        answer = await server.channel.unary_unary(
            f"/{COMPLETION}/Complete",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )(request)

    assert json.loads(json_format.MessageToJson(answer)) == {"completion": {"id": "c-1"}}


def _load(pool, files, name, loaded) -> None:
    if name in loaded:
        return
    loaded.add(name)
    for needed in files[name].dependency:
        _load(pool, files, needed, loaded)
    pool.AddSerializedFile(files[name].SerializeToString())


@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "nowhere.proto"},
        {"file_containing_symbol": "llmservice.v1.Nothing"},
        {"all_extension_numbers_of_type": "llmservice.v1.Nothing"},
        {"file_containing_extension": {"containing_type": "a.B", "extension_number": 1}},
        {},
    ],
    ids=["file", "symbol", "extensions", "extension", "nothing"],
)
async def test_what_does_not_exist_is_not_found_and_the_stream_goes_on(question):
    async with running() as server:
        reply = await ask(server.channel, "v1", **question)

    assert reply.error_response.error_code == 5


async def test_files_and_extensions_are_found_by_their_names():
    async with running() as server:
        by_name = await ask(server.channel, "v1", file_by_filename="llmservice/v1/completion.proto")
        numbers = await ask(
            server.channel, "v1", all_extension_numbers_of_type="google.protobuf.FieldOptions"
        )
        extension = await ask(
            server.channel,
            "v1",
            file_containing_extension={
                "containing_type": "google.protobuf.FieldOptions",
                "extension_number": 1052,
            },
        )

    assert files_of(by_name)[0].name == "llmservice/v1/completion.proto"
    assert 1052 in numbers.all_extension_numbers_response.extension_number
    assert files_of(extension)[0].name == "google/api/field_behavior.proto"


async def test_buf_curl_calls_the_server_by_reflection():
    buf = Path(sys.executable).parent / "buf"
    if not buf.exists():
        pytest.skip("buf is not installed in this environment")
    async with running() as server:
        process = await asyncio.create_subprocess_exec(
            str(buf),
            *("curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "{}"),
            f"http://127.0.0.1:{server.port}/{COMPLETION}/StreamComplete",
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()

    assert json.loads(f"[{out.decode().replace('}', '},').rstrip()[:-1]}]") == [
        {},
        {"sequence": 1},
        {"sequence": 2},
    ]
