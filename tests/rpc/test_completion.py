"""Counting tokens and estimating costs, as a caller of the whole service sees them."""

import grpc
import pytest

from llm_service.rpc.stubs import completion_service_pb2 as pb
from llm_service.rpc.stubs import content_pb2, generation_pb2
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs.model_pb2 import Model
from tests.e2e.service import asking, running
from tests.rpc.administered import refusal

CODE = grpc.StatusCode
ECHO = "providers/echo/models/echo-1"
UNPRICED = "providers/unpriced/models/m"


@pytest.fixture(scope="module")
async def whole(tmp_path_factory):
    """A service with echo, and a provider whose models have no known price."""
    async with running(tmp_path_factory.mktemp("service")) as service:
        await service.add_provider("unpriced", "http://127.0.0.1:9/v1")
        await add_model(service, "unpriced", "m", provider_model="m", max_output_tokens=50)
        yield service


async def add_model(service, provider_id, model_id, **fields):
    await service.admin.CreateModel(
        admin_pb.CreateModelRequest(
            parent=f"providers/{provider_id}", model_id=model_id, model=Model(**fields)
        )
    )


async def counted(service, completion):
    return await service.completions.CountTokens(pb.CountTokensRequest(completion=completion))


async def estimated(service, completion, **fields):
    answer = await service.completions.EstimateCost(
        pb.EstimateCostRequest(completion=completion, **fields)
    )
    return list(answer.estimates)


async def test_echo_counts_exactly_and_says_so(whole):
    count = await counted(whole, asking("echo-1", "one two three"))

    assert count == pb.CountTokensResponse(model=ECHO, input_tokens=3, estimated=False)


async def test_what_is_counted_is_what_the_call_then_uses(whole):
    asked = asking("echo-1", "so many words as there are")

    count = await counted(whole, asked)
    answer = await whole.completions.Complete(asked)

    assert count.input_tokens == answer.completion.usage.input_tokens


async def test_a_provider_that_cannot_count_is_estimated_without_being_called(whole):
    count = await counted(whole, asking(UNPRICED, "12345678"))

    assert count.model == UNPRICED
    assert count.input_tokens > 0
    assert count.estimated


async def test_counting_and_estimating_leave_no_record(whole):
    before = await whole.records()

    await counted(whole, asking("echo-1"))
    await estimated(whole, asking("echo-1"))

    assert await whole.records() == before


async def test_echo_costs_nothing_and_that_is_known(whole):
    params = generation_pb2.GenerationParams(max_output_tokens=10)

    (estimate,) = await estimated(
        whole, asking("echo-1", "one two", params=params), expected_output_tokens=5
    )

    assert (estimate.model, estimate.input_tokens, estimate.max_output_tokens) == (ECHO, 2, 10)
    assert estimate.HasField("expected_nano_usd")
    assert estimate.HasField("max_nano_usd")
    assert (estimate.expected_nano_usd, estimate.max_nano_usd) == (0, 0)
    assert estimate.price_version == "built-in"


async def test_a_price_nobody_knows_is_unset_and_never_free(whole):
    (estimate,) = await estimated(whole, asking(UNPRICED), expected_output_tokens=5)

    assert (estimate.model, estimate.max_output_tokens) == (UNPRICED, 50)
    assert not estimate.HasField("expected_nano_usd")
    assert not estimate.HasField("max_nano_usd")
    assert estimate.price_version == ""


async def test_no_expected_output_has_no_expected_cost(whole):
    (without,) = await estimated(whole, asking("echo-1"))
    (nothing,) = await estimated(whole, asking("echo-1"), expected_output_tokens=0)

    assert not without.HasField("expected_nano_usd")
    assert nothing.HasField("expected_nano_usd")


async def test_only_the_first_target_is_estimated_unless_all_are_asked_for(whole):
    asked = asking(
        "echo-1", routing=generation_pb2.RoutingOptions(fallback_models=[UNPRICED, "echo-1"])
    )

    first = await estimated(whole, asked)
    chain = await estimated(whole, asked, all_targets=True)

    assert [estimate.model for estimate in first] == [ECHO]
    assert [estimate.model for estimate in chain] == [ECHO, UNPRICED]


async def test_a_negative_expectation_is_refused(whole):
    refused = await refusal(estimated(whole, asking("echo-1"), expected_output_tokens=-1))

    assert (refused.code, refused.reason) == (CODE.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == ("expected_output_tokens",)


@pytest.mark.parametrize("ask", [counted, estimated])
async def test_a_bad_field_is_named_inside_its_completion(whole, ask):
    params = generation_pb2.GenerationParams(temperature=3)

    refused = await refusal(ask(whole, asking("echo-1", params=params)))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.fields == ("completion.params.temperature",)


@pytest.mark.parametrize("ask", [counted, estimated])
async def test_a_request_without_a_completion_is_refused(whole, ask):
    refused = await refusal(ask(whole, None))

    assert refused.fields == ("completion.messages",)


@pytest.mark.parametrize("ask", [counted, estimated])
async def test_a_model_nobody_serves_is_not_found(whole, ask):
    refused = await refusal(ask(whole, asking("nobodys-model")))

    assert (refused.code, refused.reason) == (CODE.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_media_are_counted_by_nobody_but_refused_by_nobody_either(whole):
    image = content_pb2.ContentPart(image=content_pb2.Media(uri="https://a.example/x.png"))
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[image])
    asked = asking("echo-1", "one")
    asked.messages.append(message)

    assert (await counted(whole, asked)).input_tokens == 1
