"""Spans and errors around real calls."""

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode as SpanStatus

from llm_service import errors
from llm_service.rpc.codes import STATUS
from llm_service.rpc.stubs import completion_pb2 as pb
from tests.rpc.scripted import COMPLETE, STREAM, Running, running

SECRET = "sk-never-shown"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as server:
        yield server


def details_of(failure: grpc.aio.AioRpcError) -> status_pb2.Status:
    [raw] = [v for k, v in failure.trailing_metadata() if k == "grpc-status-details-bin"]
    return status_pb2.Status.FromString(raw)


def info_of(failure: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    [packed] = [d for d in details_of(failure).details if d.Is(info.DESCRIPTOR)]
    packed.Unpack(info)
    return info


def trace_of(metadata) -> str:
    [trace_id] = [value for key, value in metadata if key == "llmservice-trace-id"]
    return trace_id


def raising(error: BaseException):
    async def unary(context):
        raise error

    return unary


async def read_all(server: Running):
    return [reply async for reply in server.stub.StreamComplete(pb.CompletionRequest())]


def made(kind: type[errors.GatewayError]) -> errors.GatewayError:
    if kind is errors.InvalidField:
        return errors.InvalidField(errors.Violation("model", "is empty"))
    if kind is errors.RateLimited:
        return errors.RateLimited("our words", errors.Quota("tenants/acme", "tokens_per_day", 1))
    return kind("our words")


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
async def test_every_domain_error_reaches_the_client_as_its_status_and_reason(server, kind):
    server.servicer.unary = raising(made(kind))

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await server.stub.Complete(pb.CompletionRequest())

    assert failure.value.code() is STATUS[kind]
    assert info_of(failure.value).reason == kind.reason
    assert info_of(failure.value).domain == "llm-service"
    [span] = await server.spans()
    assert span.attributes["rpc.response.status_code"] == STATUS[kind].name
    assert span.attributes["error.type"] == kind.reason


async def test_a_stream_that_breaks_midway_keeps_its_chunks_and_its_status(server):
    async def stream(context):
        yield pb.StreamCompleteResponse(sequence=7)
        raise errors.ProviderRateLimited("slow down", retry_delay=3)

    server.servicer.stream = stream
    call = server.stub.StreamComplete(pb.CompletionRequest())

    assert (await call.read()).sequence == 7
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call.read()

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info_of(failure.value).reason == "PROVIDER_RATE_LIMITED"
    [span] = await server.spans()
    assert span.name == STREAM
    assert span.attributes["rpc.response.status_code"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "streamed"])
async def test_a_bug_becomes_internal_without_its_text(server, caplog, streamed):
    async def stream(context):
        yield pb.StreamCompleteResponse()
        raise RuntimeError(SECRET)

    server.servicer.unary = raising(RuntimeError(SECRET))
    server.servicer.stream = stream

    caplog.set_level(logging.DEBUG, "llm_service")
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await (read_all(server) if streamed else server.stub.Complete(pb.CompletionRequest()))

    error = failure.value
    assert error.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in f"{error!r}{error.details()}{error.trailing_metadata()}"
    assert info_of(error).reason == "INTERNAL"
    assert info_of(error).metadata["incident"] == trace_of(error.trailing_metadata())
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == [
        f"/{STREAM if streamed else COMPLETE} broke"
    ]
    [span] = await server.spans()
    assert SECRET not in span.to_json()
    assert not span.events
    assert span.status.description == "INTERNAL"


async def test_a_successful_call_is_one_span_that_continues_the_callers_trace(server):
    call = server.stub.Complete(
        pb.CompletionRequest(), metadata=(("traceparent", TRACEPARENT), ("tracestate", "a=b"))
    )
    await call

    assert trace_of(await call.trailing_metadata()) == "0af7651916cd43dd8448eb211c80319c"
    [span] = await server.spans()
    assert span.name == COMPLETE
    assert span.kind is SpanKind.SERVER
    assert format(span.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert format(span.parent.span_id, "016x") == "b7ad6b7169203331"
    assert span.context.trace_state["a"] == "b"
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": COMPLETE,
        "rpc.response.status_code": "OK",
    }


