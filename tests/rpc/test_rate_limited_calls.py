"""Rate limits as callers of the service meet them."""

import shutil

import grpc
import pytest
from google.protobuf import field_mask_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from llm_service.domain.access import Role
from llm_service.rpc.stubs import access_service_pb2 as pb
from llm_service.rpc.stubs import (
    completion_pb2,
    content_pb2,
    embedding_service_pb2,
    provider_admin_service_pb2,
    provider_pb2,
)
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_grpc
from llm_service.rpc.stubs import embedding_service_pb2_grpc as embedding_grpc
from tests.rpc.guarded import OWN, bearer, guarded, number_of, outcome


@pytest.fixture
async def service(embedded_folder, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(embedded_folder, folder)
    async with guarded(folder, LLM_RATE_LIMIT_PER_MINUTE="3", LLM_RATE_LIMIT_PER_DAY="100") as one:
        yield one


def saying(**fields) -> completion_pb2.CompletionRequest:
    part = content_pb2.ContentPart(text="hi")
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])
    return completion_pb2.CompletionRequest(model="echo-1", messages=[message], **fields)


async def refusal(call) -> dict[str, object]:
    """The details of the refusal that a call ends with, by the names of their types."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    assert failure.value.code() is StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(failure.value.trailing_metadata())
    told = {}
    for detail in status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details:
        kind = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2], None)
        if kind is not None:
            told[kind.__name__] = kind.FromString(detail.value)
    assert told["ErrorInfo"].reason == "RATE_LIMITED"
    return told


async def drained(stream) -> None:
    async for _ in stream:
        pass


async def a_key(service, **limits) -> tuple[pb.ClientKey, tuple]:
    wanted = pb.ClientKey(
        roles=[number_of(Role.INVOKE)], rate_limits=provider_pb2.RateLimits(**limits)
    )
    made = await service.access.CreateClientKey(
        pb.CreateClientKeyRequest(parent=f"tenants/{OWN}", client_key=wanted),
        metadata=bearer(service.operator),
    )
    return made.client_key, bearer(made.key_text)


async def test_a_tenant_has_the_requests_that_the_settings_say_whichever_way_it_calls(service):
    completions = completion_grpc.CompletionServiceStub(service.channel)
    embeddings = embedding_grpc.EmbeddingServiceStub(service.channel)
    by = bearer(service.keys[Role.INVOKE])
    await completions.Complete(saying(), metadata=by)
    await drained(completions.StreamComplete(saying(), metadata=by))
    embedding = embedding_service_pb2.EmbedRequest(
        model="echo-embed", inputs=[embedding_service_pb2.EmbedInput(text="hi")]
    )
    await outcome(embeddings.Embed(embedding, metadata=by))

    for call in (
        lambda: completions.Complete(saying(), metadata=by),
        lambda: drained(completions.StreamComplete(saying(), metadata=by)),
        lambda: embeddings.Embed(embedding, metadata=by),
    ):
        told = await refusal(call())
        [violation] = told["QuotaFailure"].violations
        assert (violation.subject, violation.quota_metric, violation.quota_value) == (
            f"tenants/{OWN}",
            "requests_per_minute",
            3,
        )
        assert 50 < told["RetryInfo"].retry_delay.ToTimedelta().total_seconds() <= 61


async def test_a_client_key_is_made_with_limits_read_back_and_held_to_them(service):
    key, by = await a_key(service, requests_per_day=1, tokens_per_day=1000)
    completions = completion_grpc.CompletionServiceStub(service.channel)
    assert key.rate_limits == provider_pb2.RateLimits(requests_per_day=1, tokens_per_day=1000)

    await completions.Complete(saying(), metadata=by)
    told = await refusal(completions.Complete(saying(), metadata=by))

    assert told["QuotaFailure"].violations[0].subject == key.name
    assert told["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 86_000


async def test_a_changed_limit_holds_with_the_next_call_and_forgets_nothing(service):
    key, by = await a_key(service, requests_per_minute=1)
    completions = completion_grpc.CompletionServiceStub(service.channel)
    await completions.Complete(saying(), metadata=by)
    change = pb.UpdateClientKeyRequest(
        client_key=pb.ClientKey(
            name=key.name, rate_limits=provider_pb2.RateLimits(requests_per_minute=2)
        ),
        update_mask=field_mask_pb2.FieldMask(paths=["rate_limits"]),
    )
    await service.access.UpdateClientKey(change, metadata=bearer(service.operator))

    await completions.Complete(saying(), metadata=by)
    await refusal(completions.Complete(saying(), metadata=by))


@pytest.mark.parametrize("value", [0, -1])
async def test_a_limit_that_nothing_fits_into_is_refused_by_field(service, value):
    wanted = pb.ClientKey(
        roles=[number_of(Role.INVOKE)],
        rate_limits=provider_pb2.RateLimits(tokens_per_minute=value),
    )
    call = service.access.CreateClientKey(
        pb.CreateClientKeyRequest(client_key=wanted), metadata=bearer(service.operator)
    )

    ended = await outcome(call)

    assert ended.code is StatusCode.INVALID_ARGUMENT
    assert "client_key.rate_limits.tokens_per_minute" in ended.details


async def test_a_provider_at_its_limit_says_so_when_no_other_can_serve(service):
    by = bearer(service.operator)
    change = provider_admin_service_pb2.UpdateProviderRequest(
        provider=provider_pb2.Provider(
            name="providers/echo", rate_limits=provider_pb2.RateLimits(requests_per_minute=1)
        ),
        update_mask=field_mask_pb2.FieldMask(paths=["rate_limits"]),
    )
    await service.admin.UpdateProvider(change, metadata=by)
    completions = completion_grpc.CompletionServiceStub(service.channel)
    own = bearer(service.keys[Role.INVOKE])
    await completions.Complete(saying(), metadata=own)

    told = await refusal(completions.Complete(saying(), metadata=own))

    assert told["QuotaFailure"].violations[0].subject == "providers/echo"
    assert told["ErrorInfo"].metadata["provider"] == "providers/echo"
    assert told["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 50
