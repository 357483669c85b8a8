"""A client that knows nothing but reflection, as grpcurl does, and buf curl against the service."""

import asyncio
import base64
import json
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

BUF = Path(sys.executable).parent / "buf"
COMPLETION = "llmservice.v1.CompletionService"
SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    COMPLETION,
    "llmservice.v1.ConfigService",
    "llmservice.v1.AlertService",
    "llmservice.v1.AuditService",
    "llmservice.v1.BudgetService",
    "llmservice.v1.AccessService",
    "llmservice.v1.EmbeddingService",
    "llmservice.v1.ModelService",
    "llmservice.v1.ProviderAdminService",
    "llmservice.v1.UsageService",
    "llmservice.v1.WebhookService",
}
HELLO = {
    "model": "echo-1",
    "messages": [{"role": "ROLE_USER", "parts": [{"text": "hello by reflection"}]}],
}
NOBODY = {**HELLO, "model": "nobodys-model"}
SILENT = {"model": "echo-1"}


class Reflected:
    """Descriptors, messages and calls out of what one version of reflection answers."""

    def __init__(self, channel: grpc.aio.Channel, version: str) -> None:
        # The one thing such a client brings along: the reflection service's own messages.
        from grpc_reflection.v1alpha import reflection_pb2

        self._pb = reflection_pb2
        self._channel = channel
        self._service = f"grpc.reflection.{version}.ServerReflection"
        self.pool = descriptor_pool.DescriptorPool()
        self.files: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    async def ask(self, **question):
        method = self._channel.stream_stream(
            f"/{self._service}/ServerReflectionInfo",
            request_serializer=self._pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=self._pb.ServerReflectionResponse.FromString,
        )
        [reply] = [r async for r in method(iter([self._pb.ServerReflectionRequest(**question)]))]
        assert not reply.HasField("error_response"), reply.error_response
        return reply

    async def services(self) -> set[str]:
        listed = await self.ask(list_services="")
        return {service.name for service in listed.list_services_response.service}

    async def learn(self, symbol: str) -> None:
        reply = await self.ask(file_containing_symbol=symbol)
        for raw in reply.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            self.files.setdefault(file.name, file)
        for name in list(self.files):
            self._add(name)

    def _add(self, name: str) -> None:
        try:
            self.pool.FindFileByName(name)
        except KeyError:
            for needed in self.files[name].dependency:
                self._add(needed)
            self.pool.AddSerializedFile(self.files[name].SerializeToString())

    async def method(self, name: str):
        await self.learn(COMPLETION)
        return self.pool.FindServiceByName(COMPLETION).FindMethodByName(name)

    async def comment(self, name: str) -> str:
        """What the contract says about a method of the completion service."""
        method = await self.method(name)
        file = self.files[method.containing_service.file.name]
        path = [6, method.containing_service.index, 2, method.index]
        [place] = [each for each in file.source_code_info.location if list(each.path) == path]
        return place.leading_comments

    async def call(self, name: str, body: dict) -> list[dict]:
        """Call with JSON; returns every answer as JSON."""
        method = await self.method(name)
        made = message_factory.GetMessageClass(method.input_type)
        answered = message_factory.GetMessageClass(method.output_type)
        request = json_format.ParseDict(body, made(), descriptor_pool=self.pool)
        open_ = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        call = open_(
            f"/{COMPLETION}/{name}",
            request_serializer=made.SerializeToString,
            response_deserializer=answered.FromString,
        )(request, timeout=30)
        if not method.server_streaming:
            return [self._json(await call)]
        return [self._json(answer) async for answer in call]

    async def details(self, error: grpc.aio.AioRpcError) -> dict[str, dict]:
        """The details of a status by type name, their types found by reflection."""
        await self.learn("google.rpc.Status")
        [raw] = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
        status = self._message("google.rpc.Status").FromString(raw)
        found = {}
        for packed in status.details:
            kind = packed.type_url.rpartition("/")[2]
            await self.learn(kind)
            found[kind] = self._json(self._message(kind).FromString(packed.value))
        return found

    def _message(self, name: str):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def _json(self, message) -> dict:
        return json_format.MessageToDict(message, descriptor_pool=self.pool)


@pytest.fixture(params=["v1", "v1alpha"])
async def client(process, request):
    async with grpc.aio.insecure_channel(process.address) as channel:
        yield Reflected(channel, request.param)


async def failure_of(client, method: str, body: dict) -> tuple[grpc.StatusCode, dict]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await client.call(method, body)
    return failure.value.code(), await client.details(failure.value)


async def test_it_lists_every_service(client):
    assert await client.services() == SERVICES


@pytest.mark.parametrize(
    ("method", "streams", "says"),
    [
        ("Complete", False, "Answers in one message."),
        ("StreamComplete", True, "Answers piece by piece"),
        ("CountTokens", False, "Counts the tokens"),
    ],
)
async def test_it_describes_a_method_with_its_comment(client, method, streams, says):
    described = await client.method(method)
    comment = await client.comment(method)

    assert described.server_streaming is streams
    assert described.input_type.full_name.startswith("llmservice.v1.")
    assert comment.strip().startswith(says)