async def test_a_streamed_call_is_one_span_and_carries_its_trace_id(server):
    call = server.stub.StreamComplete(pb.CompletionRequest())
    sequences = [reply.sequence async for reply in call]

    assert sequences == [0, 1, 2]
    [span] = await server.spans()
    assert span.attributes["rpc.response.status_code"] == "OK"
    assert trace_of(await call.trailing_metadata()) == format(span.context.trace_id, "032x")


async def test_a_handlers_own_trailing_metadata_is_kept(server):
    async def unary(context):
        context.set_trailing_metadata((("llmservice-completion-id", "c-9"),))
        return await original(context)

    original = server.servicer.unary
    server.servicer.unary = unary
    call = server.stub.Complete(pb.CompletionRequest())
    await call

    trailing = dict(await call.trailing_metadata())
    assert trailing["llmservice-completion-id"] == "c-9"
    assert len(trailing["llmservice-trace-id"]) == 32


async def test_a_handlers_own_abort_passes_through_with_its_code(server):
    async def unary(context):
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "mine")

    server.servicer.unary = unary

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await server.stub.Complete(pb.CompletionRequest())

    assert failure.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert failure.value.details() == "mine"
    [span] = await server.spans()
    assert span.attributes["rpc.response.status_code"] == "OUT_OF_RANGE"
    assert span.status.status_code is SpanStatus.UNSET


async def _until_done(call):
    return await call


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "streamed"])
async def test_a_caller_who_leaves_cancels_the_handler_and_the_span_says_so(server, streamed):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def unary(context):
        await wait()

    async def stream(context):
        await wait()
        yield pb.StreamCompleteResponse()

    server.servicer.unary, server.servicer.stream = unary, stream
    method = server.stub.StreamComplete if streamed else server.stub.Complete
    call = method(pb.CompletionRequest())
    waiting = asyncio.create_task(call.read() if streamed else _until_done(call))
    await begun.wait()

    call.cancel()
    await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    [span] = await server.spans()
    assert span.attributes["rpc.response.status_code"] == "CANCELLED"


async def test_a_deadline_that_passes_is_recorded_as_such(server):
    async def stream(context):
        yield pb.StreamCompleteResponse()
        await asyncio.Event().wait()

    server.servicer.stream = stream
    recorded = ""
    for timeout in (0.2, 0.2, 0.4, 0.8, 1.6, 3.2):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            [_ async for _ in server.stub.StreamComplete(pb.CompletionRequest(), timeout=timeout)]
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        # A machine that pauses before the server hears of the call makes the caller leave first.
        spans = [span.attributes["rpc.response.status_code"] for span in await server.spans()]
        assert set(spans) <= {"DEADLINE_EXCEEDED", "CANCELLED"}
        recorded = "".join(spans[-1:])
        if recorded == "DEADLINE_EXCEEDED":
            break

    assert recorded == "DEADLINE_EXCEEDED"


async def test_a_failure_after_the_caller_left_still_ends_the_span(server):
    begun = asyncio.Event()

    async def unary(context):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise errors.ProviderTimeout("late") from None

    server.servicer.unary = unary
    call = server.stub.Complete(pb.CompletionRequest())
    await begun.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    [span] = await server.spans()
    assert span.name == COMPLETE


async def test_calls_are_measured_by_method_and_code_and_nothing_else(server):
    await server.stub.Complete(pb.CompletionRequest())
    await server.spans()

    [scope] = server.metrics.get_metrics_data().resource_metrics[0].scope_metrics
    metrics = {metric.name: metric.data.data_points for metric in scope.metrics}
    [point] = metrics["rpc.server.call.duration"]
    assert point.count == 1
    assert dict(point.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": COMPLETE,
        "rpc.response.status_code": "OK",
    }
    assert [p.value for p in metrics["llm_service.server.active_calls"]] == [0]
