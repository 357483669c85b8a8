"""A call tries its targets in order, tells the truth about each, and leaves one record for each."""

import asyncio
from dataclasses import replace

import pytest

from llm_service.domain.completion import (
    FinishReason,
    GenerationParams,
    RoutingOptions,
    TokenUsage,
)
from llm_service.domain.content import Part, Text
from llm_service.domain.provider import UpstreamTimeouts
from llm_service.errors import (
    CapabilityNotSupported,
    CostLimitExceeded,
    ModelNotFound,
    NoRoute,
    Overloaded,
    ProviderCredentialRejected,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnavailable,
)
from llm_service.gateway.resolution import DefaultModel
from llm_service.providers.base import Accepted, Ended
from tests.fakes import USAGE, FakeAdapter, a_request, an_answer
from tests.unit.two_providers import World


async def test_an_answer_says_who_served_what_was_used_and_what_it_cost():
    world = World(FakeAdapter(an_answer("hi")))

    completion = await world.complete()

    assert completion.message.parts == (Part(Text("hi")),)
    assert completion.finish_reason is FinishReason.STOP
    assert completion.served_by.model == "providers/one/models/m"
    assert completion.served_by.provider_model == "m-2026"
    assert completion.served_by.provider_request_id == "req-1"
    assert completion.usage == USAGE
    assert completion.cost.total_nano_usd == 7 * 1000 + 2 * 2000
    assert completion.cost.price_version == "v1"
    assert len(completion.attempts) == 1


async def test_a_vendors_explanation_reaches_the_caller_and_no_record_or_log(caplog):
    said = "the prompt quoted: canary"
    ended = Ended(FinishReason.OTHER, "odd", USAGE, provider_finish_message=said)
    world = World(
        FakeAdapter(replace(an_answer(), provider_finish_message=said), [[Accepted("m"), ended]])
    )

    whole = await world.complete()
    *_, finished = await world.stream()

    assert whole.provider_finish_message == said
    assert finished.completion.provider_finish_message == said
    assert "canary" not in caplog.text + repr(world.ledger.records) + repr([whole, finished])


async def test_one_record_is_left_with_the_answers_numbers():
    world = World(FakeAdapter(an_answer()))

    completion = await world.complete()

    (record,) = world.ledger.records
    assert record.completion_id == completion.id
    assert record.attempt == completion.attempts[0]
    assert record.finish_reason is FinishReason.STOP
    assert record.error_reason == ""
    assert len(record.trace_id) == 32


async def test_a_vendor_who_does_not_say_what_was_used_is_estimated_and_never_zero():
    world = World(FakeAdapter(an_answer("four word long answer", usage=None)))

    completion = await world.complete(text="a prompt")

    assert completion.usage == TokenUsage(2, 6, estimated=True)
    assert completion.cost.estimated
    assert completion.cost.total_nano_usd > 0


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ProviderUnavailable("x"), id="unavailable"),
        pytest.param(ProviderCredentialRejected("x", http_status=401), id="key"),
        pytest.param(CapabilityNotSupported("x"), id="capability"),
    ],
)
async def test_the_next_target_serves_when_the_first_fails_before_content(error):
    world = World(FakeAdapter(error), FakeAdapter(an_answer()))

    completion = await world.complete()

    assert completion.served_by.provider == "providers/two"
    assert [a.error.reason if a.error else "" for a in completion.attempts] == [error.reason, ""]
    assert world.outcomes() == [("providers/one", error.reason), ("providers/two", "")]


async def test_a_request_the_provider_calls_wrong_goes_to_nobody_else():
    world = World(
        FakeAdapter(ProviderRejectedRequest("x", http_status=400)), FakeAdapter(an_answer())
    )

    with pytest.raises(ProviderRejectedRequest) as failure:
        await world.complete()

    assert world.outcomes() == [("providers/one", "PROVIDER_REJECTED_REQUEST")]
    assert failure.value.failure.attempts[0].usage is None


@pytest.mark.parametrize(
    ("error", "charged"),
    [
        pytest.param(ProviderUnavailable("x", http_status=503), False, id="refused"),
        pytest.param(CapabilityNotSupported("x"), False, id="never-sent"),
        pytest.param(ProviderTimeout("x"), True, id="silent"),
        pytest.param(ProviderProtocolError("x"), True, id="garbled"),
    ],
)
async def test_a_failed_attempt_is_charged_when_the_vendor_may_have_worked(error, charged):
    world = World(FakeAdapter(error))

    with pytest.raises(type(error)):
        await world.complete(routing=RoutingOptions(disable_fallback=True))

    attempt = world.ledger.records[0].attempt
    assert (attempt.usage is not None) == charged
    assert (attempt.cost is not None) == charged


