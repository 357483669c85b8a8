"""Every call that the documentation shows, made as it stands; and every RPC is shown."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from llm_service.rpc import stubs
from tests.e2e.service import running
from tests.e2e.test_reflection_client import Reflected, buf_curl, values_in

PAGE = Path(__file__).parents[2] / "docs" / "calls.md"
DESCRIPTORS = Path(stubs.__file__).parent / "llmservice.binpb"
ADDRESS = "127.0.0.1:50051"
SECONDS = 20

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
_KEPT = re.compile(r"([A-Z]+)=\$\((.*) \| jq -r \.([A-Za-z.]+)\)")


@dataclass(frozen=True)
class Shown:
    """A line of the page. `keeps`: the variable that keeps the answer's field at the path."""

    text: str
    method: str
    body: str
    keeps: tuple[str, ...] = ()
    path: tuple[str, ...] = field(default=())

    @property
    def service(self) -> str:
        return self.method.partition("/")[0]


def shown(line: str) -> Shown:
    """What a shell would make of the line; only the forms that the page uses are known."""
    kept = _KEPT.fullmatch(line)
    words = shlex.split(kept.group(2) if kept else line)
    assert words[:3] == ["grpcurl", "-plaintext", "-d"], line
    body, address, method = words[3:]
    assert address == ADDRESS, line
    if kept:
        return Shown(line, method, body, (kept.group(1),), tuple(kept.group(3).split(".")))
    return Shown(line, method, body)


CALLS = [
    shown(line) for block in _BLOCK.findall(PAGE.read_text()) for line in block.strip().splitlines()
]


def rpcs() -> set[str]:
    described = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    return {
        f"{file.package}.{service.name}/{method.name}"
        for file in described.file
        if file.package == "llmservice.v1"
        for service in file.service
        for method in service.method
    }


def _mapped(body: object) -> object:
    """The JSON of protobuf for that of grpcurl, which writes a mask as any other message."""
    if isinstance(body, list):
        return [_mapped(one) for one in body]
    if not isinstance(body, dict):
        return body
    mask = {name: _json_mask(value) for name, value in body.items() if name == "update_mask"}
    return {name: _mapped(value) for name, value in body.items()} | mask


def _json_mask(mask: dict[str, list[str]]) -> str:
    return ",".join(re.sub(r"_(.)", lambda found: found[1].upper(), one) for one in mask["paths"])


class Shell:
    """Makes calls with nothing but reflection, as grpcurl does, and keeps variables."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._reflected = Reflected(channel, "v1")
        self._variables: dict[str, str] = {}

    async def services(self) -> set[str]:
        return await self._reflected.services()

    async def run(self, call: Shown) -> list[dict]:
        await self._reflected.learn(call.service)
        pool: descriptor_pool.DescriptorPool = self._reflected.pool
        service, _, name = call.method.partition("/")
        method = pool.FindServiceByName(service).FindMethodByName(name)
        made = message_factory.GetMessageClass(method.input_type)
        answered = message_factory.GetMessageClass(method.output_type)
        body = re.sub(r"\$([A-Z]+)", lambda found: self._variables[found.group(1)], call.body)
        request = json_format.ParseDict(_mapped(json.loads(body)), made(), descriptor_pool=pool)
        connect = self._channel.unary_unary
        if method.server_streaming:
            connect = self._channel.unary_stream
        running = connect(
            f"/{call.method}",
            request_serializer=made.SerializeToString,
            response_deserializer=answered.FromString,
        )(request, timeout=SECONDS)
        answers = [one async for one in running] if method.server_streaming else [await running]
        found = [json_format.MessageToDict(one, descriptor_pool=pool) for one in answers]
        for variable in call.keeps:
            value = found[0]
            for step in call.path:
                value = value[step]
            self._variables[variable] = value
        return found


@pytest.fixture
async def fresh(data_folder):
    """A service as it starts from nothing."""
    async with running(data_folder) as one:
        yield one


async def test_every_shown_call_succeeds_in_order_against_a_service_that_just_started(fresh):
    shell = Shell(fresh.channel)
    served = await shell.services()

    failed = []
    for call in CALLS:
        if call.service not in served:
            failed.append(f"{call.service} is not served: {call.text}")
            continue
        try:
            await shell.run(call)
        except grpc.aio.AioRpcError as error:
            failed.append(f"{error.code().name} {error.details()}: {call.text}")

    assert not failed, "\n".join(failed)


def test_every_rpc_is_shown_and_every_shown_one_exists():
    names = {call.method for call in CALLS}

    assert sorted(rpcs() - names) == [], "not shown"
    assert sorted(names - rpcs()) == [], "no such RPC"


def test_every_service_has_a_section_of_its_own():
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]

    for section in sections:
        [service] = {call.service for call in CALLS if f"{call.text}\n" in section}
        assert service == f"llmservice.v1.{section.splitlines()[0]}"


async def test_the_form_for_buf_curl_takes_the_same_json(process):
    [whole] = [call for call in CALLS if call.method.endswith("/Complete")]
    [stream] = [call for call in CALLS if call.method.endswith("/StreamComplete")]
    for call in (whole, stream):
        code, out, err = await buf_curl(process.address, f"/{call.method}", "-d", call.body)

        assert code == 0, err
        assert "hello" in json.dumps(values_in(out))
