"""Embeddings are whole and of one model, or an error; every attempt leaves its record."""

import asyncio
import math

import pytest

from llm_service.domain.completion import Attribution, RoutingOptions, TokenUsage, Warning
from llm_service.domain.content import Media, Modality, Text
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.usage import Operation
from llm_service.errors import (
    CapabilityNotSupported,
    CostLimitExceeded,
    Overloaded,
    ProviderProtocolError,
    ProviderRejectedRequest,
    ProviderUnavailable,
    RequestTooLarge,
)
from llm_service.providers.base import Embeddings
from tests.fakes import FakeAdapter
from tests.unit.two_providers import World

SAID = TokenUsage(5)


def embeddings(*vectors, usage=SAID, **more) -> Embeddings:
    return Embeddings(vectors or ([0.5, 1.0],), usage, "m-2026", **more)


async def embed(world, *texts, seconds_left=None, **fields):
    inputs = tuple(map(Text, texts or ("hello",)))
    request = EmbeddingRequest(**{"model": "m", "inputs": inputs, **fields}, attribution=OURS)
    return await world.embeddings.embed(request, seconds_left)


OURS = Attribution("default")


class Silent:
    """A vendor that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def wait(self) -> None:
        self.asked.set()
        await asyncio.Event().wait()


class Prompt(Silent):
    """A vendor that answers at once."""

    async def wait(self) -> None:
        self.asked.set()


async def test_vectors_come_with_who_made_them_and_what_they_cost():
    world = World(FakeAdapter(embeddings([0.5, 1.0], [0.25, 0.0])))

    answer = await embed(world, "one", "two")

    assert answer.vectors == ([0.5, 1.0], [0.25, 0.0])
    assert answer.usage == SAID
    assert answer.cost.total_nano_usd == 5 * 1000
    assert not answer.cost.incomplete
    assert answer.served_by.model == "providers/one/models/m"
    assert answer.served_by.provider_model == "m-2026"
    assert [attempt.error for attempt in answer.attempts] == [None]


async def test_one_record_is_left_that_says_what_the_call_was_for():
    world = World(FakeAdapter(embeddings()))

    answer = await embed(world)

    (record,) = world.ledger.records
    assert record.operation is Operation.EMBEDDINGS
    assert record.completion_id == answer.id
    assert record.attempt == answer.attempts[0]
    assert (record.finish_reason, record.error_reason) == (None, "")


async def test_everything_asked_for_reaches_the_adapter():
    world = World(FakeAdapter(embeddings([0.5, 1.0, 0.0])))

    await embed(world, "a", dimensions=3, task="query", truncate=True, seconds_left=10)

    (call,) = world.adapters["one"].calls
    assert call.inputs == (Text("a"),)
    assert (call.dimensions, call.task, call.truncate) == (3, "query", True)
    assert call.provider_model == "m"
    assert 9 < call.deadlines.total <= 11


async def test_what_the_adapter_warns_of_is_passed_on():
    warning = Warning("PARAMETER_DROPPED", "task", "left out")
    world = World(FakeAdapter(embeddings(warnings=(warning,))))

    assert (await embed(world)).warnings == (warning,)


async def test_a_vendor_who_does_not_say_what_was_used_is_estimated():
    world = World(FakeAdapter(embeddings(usage=None)))

    answer = await embed(world, "eight by")

    assert answer.usage == TokenUsage(2, estimated=True)
    assert answer.cost.estimated


async def test_another_provider_of_the_model_serves_when_the_first_fails():
    world = World(FakeAdapter(ProviderUnavailable("x")), FakeAdapter(embeddings()))

    answer = await embed(world)

    assert answer.served_by.provider == "providers/two"
    assert world.outcomes() == [("providers/one", "PROVIDER_UNAVAILABLE"), ("providers/two", "")]
    assert answer.usage == SAID
    assert answer.cost.total_nano_usd == (2 + 5) * 1000  # what the first may have done counts too


async def test_what_requests_before_a_refused_one_used_is_charged():
    refusal = ProviderRejectedRequest("x", http_status=400)
    refusal.used_tokens = 3
    world = World(FakeAdapter(refusal))

    with pytest.raises(ProviderRejectedRequest) as failure:
        await embed(world)

    assert world.ledger.records[0].attempt.usage == TokenUsage(3)
    assert failure.value.failure.cost.total_nano_usd == 3 * 1000


async def test_a_request_the_provider_calls_wrong_goes_to_nobody_else():
    world = World(FakeAdapter(ProviderRejectedRequest("x", http_status=400)))

    with pytest.raises(ProviderRejectedRequest) as failure:
        await embed(world)

    assert len(failure.value.failure.attempts) == 1


@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param(([1.0, 2.0],), id="too-few"),
        pytest.param(([1.0, 2.0],) * 3, id="too-many"),
        pytest.param(([1.0, 2.0], [1.0]), id="lengths-differ"),
        pytest.param(([], []), id="empty"),
        pytest.param(([1.0, 2.0], [math.nan, 1.0]), id="nan"),
        pytest.param(([1.0, math.inf], [1.0, 2.0]), id="infinite"),
        pytest.param(([math.inf, -math.inf], [1.0, 2.0]), id="infinite-both-ways"),
        pytest.param(([1e39, 1.0], [1.0, 2.0]), id="too-large-to-send"),
        pytest.param(([1.0, -1e39], [1.0, 2.0]), id="too-small-to-send"),
    ],
)
async def test_vectors_that_would_spoil_an_index_are_an_error_and_are_charged(vectors):
    world = World(FakeAdapter(Embeddings(vectors, SAID)))

    with pytest.raises(ProviderProtocolError):
        await embed(world, "one", "two", routing=RoutingOptions(disable_fallback=True))

    (record,) = world.ledger.records
    assert record.error_reason == "PROVIDER_PROTOCOL_ERROR"
    assert record.attempt.usage == SAID


async def test_no_vectors_at_all_are_an_error():
    world = World(FakeAdapter(Embeddings((), SAID)), FakeAdapter(Embeddings((), SAID)))

    with pytest.raises(ProviderProtocolError):
        await embed(world)


async def test_vectors_of_another_length_than_asked_for_are_an_error():
    world = World(FakeAdapter(embeddings([1.0, 2.0])))

    with pytest.raises(ProviderProtocolError):
        await embed(world, dimensions=3, routing=RoutingOptions(disable_fallback=True))


async def test_others_get_their_turn_while_many_vectors_are_looked_at():
    world = World(FakeAdapter(embeddings(*([1.0],) * 100)))
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    background = asyncio.create_task(others())
    await embed(world, *["x"] * 100)
    background.cancel()

    assert turns >= 3


async def test_vectors_that_no_message_could_hold_are_refused_before_they_are_made():
    world = World(FakeAdapter(embeddings()))

    with pytest.raises(RequestTooLarge) as failure:
        await embed(world, *["x"] * 100, dimensions=4096)

    assert int(failure.value.metadata["limitBytes"]) < 1 << 20
    assert not world.adapters["one"].calls


async def test_vectors_that_no_message_can_hold_are_an_error_once_they_are_there():
    world = World(FakeAdapter(embeddings([0.0] * 300_000)))

    with pytest.raises(RequestTooLarge):
        await embed(world)

    assert world.ledger.records[0].attempt.usage == SAID


async def test_an_image_goes_to_no_model_that_is_known_to_take_text_only():
    world = World(FakeAdapter(), model={"input_modalities": (Modality.TEXT,)})
    image = Media(Modality.IMAGE, uri="https://a.example/x.png")

    with pytest.raises(CapabilityNotSupported) as failure:
        await embed(world, inputs=(Text("a"), image))

    assert failure.value.metadata["field"] == "inputs[1].image"
    assert not world.adapters["one"].calls


async def test_a_call_that_could_cost_more_than_allowed_is_not_made():
    world = World(FakeAdapter(embeddings()))

    with pytest.raises(CostLimitExceeded):
        await embed(world, "x" * 400, routing=RoutingOptions(max_cost_nano_usd=99_999))

    assert not world.adapters["one"].calls


async def test_a_full_ledger_refuses_before_anybody_is_asked():
    world = World(FakeAdapter(embeddings()))
    world.ledger.refusal = Overloaded("full")

    with pytest.raises(Overloaded):
        await embed(world)


async def test_a_caller_who_leaves_is_recorded_as_such():
    vendor = Silent()
    world = World(FakeAdapter(vendor))
    call = asyncio.create_task(embed(world))
    await vendor.asked.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert world.outcomes() == [("providers/one", "CANCELLED")]
    assert world.ledger.records[0].operation is Operation.EMBEDDINGS


async def test_a_caller_who_leaves_after_the_vendor_answered_is_charged_once():
    vendor = Prompt()
    world = World(FakeAdapter(vendor, embeddings(*([1.0],) * 1000)))
    call = asyncio.create_task(embed(world, *["x"] * 1000))
    await vendor.asked.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    (record,) = world.ledger.records
    assert record.error_reason == "CANCELLED"
    assert record.attempt.usage == SAID