async def test_fallback_can_be_switched_off():
    world = World(FakeAdapter(ProviderUnavailable("x")), FakeAdapter(an_answer()))

    with pytest.raises(ProviderUnavailable):
        await world.complete(routing=RoutingOptions(disable_fallback=True))

    assert world.outcomes() == [("providers/one", "PROVIDER_UNAVAILABLE")]


async def test_when_any_failure_may_pass_the_answer_is_to_try_again_after_the_shortest_delay():
    world = World(
        FakeAdapter(ProviderRateLimited("x", retry_delay=9)),
        FakeAdapter(ProviderUnavailable("x", retry_delay=4)),
    )

    with pytest.raises(ProviderUnavailable) as failure:
        await world.complete(routing=RoutingOptions(max_attempts=2))

    assert failure.value.retry_delay == 4
    assert len(failure.value.failure.attempts) == 2


async def test_rate_limits_everywhere_stay_rate_limits():
    world = World(
        FakeAdapter(ProviderRateLimited("x", retry_delay=9)),
        FakeAdapter(ProviderRateLimited("x", retry_delay=3)),
    )

    with pytest.raises(ProviderRateLimited) as failure:
        await world.complete(routing=RoutingOptions(max_attempts=2))

    assert failure.value.retry_delay == 3


async def test_a_rate_limit_beside_another_failure_is_not_the_whole_truth():
    world = World(
        FakeAdapter(ProviderRateLimited("x", retry_delay=9)),
        FakeAdapter(ProviderProtocolError("x")),
    )

    with pytest.raises(ProviderUnavailable) as failure:
        await world.complete(routing=RoutingOptions(max_attempts=2))

    assert failure.value.retry_delay == 9
    assert isinstance(failure.value.__cause__, ProviderRateLimited)


class Silent(FakeAdapter):
    """A vendor who says nothing for as long as it may."""

    async def complete(self, call):
        await asyncio.sleep(call.deadlines.total)
        raise ProviderTimeout("x")


async def test_nobody_else_is_tried_once_the_callers_deadline_has_passed(monkeypatch):
    monkeypatch.setattr("llm_service.gateway.call._GRACE_SECONDS", 0.01)
    world = World(Silent(), FakeAdapter(an_answer()))

    with pytest.raises(ProviderTimeout):
        await world.complete(seconds_left=0.1)

    assert world.outcomes() == [("providers/one", "DEADLINE_EXCEEDED")]


async def test_nobody_is_asked_when_no_time_is_left(monkeypatch):
    monkeypatch.setattr("llm_service.gateway.call._GRACE_SECONDS", 0.01)
    world = World(FakeAdapter(an_answer()))

    with pytest.raises(ProviderTimeout) as failure:
        await world.complete(seconds_left=0.0)

    assert failure.value.failure.attempts == ()
    assert world.outcomes() == []


async def test_a_caller_whose_time_is_up_hears_it_from_grpc_and_not_from_us():
    world = World(Silent())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):  # as gRPC ends a call at its deadline
            await world.complete(seconds_left=0.1)

    assert world.outcomes() == [("providers/one", "DEADLINE_EXCEEDED")]


async def test_when_no_failure_may_pass_the_first_targets_is_told():
    world = World(
        FakeAdapter(ProviderCredentialRejected("x")), FakeAdapter(CapabilityNotSupported("x"))
    )

    with pytest.raises(ProviderCredentialRejected):
        await world.complete()


@pytest.mark.parametrize(("model", "error"), [("m", ModelNotFound), ("", NoRoute)])
async def test_a_model_the_vendor_does_not_know_is_the_mistake_of_whoever_named_it(model, error):
    unknown = ModelNotFound("x", http_status=404)
    world = World(FakeAdapter(unknown), FakeAdapter(unknown))
    world.completions._default_model = DefaultModel("m")

    with pytest.raises(error):
        await world.complete(model=model)


async def test_a_full_ledger_refuses_before_anybody_is_asked():
    world = World(FakeAdapter(an_answer()))
    world.ledger.refusal = Overloaded("full")

    with pytest.raises(Overloaded):
        await world.complete()

    assert not world.adapters["one"].calls


