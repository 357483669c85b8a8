"""The whole service in this process: its own database, a real socket, stubs as callers have."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from llm_service import bootstrap
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_stubs
from llm_service.rpc.stubs import content_pb2, provider_pb2
from llm_service.rpc.stubs import model_service_pb2_grpc as model_stubs
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_admin_service_pb2_grpc as admin_stubs
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from llm_service.rpc.stubs import usage_service_pb2_grpc as usage_stubs
from llm_service.settings import Settings

KEY = "sk-e2e-0123456789abcdefghijklmnop"


@dataclass
class Service:
    """A running service and a stub for each of its services."""

    address: str
    channel: grpc.aio.Channel

    @property
    def completions(self):
        return completion_stubs.CompletionServiceStub(self.channel)

    @property
    def admin(self):
        return admin_stubs.ProviderAdminServiceStub(self.channel)

    @property
    def models(self):
        return model_stubs.ModelServiceStub(self.channel)

    @property
    def usage(self):
        return usage_stubs.UsageServiceStub(self.channel)

    async def add_provider(
        self, provider_id, base_uri, *, kind="openai-compatible", key=KEY, **fields
    ):
        credential = provider_pb2.Credential(api_key=key) if key else None
        return await self.admin.CreateProvider(
            admin_pb.CreateProviderRequest(
                provider_id=provider_id,
                provider=provider_pb2.Provider(kind=kind, base_uri=base_uri, **fields),
                credential=credential,
            )
        )

    async def records(self, completion_id="") -> list[usage_pb.UsageRecord]:
        asked = usage_pb.ListUsageRecordsRequest(parent="tenants/default", page_size=1000)
        if completion_id:
            asked.filter = f'completion_id = "{completion_id}"'
        return list((await self.usage.ListUsageRecords(asked)).usage_records)


@asynccontextmanager
async def running(folder, **environment: str) -> AsyncIterator[Service]:
    settings = settings_in(folder, environment)
    async with bootstrap.application(settings) as (serving, _):
        port = serving.listen("127.0.0.1:0")
        await serving.start()
        address = f"127.0.0.1:{port}"
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                yield Service(address, channel)
        finally:
            await serving.drain(grace=2)


def settings_in(folder, environment: Mapping[str, str]) -> Settings:
    return Settings.from_env(
        {
            "LLM_DATA_DIR": str(folder),
            "LLM_LISTEN": "127.0.0.1:0",
            "LLM_EGRESS_ALLOW": "127.0.0.1",
            "LLM_AUTH": "open",
            **environment,
        }
    )


def asking(model: str, text: str = "Say hello.", **fields) -> pb.CompletionRequest:
    part = content_pb2.ContentPart(text=text)
    return pb.CompletionRequest(
        model=model,
        messages=[content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])],
        **fields,
    )
