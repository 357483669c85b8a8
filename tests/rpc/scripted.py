"""A real server on a free port whose handlers do what a test tells them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_service.rpc.callers import anyone
from llm_service.rpc.server import Limits, Serving, build_server
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs import completion_service_pb2_grpc as service_grpc
from llm_service.telemetry import Telemetry

COMPLETE = "llmservice.v1.CompletionService/Complete"
STREAM = "llmservice.v1.CompletionService/StreamComplete"


async def _answer(context) -> service_pb.CompleteResponse:
    return service_pb.CompleteResponse(completion=pb.Completion(id="c-1"))


async def _stream(context):
    for sequence in range(3):
        yield pb.StreamCompleteResponse(sequence=sequence)


class Scripted(service_grpc.CompletionServiceServicer):
    """Answers with whatever `unary` and `stream` do."""

    def __init__(self) -> None:
        self.unary: Callable[[Any], Any] = _answer
        self.stream: Callable[[Any], Any] = _stream

    async def Complete(self, request, context):
        return await self.unary(context)

    async def StreamComplete(self, request, context):
        async for reply in self.stream(context):
            yield reply

    async def CountTokens(self, request, context):
        raise NotImplementedError

    async def EstimateCost(self, request, context):
        raise NotImplementedError


@dataclass
class Running:
    """A started server, a channel to it, and what its telemetry collected."""

    serving: Serving
    port: int
    channel: grpc.aio.Channel
    servicer: Scripted
    telemetry: Telemetry
    metrics: InMemoryMetricReader
    exported: InMemorySpanExporter
    stub: Any = field(init=False)

    def __post_init__(self) -> None:
        self.stub = service_grpc.CompletionServiceStub(self.channel)

    async def spans(self) -> list[Any]:
        """The finished spans, once no call is in progress."""
        await self.serving._spans.until_idle()
        return list(self.exported.get_finished_spans())


@asynccontextmanager
async def running(
    *, limits: Limits | None = None, credentials=None, authenticate=anyone, reflection=True
) -> AsyncIterator[Running]:
    exported, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    telemetry = Telemetry.start(
        service_version="test",
        span_processor=SimpleSpanProcessor(exported),
        metric_reader=metrics,
    )
    servicer = Scripted()
    registration = (service_grpc.add_CompletionServiceServicer_to_server, servicer)
    serving = build_server(
        [registration],
        telemetry=telemetry,
        limits=limits,
        authenticate=authenticate,
        reflection=reflection,
    )
    port = serving.listen("127.0.0.1:0", credentials)
    await serving.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Running(serving, port, channel, servicer, telemetry, metrics, exported)
    await serving.server.stop(None)
    await telemetry.shutdown()
