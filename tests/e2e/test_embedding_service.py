"""EmbeddingService through the whole service: vectors, failures, records and reports."""

import asyncio
import json
import math
import struct
from base64 import b64encode

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llm_service.rpc.stubs import embedding_service_pb2 as pb
from llm_service.rpc.stubs import embedding_service_pb2_grpc as stubs
from llm_service.rpc.stubs import generation_pb2
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from tests.contract.vendor_server import Reply

MODEL = "providers/shop/models/embed-1"


def asking(model: str, *texts: str, **fields) -> pb.EmbedRequest:
    return pb.EmbedRequest(
        model=model, inputs=[pb.EmbedInput(text=text) for text in texts], **fields
    )


async def embed(service, request: pb.EmbedRequest, timeout: float = 20) -> pb.EmbedResponse:
    return await stubs.EmbeddingServiceStub(service.channel).Embed(request, timeout=timeout)


async def refusal(service, request) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await embed(service, request)
    info = error_details_pb2.ErrorInfo()
    (packed,) = (
        value
        for key, value in failure.value.trailing_metadata()
        if key == "grpc-status-details-bin"
    )
    any(one.Unpack(info) for one in status_pb2.Status.FromString(packed).details)
    return failure.value.code(), info


def vectors(*given: list[float]):
    """A vendor's reply with these vectors, packed as it was asked to."""

    def reply(asked) -> Reply:
        packed = asked.json.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": n, "embedding": _packed(one) if packed else one}
            for n, one in enumerate(given)
        ]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        body = {"object": "list", "data": data, "model": "embed-1-2026", "usage": usage}
        return Reply(pieces=[json.dumps(body).encode()])

    return reply


def _packed(vector: list[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


async def test_the_demo_model_embeds_without_a_network(service):
    answer = await embed(service, asking("echo-1", "one two", "three", "one two"))

    first, second, third = (list(one.values) for one in answer.embeddings)
    assert first == third != second
    assert math.isclose(math.hypot(*first), 1.0, rel_tol=1e-6)
    assert answer.usage.input_tokens == 5
    assert (answer.cost.total_nano_usd, answer.cost.incomplete) == (0, False)
    (record,) = await service.records(answer.id)
    assert (record.operation, record.error_reason) == ("embeddings", "")
    assert record.attempt.usage == answer.usage


async def test_reports_tell_embeddings_from_completions(service):
    answer = await embed(service, asking("echo-1", "one two", dimensions=3))
    (record,) = await service.records(answer.id)
    end = Timestamp(seconds=record.create_time.seconds + 60)

    report = await service.usage.QueryUsage(
        usage_pb.QueryUsageRequest(
            parent="tenants/default",
            start_time=Timestamp(seconds=record.create_time.seconds - 600),
            end_time=end,
            group_by=["operation"],
            filter='operation = "embeddings"',
        )
    )

    (row,) = report.rows
    assert dict(row.dimensions) == {"operation": "embeddings"}
    assert row.metrics.request_count >= 1


async def test_a_vendors_vectors_come_in_order_and_exactly(service, vendor):
    await service.add_provider("shop", vendor.base_uri)
    vendor.replies.append(vectors([0.5, -1.0], [0.25, 2.0]))

    answer = await embed(service, asking(MODEL, "one", "two"))

    assert [list(one.values) for one in answer.embeddings] == [[0.5, -1.0], [0.25, 2.0]]
    assert answer.usage.input_tokens == 4
    assert answer.served_by.provider_model == "embed-1-2026"
    assert answer.cost.incomplete  # nobody told its price
    assert vendor.asked[-1].path == "/v1/embeddings"
    assert vendor.asked[-1].json["input"] == ["one", "two"]


@pytest.mark.parametrize(
    ("reply", "code", "reason"),
    [
        pytest.param(
            vectors([1.0]), grpc.StatusCode.INTERNAL, "PROVIDER_PROTOCOL_ERROR", id="one-for-two"
        ),
        pytest.param(
            Reply(401, {}, [b'{"error": {"message": "bad key", "type": "invalid_request_error"}}']),
            grpc.StatusCode.FAILED_PRECONDITION,
            "PROVIDER_CREDENTIAL_REJECTED",
            id="bad-key",
        ),
        pytest.param(
            Reply(503, {}, [b""]), grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE", id="down"
        ),
    ],
)
async def test_a_vendors_failure_has_its_status(service, vendor, request, reply, code, reason):
    name = f"fails-{request.node.callspec.id}"
    await service.add_provider(name, vendor.base_uri)
    vendor.replies += [reply] * 3  # of trouble that may pass every attempt is made
    found, info = await refusal(service, asking(f"providers/{name}/models/embed-1", "one", "two"))

    vendor.replies.clear()
    assert (found, info.reason) == (code, reason)


async def test_a_caller_who_leaves_stops_the_vendor(service, vendor):
    await service.add_provider("slow", vendor.base_uri)
    vendor.replies.append(Reply(held=True))
    call = asyncio.create_task(embed(service, asking("providers/slow/models/embed-1", "one")))
    await vendor.heard.wait()

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    async with asyncio.timeout(10):
        await vendor.hung_up.wait()


async def test_models_to_fall_back_to_are_refused(service):
    routing = generation_pb2.RoutingOptions(fallback_models=["echo-1"])

    code, info = await refusal(service, asking("echo-1", "one", routing=routing))

    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_health_knows_the_service(service):
    answer = await health_pb2_grpc.HealthStub(service.channel).Check(
        health_pb2.HealthCheckRequest(service="llmservice.v1.EmbeddingService")
    )

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