async def test_a_caller_whose_deadline_passes_is_recorded_as_such():
    world = World(FakeAdapter(asyncio.Event()))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await world.complete(seconds_left=0.05)

    assert world.outcomes() == [("providers/one", "DEADLINE_EXCEEDED")]


async def test_a_bug_is_recorded_too():
    world = World(FakeAdapter(ZeroDivisionError("a bug")))

    with pytest.raises(ZeroDivisionError):
        await world.complete()

    assert world.outcomes() == [("providers/one", "INTERNAL")]


@pytest.mark.parametrize(
    ("limit", "refused"),
    [pytest.param(10**9, False, id="above"), pytest.param(100, True, id="below")],
)
async def test_a_call_that_could_cost_more_than_allowed_is_refused_before_it_is_made(
    limit, refused
):
    world = World(FakeAdapter(an_answer()), FakeAdapter(an_answer()))
    routing = RoutingOptions(max_cost_nano_usd=limit)

    if refused:
        with pytest.raises(CostLimitExceeded):
            await world.complete(routing=routing)
        assert not world.adapters["one"].calls
    else:
        assert (await world.complete(routing=routing)).usage == USAGE


async def test_deadlines_are_the_smallest_of_what_everybody_allows():
    world = World(
        FakeAdapter(an_answer()),
        timeouts=UpstreamTimeouts(connect=1, first_token=8, idle=50, attempt=20),
    )

    await world.complete(seconds_left=10, routing=RoutingOptions(first_token_timeout=6))

    deadlines = world.adapters["one"].calls[0].deadlines
    assert deadlines.connect == 1
    assert deadlines.first_token == 6
    assert 9 < deadlines.total <= 9.95  # ten, and a reserve for what follows an attempt
    assert deadlines.idle <= deadlines.total


async def test_stored_parameters_fill_in_what_the_request_leaves_open():
    world = World(FakeAdapter(an_answer()))
    view = world.completions._configuration._view
    provider, model = view.offers["m"][0]
    stored = GenerationParams(temperature=0.1, top_p=0.5, stop_sequences=("END",))
    offers = {"m": ((provider, replace(model, default_params=stored)),)}
    world.completions._configuration._view = replace(view, offers=offers)

    await world.complete(params=GenerationParams(temperature=0.9))

    params = world.adapters["one"].calls[0].params
    assert (params.temperature, params.top_p, params.stop_sequences) == (0.9, 0.5, ("END",))


async def test_what_this_version_ignores_is_said():
    world = World(FakeAdapter(an_answer()))

    completion = await world.complete(response_cache=True)

    assert [w.field for w in completion.warnings] == ["response_cache"]


async def test_tokens_are_counted_by_the_first_target():
    count = await World(FakeAdapter()).completions.count_tokens(a_request(), None)

    assert (count.model, count.input_tokens, count.estimated) == (
        "providers/one/models/m",
        11,
        True,
    )


class Uncounting(FakeAdapter):
    """A vendor whose counter is away."""

    async def count_tokens(self, call):
        raise ProviderUnavailable("x")


async def test_a_target_that_cannot_count_keeps_no_chain_from_being_priced():
    world = World(FakeAdapter(), Uncounting())

    first, second = await world.completions.estimate_cost(
        a_request(text="eight by"), None, expected_output_tokens=10, all_targets=True
    )

    assert (first.input_tokens, second.input_tokens) == (11, 2)
    assert second.expected_nano_usd == 2 * 1000 + 10 * 2000


async def test_one_target_that_cannot_count_says_so():
    with pytest.raises(ProviderUnavailable):
        await World(Uncounting()).completions.estimate_cost(
            a_request(), None, expected_output_tokens=10, all_targets=False
        )


async def test_an_estimate_has_an_expected_and_a_largest_cost():
    world = World(FakeAdapter(), FakeAdapter())

    one = await world.completions.estimate_cost(
        a_request(), None, expected_output_tokens=10, all_targets=False
    )
    both = await world.completions.estimate_cost(
        a_request(), None, expected_output_tokens=None, all_targets=True
    )

    assert one[0].expected_nano_usd == 11 * 1000 + 10 * 2000
    assert one[0].max_nano_usd == 11 * 1000 + 100 * 2000
    assert [estimate.model for estimate in both] == [
        "providers/one/models/m",
        "providers/two/models/m",
    ]
    assert both[0].expected_nano_usd is None
