"""The whole service with authentication on, two tenants in it, and a key for each role of one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2

from llm_service import bootstrap
from llm_service.domain.access import Role
from llm_service.gateway.access.client_keys import ClientKeyDraft
from llm_service.rpc.stubs import access_service_pb2 as access_pb
from llm_service.rpc.stubs import access_service_pb2_grpc as access_grpc
from llm_service.rpc.stubs import config_service_pb2 as config_pb
from llm_service.rpc.stubs import config_service_pb2_grpc as config_grpc
from llm_service.rpc.stubs import model_pb2, provider_pb2
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_admin_service_pb2_grpc as admin_grpc
from llm_service.rpc.stubs import webhook_service_pb2 as webhook_pb
from llm_service.rpc.stubs import webhook_service_pb2_grpc as webhook_grpc
from tests.e2e.service import settings_in

OWN, OTHER = "acme", "other"


@dataclass
class Guarded:
    """A running service; `operator` is a key that may do everything for everybody.

    `keys` are those of tenant `OWN`, one for each role; `other_key` names one of tenant `OTHER`.
    """

    channel: grpc.aio.Channel
    operator: str
    keys: Mapping[Role, str]
    other_key: str

    @property
    def access(self) -> access_grpc.AccessServiceStub:
        return access_grpc.AccessServiceStub(self.channel)

    @property
    def admin(self) -> admin_grpc.ProviderAdminServiceStub:
        return admin_grpc.ProviderAdminServiceStub(self.channel)

    async def new_key(self, *roles: Role, tenant: str = "", by: str = "") -> tuple[str, str]:
        """A key's name and text."""
        request = access_pb.CreateClientKeyRequest(parent=f"tenants/{tenant}" if tenant else "")
        request.client_key.roles.extend(number_of(role) for role in roles)
        made = await self.access.CreateClientKey(request, metadata=bearer(by or self.operator))
        return made.client_key.name, made.key_text


@dataclass(frozen=True)
class Outcome:
    """How a call ended, with all a caller can see of it but the trace."""

    code: grpc.StatusCode
    details: str = ""
    status: bytes = b""
    reason: str = ""


@asynccontextmanager
async def guarded(folder, **environment: str) -> AsyncIterator[Guarded]:
    settings = settings_in(folder, {"LLM_AUTH": "required", **environment})
    async with bootstrap.client_keys(settings) as keys:
        operator = await keys.create_first()
        own = {
            role: (await keys.create(OWN, ClientKeyDraft(roles=frozenset({role}))))[1]
            for role in Role
        }
        other, _ = await keys.create(OTHER, ClientKeyDraft(roles=frozenset(Role)))
    async with bootstrap.application(settings) as (serving, _):
        port = serving.listen("127.0.0.1:0")
        await serving.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Guarded(channel, operator, own, other.name)
        await serving.drain(grace=0)


async def plant(service: Guarded, tenant: str) -> None:
    """Of a tenant ("": shared) provider "p" with credential "main" and model "m".

    And its model configuration "p" and webhook "p".
    """
    parent = f"tenants/{tenant}" if tenant else ""
    name = f"{parent}/providers/p".removeprefix("/")
    by = bearer(service.operator)
    await service.admin.CreateProvider(
        admin_pb.CreateProviderRequest(
            parent=parent, provider_id="p", provider=provider_pb2.Provider(kind="openai")
        ),
        metadata=by,
    )
    await service.admin.CreateCredential(
        admin_pb.CreateCredentialRequest(
            parent=name,
            credential_id="main",
            credential=provider_pb2.Credential(api_key="sk-0123456789abcdef"),
        ),
        metadata=by,
    )
    await service.admin.CreateModel(
        admin_pb.CreateModelRequest(
            parent=name, model_id="m", model=model_pb2.Model(provider_model=f"m-of-{tenant}")
        ),
        metadata=by,
    )
    await config_grpc.ConfigServiceStub(service.channel).CreateModelConfig(
        config_pb.CreateModelConfigRequest(
            parent=parent,
            model_config_id="p",
            model_config=config_pb.ModelConfig(selector=config_pb.Selector(agent="planted")),
        ),
        metadata=by,
    )
    await webhook_grpc.WebhookServiceStub(service.channel).CreateWebhook(
        webhook_pb.CreateWebhookRequest(
            parent=parent,
            webhook_id="p",
            webhook=webhook_pb.Webhook(target_uri="https://hooks.example.com"),
        ),
        metadata=by,
    )


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),) if key else ()


def number_of(role: Role) -> int:
    return access_pb.AccessRole.Value(f"ACCESS_ROLE_{role.name}")


async def outcome(call) -> Outcome:
    """How a call ends that answers with one message."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return failure(error)
    return Outcome(grpc.StatusCode.OK)


def failure(error: grpc.aio.AioRpcError) -> Outcome:
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(details).details:
        detail.Unpack(info)
    return Outcome(error.code(), error.details() or "", details, info.reason)
