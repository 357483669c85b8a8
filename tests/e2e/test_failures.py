"""Everything that can go wrong has its status and reason, unary and streamed, and loses nothing."""

import itertools
import json

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import content_pb2, error_pb2, generation_pb2, provider_pb2
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.service import KEY, asking, running

_numbers = itertools.count()
SSE = {"content-type": "text/event-stream"}
ALWAYS = "PROVIDER_UNAVAILABLE"


def details(error: grpc.aio.AioRpcError) -> dict:
    """The status details by message name."""
    found = {}
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                for kind in (
                    error_details_pb2.ErrorInfo,
                    error_details_pb2.RetryInfo,
                    error_details_pb2.BadRequest,
                    error_details_pb2.QuotaFailure,
                    error_details_pb2.PreconditionFailure,
                    error_pb2.CompletionFailure,
                ):
                    message = kind()
                    if packed.Unpack(message):
                        found[kind.DESCRIPTOR.name] = message
    return found


def once(model: str) -> pb.CompletionRequest:
    return asking(model, routing=generation_pb2.RoutingOptions(disable_fallback=True))


async def failure_of(service, method: str, request) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await called(service, method, request)
    return failure.value


async def called(service, method: str, request) -> None:
    if method == "Complete":
        await service.completions.Complete(request, timeout=20)
        return
    async for _ in service.completions.StreamComplete(request, timeout=20):
        pass


def refused(status: int, kind: str = "", code: str = "", **headers: str) -> Reply:
    body = {"error": {"message": f"words of the vendor {KEY}", "type": kind, "code": code}}
    return Reply(status, headers, [json.dumps(body).encode()])