async def test_it_gets_a_whole_answer_in_json(client):
    [answer] = await client.call("Complete", HELLO)

    completion = answer["completion"]
    assert completion["message"]["parts"] == [{"text": "hello by reflection"}]
    assert completion["finishReason"] == "FINISH_REASON_STOP"
    assert (completion["usage"]["inputTokens"], completion["usage"]["outputTokens"]) == (3, 3)


async def test_it_gets_a_stream_in_json(client):
    events = await client.call("StreamComplete", HELLO)

    text = "".join(event.get("partDelta", {}).get("text", "") for event in events)
    assert "started" in events[0]
    assert text == "hello by reflection"
    assert events[-1]["finished"]["finishReason"] == "FINISH_REASON_STOP"


@pytest.mark.parametrize("method", ["Complete", "StreamComplete"])
async def test_it_reads_the_reason_of_an_error(client, method):
    code, details = await failure_of(client, method, NOBODY)

    assert code is grpc.StatusCode.NOT_FOUND
    assert details["google.rpc.ErrorInfo"]["reason"] == "MODEL_NOT_FOUND"
    assert details["google.rpc.ErrorInfo"]["domain"] == "llm-service"


@pytest.mark.parametrize("method", ["Complete", "StreamComplete"])
async def test_it_reads_which_fields_of_a_request_are_bad(client, method):
    code, details = await failure_of(client, method, SILENT)

    [violation] = details["google.rpc.BadRequest"]["fieldViolations"]
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert violation["field"] == "messages"
    assert violation["description"]


@pytest.mark.parametrize("method", ["Complete", "StreamComplete"])
async def test_it_reads_the_attempts_of_a_failed_completion(client, process, vendor, method):
    provider_id = f"refusing-{vendor.port}"
    await process.service.add_provider(provider_id, vendor.base_uri)
    vendor.say(b"{}", status=401)
    body = {**HELLO, "model": f"providers/{provider_id}/models/m"}

    code, details = await failure_of(client, method, body)

    failure = details["llmservice.v1.CompletionFailure"]
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert failure["completionId"]
    assert failure["attempts"][0]["error"]["reason"] == "PROVIDER_CREDENTIAL_REJECTED"


async def buf_curl(address: str, path: str, *words: str, reflection: str = "grpc-v1"):
    """Run buf curl; its exit code, and the JSON values or the text it printed."""
    if not BUF.exists():
        pytest.skip("buf is not installed beside this Python")
    run = await asyncio.create_subprocess_exec(
        *(str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge"),
        *("--reflect-protocol", reflection, *words, f"http://{address}{path}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(50):
        out, err = await run.communicate()
    return run.returncode, out.decode(), err.decode()


def values_in(text: str) -> list[dict]:
    """JSON values, one after another."""
    values, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


@pytest.mark.parametrize("reflection", ["grpc-v1", "grpc-v1alpha"])
async def test_buf_curl_lists_services_and_methods(process, reflection):
    services = await buf_curl(process.address, "", "--list-services", reflection=reflection)
    methods = await buf_curl(process.address, "", "--list-methods", reflection=reflection)

    assert services[0] == 0, services[2]
    assert set(services[1].split()) == SERVICES
    assert f"{COMPLETION}/StreamComplete" in methods[1].split()


@pytest.mark.parametrize("reflection", ["grpc-v1", "grpc-v1alpha"])
async def test_buf_curl_calls_with_json(process, reflection):
    body = ("-d", json.dumps(HELLO))
    whole = await buf_curl(process.address, f"/{COMPLETION}/Complete", *body, reflection=reflection)
    stream = await buf_curl(
        process.address, f"/{COMPLETION}/StreamComplete", *body, reflection=reflection
    )

    assert (whole[0], stream[0]) == (0, 0), whole[2] + stream[2]
    [answer], events = values_in(whole[1]), values_in(stream[1])
    text = "".join(event.get("partDelta", {}).get("text", "") for event in events)
    assert answer["completion"]["message"]["parts"] == [{"text": "hello by reflection"}]
    assert text == "hello by reflection"
    assert events[-1]["finished"]["finishReason"] == "FINISH_REASON_STOP"


async def test_buf_curl_shows_the_details_of_an_error(process):
    code, out, err = await buf_curl(
        process.address, f"/{COMPLETION}/Complete", "-d", json.dumps(NOBODY)
    )

    assert code != 0
    assert out == ""
    [detail] = json.loads(err)["details"]
    padded = detail["value"] + "=" * (-len(detail["value"]) % 4)
    assert detail["type"] == "google.rpc.ErrorInfo"
    assert b"MODEL_NOT_FOUND" in base64.b64decode(padded)
