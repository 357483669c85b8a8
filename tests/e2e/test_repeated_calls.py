"""`request_id` of calls, as callers use it."""

import asyncio
import os
import uuid

import grpc
import pytest
from google.rpc import status_pb2

from llm_service.rpc.stubs import common_pb2, error_pb2
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import embedding_service_pb2 as embedding_pb
from llm_service.rpc.stubs import embedding_service_pb2_grpc as embedding_stubs
from llm_service.vault import Scheme, generate_key
from tests.e2e.service import asking, running
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)
from tests.rpc.administered import refusal

PAIRS = int(os.environ.get("PAIRS", "10"))
KEY = generate_key(Scheme.FERNET_V1)
KEPT = common_pb2.Attribution(tenant="tenants/kept")
ECHO = "echo-1"


@pytest.fixture(scope="module")
async def keeping(started_once, tmp_path_factory):
    """A service that keeps the answers of one tenant."""
    async with running(tmp_path_factory.mktemp("keeping"), LLM_KEEP_ANSWERS="tenants/kept") as one:
        yield one


def some_id() -> str:
    return str(uuid.uuid4())


async def events_of(service, asked):
    return [event async for event in service.completions.StreamComplete(asked, timeout=20)]


def failure_in(error: grpc.aio.AioRpcError) -> error_pb2.CompletionFailure:
    status, failure = status_pb2.Status(), error_pb2.CompletionFailure()
    status.ParseFromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert any(detail.Unpack(failure) for detail in status.details)
    return failure


async def test_a_repeated_call_is_not_made_again_and_says_what_it_cost(service):
    asked = asking(ECHO, "one two", request_id=some_id())
    first = (await service.completions.Complete(asked)).completion

    with pytest.raises(grpc.aio.AioRpcError) as repeated:
        await service.completions.Complete(asked)

    failure = failure_in(repeated.value)
    assert repeated.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert (failure.completion_id, failure.usage) == (first.id, first.usage)
    assert failure.cost.total_nano_usd == first.cost.total_nano_usd
    assert len(await service.records(first.id)) == 1


async def test_an_answer_that_was_kept_is_given_again_whole_and_costs_nothing(keeping):
    asked = asking(ECHO, "one two", request_id=some_id(), attribution=KEPT)

    first = await keeping.completions.Complete(asked)
    again = await keeping.completions.Complete(asked)

    assert again == first


async def test_a_stream_that_was_kept_is_streamed_again(keeping):
    asked = asking(ECHO, "one two", request_id=some_id(), attribution=KEPT)

    first = await events_of(keeping, asked)
    again = await events_of(keeping, asked)

    assert [event.sequence for event in again] == list(range(len(again)))
    assert text_of(again) == text_of(first) != ""
    assert again[0] == first[0]
    assert again[-1].finished == first[-1].finished
    assert not again[-1].finished.HasField("completion")


async def test_who_wants_the_whole_completion_has_it_of_a_repeated_stream_too(keeping):
    options = pb.StreamOptions(include_completion=True)
    asked = asking(ECHO, request_id=some_id(), attribution=KEPT, stream_options=options)

    first = (await events_of(keeping, asked))[-1].finished.completion
    again = (await events_of(keeping, asked))[-1].finished.completion

    assert again == first
    assert first.message.parts[0].text


async def test_who_wants_nothing_kept_is_not_answered_twice(keeping):
    none = pb.CONTENT_RETENTION_NONE
    asked = asking(ECHO, request_id=some_id(), attribution=KEPT, content_retention=none)
    await keeping.completions.Complete(asked)

    refused = await refusal(keeping.completions.Complete(asked))

    assert refused.code == grpc.StatusCode.ALREADY_EXISTS


async def test_another_call_under_the_same_id_is_refused(service):
    request_id = some_id()
    await service.completions.Complete(asking(ECHO, "one", request_id=request_id))

    refused = await refusal(
        service.completions.Complete(asking(ECHO, "two", request_id=request_id))
    )

    assert (refused.code, refused.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED",
    )


async def test_of_two_at_once_one_is_told_to_wait(service, vendor):
    until = asyncio.Event()
    provider_id = f"p-{uuid.uuid4().hex[:8]}"
    await service.add_provider(provider_id, vendor.base_uri)
    vendor.say(b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}')
    vendor.replies[-1].until = until
    asked = asking(f"providers/{provider_id}/models/m", request_id=some_id())
    first = asyncio.ensure_future(service.completions.Complete(asked, timeout=20))
    await vendor.heard.wait()

    refused = await refusal(service.completions.Complete(asked))
    until.set()

    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS")
    assert (await first).completion.message.parts[0].text == "hi"
    assert len(vendor.asked) == 1


async def test_a_call_that_failed_is_made_again(service, vendor):
    provider_id = f"p-{uuid.uuid4().hex[:8]}"
    await service.add_provider(provider_id, vendor.base_uri)
    vendor.say(b'{"error": {"message": "no"}}', status=400)
    vendor.say(b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}')
    asked = asking(f"providers/{provider_id}/models/m", request_id=some_id())

    refused = await refusal(service.completions.Complete(asked))
    answer = await service.completions.Complete(asked)

    assert refused.reason == "PROVIDER_REJECTED_REQUEST"
    assert answer.completion.message.parts[0].text == "hi"


async def test_of_pairs_sent_to_two_replicas_at_once_one_each_is_served(
    postgresql_url,  # noqa: F811
    tmp_path,
):
    environment = {"LLM_DATABASE_URL": postgresql_url, "LLM_ENCRYPTION_KEY": KEY}
    served = 0
    async with (
        running(tmp_path / "one", **environment) as one,
        running(tmp_path / "two", **environment) as two,
    ):
        await one.add_provider("main", "", kind="echo", key="")
        for _ in range(PAIRS):
            asked = asking(ECHO, request_id=some_id())
            pair = [replica.completions.Complete(asked, timeout=60) for replica in (one, two)]
            told = await asyncio.gather(*pair, return_exceptions=True)
            answers = [answer for answer in told if not isinstance(answer, BaseException)]
            assert len(answers) == 1, told
            served += 1
        await two.records()  # which stores what it has not yet stored
        records = await one.records()

    assert served == PAIRS
    assert len(records) == min(PAIRS, 1000)  # a page of them


async def test_embeddings_are_made_once_too(keeping):
    stub = embedding_stubs.EmbeddingServiceStub(keeping.channel)
    asked = embedding_pb.EmbedRequest(
        model="providers/echo/models/anything", request_id=some_id(), attribution=KEPT
    )
    asked.inputs.append(embedding_pb.EmbedInput(text="one two"))

    first = await stub.Embed(asked)

    assert await stub.Embed(asked) == first


def text_of(events) -> str:
    return "".join(event.part_delta.text for event in events if event.HasField("part_delta"))