BOTH = pytest.mark.parametrize("method", ["Complete", "StreamComplete"])
REFUSALS = [
    (refused(400, "invalid_request_error"), "INVALID_ARGUMENT", "PROVIDER_REJECTED_REQUEST"),
    (
        refused(400, "invalid_request_error", "context_length_exceeded"),
        "INVALID_ARGUMENT",
        "CONTEXT_LENGTH_EXCEEDED",
    ),
    (refused(413), "INVALID_ARGUMENT", "REQUEST_TOO_LARGE"),
    (refused(404, "invalid_request_error", "model_not_found"), "NOT_FOUND", "MODEL_NOT_FOUND"),
    (refused(401, code="invalid_api_key"), "FAILED_PRECONDITION", "PROVIDER_CREDENTIAL_REJECTED"),
    (refused(403), "FAILED_PRECONDITION", "PROVIDER_PERMISSION_DENIED"),
    (refused(429, code="insufficient_quota"), "FAILED_PRECONDITION", "PROVIDER_QUOTA_EXHAUSTED"),
    (refused(429), "RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED"),
    (refused(500), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    (refused(529), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    (Reply(503, {"content-type": "text/html"}, [b"<html>no</html>"]), "UNAVAILABLE", ALWAYS),
    (refused(408), "UNAVAILABLE", "PROVIDER_TIMEOUT"),
    (Reply(200, {}, [b"{not json"]), "INTERNAL", "PROVIDER_PROTOCOL_ERROR"),
]


@BOTH
@pytest.mark.parametrize(
    ("reply", "code", "reason"),
    [pytest.param(*case, id=f"{n}-{case[2]}") for n, case in enumerate(REFUSALS)],
)
async def test_a_vendors_refusal(service, vendor, method, reply, code, reason):
    name = f"refusing-{next(_numbers)}"
    await service.add_provider(name, vendor.base_uri)
    vendor.replies.append(reply)

    error = await failure_of(service, method, once(f"providers/{name}/models/m"))

    told = details(error)
    assert error.code().name == code
    assert told["ErrorInfo"].reason == reason
    assert told["ErrorInfo"].domain == "llm-service"
    assert ("RetryInfo" in told) == (code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"))
    assert told["CompletionFailure"].attempts[0].error.reason == reason
    assert not told["CompletionFailure"].content_sent
    assert "words of the vendor" not in str(error)
    assert KEY not in str(error)
    assert ("grpc-retry-pushback-ms", "-1") in tuple(error.trailing_metadata())
    rows = await service.records(told["CompletionFailure"].completion_id)
    assert [row.error_reason for row in rows] == [reason]


async def test_a_wait_the_vendor_asks_for_reaches_the_caller(service, vendor):
    name = f"refusing-{next(_numbers)}"
    await service.add_provider(name, vendor.base_uri)
    vendor.replies.append(refused(429, **{"retry-after": "7"}))

    error = await failure_of(service, "Complete", once(f"providers/{name}/models/m"))

    assert details(error)["RetryInfo"].retry_delay.seconds == 7


async def test_a_stream_cut_after_content_is_interrupted_and_says_so(service, vendor):
    name = f"cutting-{next(_numbers)}"
    await service.add_provider(name, vendor.base_uri)
    piece = sse([b'{"choices": [{"index": 0, "delta": {"content": "hello"}}]}'], done=False)
    vendor.replies.append(Reply(200, SSE, [piece], cut=True))

    error = await failure_of(service, "StreamComplete", asking(f"providers/{name}/models/m"))

    told = details(error)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert told["ErrorInfo"].reason == "STREAM_INTERRUPTED"
    assert told["CompletionFailure"].content_sent
    assert told["CompletionFailure"].usage.estimated


@BOTH
async def test_a_blocked_prompt_is_a_result(service, vendor, method):
    name = f"filtering-{next(_numbers)}"
    await service.add_provider(name, vendor.base_uri)
    vendor.replies.append(refused(400, code="content_filter"))
    request = asking(f"providers/{name}/models/m")

    if method == "Complete":
        answer = (await service.completions.Complete(request)).completion
    else:
        answer = [event async for event in service.completions.StreamComplete(request)][-1].finished

    assert answer.finish_reason == pb.FINISH_REASON_CONTENT_FILTER
    assert answer.content_filter.stage == pb.ContentFilter.STAGE_INPUT


BAD_FIELDS = [
    (pb.CompletionRequest(model="echo-1"), ["messages"]),
    (
        pb.CompletionRequest(model="echo-1", messages=[content_pb2.Message()]),
        ["messages[0].role", "messages[0].parts"],
    ),
    (
        asking("echo-1", params={"temperature": 3, "top_p": -1}),
        ["params.temperature", "params.top_p"],
    ),
    (asking("echo-1", params={"max_output_tokens": 0}), ["params.max_output_tokens"]),
    (asking("echo-1", params={"stop_sequences": [""]}), ["params.stop_sequences"]),
    (asking("echo-1", tools=[{"function": {"name": "a b"}}]), ["tools[0].function.name"]),
    (
        asking("echo-1", tools=[{"function": {"name": "a", "parameters_schema_json": "{"}}]),
        ["tools[0].function.parameters_schema_json"],
    ),
    (asking("echo-1", tool_choice={"allowed_tools": ["x"]}), ["tool_choice.allowed_tools[0]"]),
    (
        asking("echo-1", attribution={"tenant": "nope", "agent": "a b"}),
        ["attribution.agent", "attribution.tenant"],
    ),
    (asking("echo-1", request_id="7"), ["request_id"]),
    (
        asking("echo-1", response_format={"json_schema": {"name": "s", "schema_json": "[]"}}),
        ["response_format.json_schema.schema_json"],
    ),
    (asking("echo-1", provider_options_json={"openai": "x"}), ["provider_options_json['openai']"]),
    (asking("echo-1", routing={"max_attempts": 0}), ["routing.max_attempts"]),
    (
        asking("echo-1", stream_options={"heartbeat_interval": {"seconds": 0}}),
        ["stream_options.heartbeat_interval"],
    ),
]


@BOTH
@pytest.mark.parametrize(
    ("request_", "fields"), [pytest.param(*case, id=case[1][0]) for case in BAD_FIELDS]
)
async def test_a_bad_request_names_every_bad_field(service, method, request_, fields):
    error = await failure_of(service, method, request_)

    told = details(error)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told["ErrorInfo"].reason == "INVALID_FIELD"
    assert [violation.field for violation in told["BadRequest"].field_violations] == fields


@BOTH
@pytest.mark.parametrize(
    ("model", "code", "reason"),
    [
        ("no-such-model", "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("providers/nobody/models/m", "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("", "FAILED_PRECONDITION", "NO_ROUTE"),
    ],
)
async def test_a_model_nobody_serves(service, method, model, code, reason):
    error = await failure_of(service, method, asking(model))

    assert error.code().name == code
    assert details(error)["ErrorInfo"].reason == reason


@BOTH
async def test_a_disabled_provider(service, vendor, method):
    name = f"off-{next(_numbers)}"
    await service.add_provider(name, vendor.base_uri, disabled=True)

    error = await failure_of(service, method, asking(f"providers/{name}/models/m"))

    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error)["ErrorInfo"].reason == "PROVIDER_DISABLED"


@BOTH
async def test_a_provider_without_a_key(service, method):
    name = f"keyless-{next(_numbers)}"
    await service.add_provider(name, "", kind="openai", key=None)

    error = await failure_of(service, method, asking(f"providers/{name}/models/gpt-4o-mini"))

    assert details(error)["ErrorInfo"].reason == "PROVIDER_CREDENTIAL_MISSING"


@BOTH
async def test_a_host_nobody_listens_on(service, method):
    name = f"gone-{next(_numbers)}"
    await service.add_provider(name, "http://127.0.0.1:1/v1")

    error = await failure_of(service, method, asking(f"providers/{name}/models/m"))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert details(error)["ErrorInfo"].reason == "PROVIDER_UNREACHABLE"


@BOTH
async def test_a_name_that_leads_to_a_private_address_is_not_dialled(data_folder, method):
    async with running(data_folder, LLM_EGRESS_ALLOW="10.0.0.0/8") as service:
        await service.add_provider("inside", "https://localhost/v1")

        error = await failure_of(service, method, asking("providers/inside/models/m"))

    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error)["ErrorInfo"].reason == "EGRESS_DENIED"


async def creation_failure(service, **provider) -> tuple[grpc.StatusCode, dict]:
    request = admin_pb.CreateProviderRequest(
        provider_id="never", provider=provider_pb2.Provider(**provider)
    )
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await service.admin.CreateProvider(request)
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.admin.GetProvider(admin_pb.GetProviderRequest(name="providers/never"))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    return failure.value.code(), details(failure.value)


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        pytest.param({"kind": "nonesuch"}, "provider.kind", id="kind"),
        pytest.param(
            {"kind": "openai", "base_uri": "https://10.0.0.1/v1"}, "provider.base_uri", id="private"
        ),
        pytest.param(
            {"kind": "openai", "base_uri": "http://169.254.169.254/"},
            "provider.base_uri",
            id="metadata",
        ),
        pytest.param({"kind": "openai", "base_uri": "ftp://x"}, "provider.base_uri", id="scheme"),
        pytest.param({"kind": "openai", "priority": -1}, "provider.priority", id="range"),
    ],
)
async def test_a_bad_provider_is_refused_and_nothing_is_written(service, provider, field):
    code, told = await creation_failure(service, **provider)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [violation.field for violation in told["BadRequest"].field_violations]


async def test_a_message_over_the_limit_is_refused_by_the_library(service):
    error = await failure_of(service, "Complete", asking("echo-1", "x" * (33 * 1024 * 1024)))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
