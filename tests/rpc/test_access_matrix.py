"""Every method, every role, own and other tenant: all of them from the descriptor set."""

import shutil
from dataclasses import dataclass
from importlib import resources

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc import StatusCode

from llm_service.domain.access import Role
from llm_service.rpc.policy import ROLES
from tests.rpc.guarded import OTHER, OWN, Outcome, bearer, failure, guarded, plant

WITHOUT_TENANT = {
    "/llmservice.v1.ProviderAdminService/GetKeyringStatus",
    "/llmservice.v1.ProviderAdminService/ListProviderKinds",
    "/llmservice.v1.ProviderAdminService/RewrapSecrets",
}
"""What says nothing of any tenant."""

TENANT_FIELDS = {"name", "parent", "tenant"}
REFUSED = {StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED}
FOREIGN = {StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED}


def _set() -> descriptor_pb2.FileDescriptorSet:
    data = resources.files("llm_service.rpc.stubs").joinpath("llmservice.binpb").read_bytes()
    return descriptor_pb2.FileDescriptorSet.FromString(data)


POOL = descriptor_pool.DescriptorPool()
for _file in _set().file:
    POOL.Add(_file)


@dataclass(frozen=True)
class Method:
    path: str
    request: type
    streams: bool

    def __str__(self) -> str:
        return self.path.rpartition(".")[2]

    def bare(self):
        """A request for nothing in particular. A feed that has an end ends at once."""
        message = self.request()
        if self.streams and "end_time" in self.request.DESCRIPTOR.fields_by_name:
            message.end_time.seconds = 1
        return message

    def message(self, owned: str):
        """A request that names `owned` wherever it can name something of a tenant."""
        message = self.bare()
        return message if _fill(message, owned) else None


def _fill(message, owned: str, depth: int = 0) -> bool:
    named = False
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING and field.name in TENANT_FIELDS:
            if not field.is_repeated:
                setattr(message, field.name, owned)
                named = True
        elif field.type == field.TYPE_MESSAGE and depth < 3 and _may_hold(field):
            inner = getattr(message, field.name)
            named |= _fill(inner.add() if field.is_repeated else inner, owned, depth + 1)
    return named


def _may_hold(field) -> bool:
    if field.is_repeated:
        return field.name == "requests"
    return field.message_type.full_name.startswith("llmservice.v1.")


METHODS = [
    Method(
        f"/{file.package}.{service.name}/{method.name}",
        message_factory.GetMessageClass(POOL.FindMessageTypeByName(method.input_type[1:])),
        method.server_streaming,
    )
    for file in _set().file
    if file.package == "llmservice.v1"
    for service in file.service
    for method in service.method
]


@pytest.fixture(scope="module")
async def service(embedded_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded") / "data"
    shutil.copytree(embedded_folder, folder)
    async with guarded(folder) as running:
        for tenant in (OWN, OTHER):
            await plant(running, tenant)
        yield running


async def call(service, method: Method, message, key: str) -> Outcome:
    """How the call ends. What streams is read to its end."""
    start = service.channel.unary_stream if method.streams else service.channel.unary_unary
    opened = start(
        method.path,
        request_serializer=lambda sent: sent.SerializeToString(),
        response_deserializer=bytes,
    )(message, metadata=bearer(key), timeout=20)
    try:
        if method.streams:
            async for _ in opened:
                pass
        else:
            await opened
    except grpc.aio.AioRpcError as error:
        return failure(error)
    return Outcome(StatusCode.OK)


def resources_of(tenant: str, provider: str = "p", key: str = "a" * 16) -> list[str]:
    """One name of each kind; whatever a field wants, one of them is of that form."""
    root = f"tenants/{tenant}"
    return [
        root,
        f"{root}/providers/{provider}",
        f"{root}/providers/{provider}/credentials/main",
        f"{root}/providers/{provider}/models/m",
        f"{root}/clientKeys/{key}",
        f"{root}/modelConfigs/{provider}",
        f"{root}/budgets/{provider}",
        f"{root}/webhooks/{provider}",
    ]


@pytest.mark.parametrize("method", METHODS, ids=str)
async def test_a6_only_callers_with_the_role_of_a_method_are_let_in(service, method):
    needed = ROLES[method.path[1:].partition("/")[0]]
    anonymous = await call(service, method, method.bare(), "")

    outcomes = {
        role: await call(service, method, method.bare(), key) for role, key in service.keys.items()
    }

    assert (anonymous.code, anonymous.reason) == (
        StatusCode.UNAUTHENTICATED,
        "CALLER_UNAUTHENTICATED",
    )
    assert isinstance(needed, Role)
    assert outcomes.pop(needed).code not in REFUSED
    assert {(one.code, one.reason) for one in outcomes.values()} == {
        (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    }


@pytest.mark.parametrize("method", METHODS, ids=str)
async def test_a8_another_tenants_resources_look_as_if_they_were_not_there(service, method):
    key = service.keys[ROLES[method.path[1:].partition("/")[0]]]
    names = resources_of(OTHER, key=service.other_key.rpartition("/")[2])
    if method.message(names[0]) is None:
        assert method.path in WITHOUT_TENANT
        return

    there = [await call(service, method, method.message(name), key) for name in names]
    missing = [
        await call(service, method, method.message(name), key)
        for name in resources_of(OTHER, "missing")
    ]
    own_missing = [
        await call(service, method, method.message(name), key)
        for name in resources_of(OWN, "missing")
    ]

    assert there == missing
    assert FOREIGN.intersection(one.code for one in there)
    assert StatusCode.OK not in {one.code for one in there}
    for foreign, own in zip(there, own_missing, strict=True):
        if {foreign.code, own.code} == {StatusCode.NOT_FOUND}:
            assert foreign == own


@pytest.mark.parametrize("method", METHODS, ids=str)
async def test_a8_what_is_the_callers_own_is_not_kept_from_it(service, method):
    key = service.keys[ROLES[method.path[1:].partition("/")[0]]]
    messages = [method.message(name) for name in resources_of(OWN)]

    codes = {
        (await call(service, method, message or method.bare(), key)).code for message in messages
    }

    assert not codes & REFUSED
