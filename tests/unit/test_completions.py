"""A call tries its targets in order, tells the truth about each, and leaves one record for each."""

import asyncio
from contextlib import aclosing

import pytest

from llm_service.domain.completion import (
    CompletionFinished,
    CompletionStarted,
    DeltaKind,
    Fallback,
    FinishReason,
    GenerationParams,
    Heartbeat,
    MidStreamFailure,
    PartDelta,
    PartStarted,
    Preference,
    RoutingOptions,
    TokenUsage,
    UsageUpdate,
)
from llm_service.domain.content import Part, Text
from llm_service.domain.provider import Price, PriceItem, UpstreamTimeouts
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
    ProviderUnavailable,
    StreamInterrupted,
)
from llm_service.gateway.completions import CallLimits, Completions
from llm_service.gateway.configuration import Owned, view_of
from llm_service.gateway.manager import ProviderManager
from llm_service.providers.base import Accepted
from llm_service.telemetry import Telemetry
from llm_service.vault import Vault
from tests.fakes import (
    USAGE,
    FakeAdapter,
    FakeLedger,
    a_model,
    a_provider,
    a_request,
    a_stream,
    an_answer,
)

PRICE = Price(
    "v1", (PriceItem("input-tokens", 1_000_000_000), PriceItem("output-tokens", 2_000_000_000))
)
BEGUN = [Accepted("m-2026", "req-1")], [PartStarted(0, Part(Text("")))]


class FakeConfiguration:
    def __init__(self, view):
        self._view = view

    async def view(self, tenant):
        return self._view


class World:
    """Two providers, one and two, that both serve "m"; each answers from its adapter's script."""

    def __init__(self, first: FakeAdapter, second: FakeAdapter | None = None, **changes):
        self.adapters = {"one": first, "two": second or FakeAdapter()}
        providers = [
            a_provider(
                name, "openai-compatible", priority=n, base_uri=f"https://{name}.example", **changes
            )
            for n, name in enumerate(self.adapters)
        ]
        models = {p.name: (a_model(p, price=PRICE, max_output_tokens=100),) for p in providers}
        view = view_of(1, Owned(tuple(providers), {}, models), Owned((), {}, {}), "default")
        self.ledger = FakeLedger()
        self.telemetry = Telemetry.start(service_version="test")
        manager = ProviderManager(Vault(None, "d"), None, {}, self._connect)
        self.completions = Completions(
            FakeConfiguration(view),
            manager,
            self.ledger,
            self.telemetry,
            limits=CallLimits(total=30),
        )

    def _connect(self, kind, account, egress):
        return self.adapters[account.base_uri.removeprefix("https://").split(".")[0]]

    async def complete(self, seconds_left=None, **changes):
        return await self.completions.complete(a_request(**changes), seconds_left)

    async def stream(self, events=None, **changes):
        """Every event; also into the list given, which keeps them if the stream breaks."""
        events = [] if events is None else events
        async with aclosing(self.completions.stream(a_request(**changes), None)) as batches:
            async for batch in batches:
                events.extend(batch)
        return events

    def outcomes(self):
        return [(r.attempt.target.provider, r.error_reason) for r in self.ledger.records]


def text_of(events) -> str:
    return "".join(event.text for event in events if isinstance(event, PartDelta))


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
        await world.complete()

    assert failure.value.retry_delay == 4
    assert len(failure.value.failure.attempts) == 2


async def test_rate_limits_everywhere_stay_rate_limits():
    world = World(
        FakeAdapter(ProviderRateLimited("x", retry_delay=9)),
        FakeAdapter(ProviderRateLimited("x", retry_delay=3)),
    )

    with pytest.raises(ProviderRateLimited) as failure:
        await world.complete()

    assert failure.value.retry_delay == 3


async def test_when_no_failure_may_pass_the_first_targets_is_told():
    world = World(
        FakeAdapter(ProviderCredentialRejected("x")), FakeAdapter(CapabilityNotSupported("x"))
    )

    with pytest.raises(ProviderCredentialRejected):
        await world.complete()


@pytest.mark.parametrize(("model", "error"), [("m", ModelNotFound), ("", NoRoute)])
async def test_a_model_the_vendor_does_not_know_is_the_mistake_of_whoever_named_it(model, error):
    world = World(FakeAdapter(ModelNotFound("x", http_status=404)))
    world.completions._default_model = "m"

    with pytest.raises(error):
        await world.complete(model=model)


async def test_a_full_ledger_refuses_before_anybody_is_asked():
    world = World(FakeAdapter(an_answer()))
    world.ledger.refusal = Overloaded("full")

    with pytest.raises(Overloaded):
        await world.complete()

    assert not world.adapters["one"].calls


async def test_a_stream_is_started_by_its_first_content_and_finished_last():
    world = World(FakeAdapter(a_stream("he", "llo")))

    events = await world.stream()

    assert [type(event).__name__ for event in events] == [
        "CompletionStarted",
        "PartStarted",
        "PartDelta",
        "PartDelta",
        "PartFinished",
        "CompletionFinished",
    ]
    finished = events[-1].completion
    assert events[0].id == finished.id
    assert finished.usage == USAGE
    assert finished.timings.first_token is not None
    assert finished.message.parts == ()


async def test_the_whole_completion_is_in_the_last_event_when_asked_for():
    world = World(FakeAdapter(a_stream("he", "llo")))

    events = await world.stream(include_completion=True)

    assert events[-1].include_completion
    assert events[-1].completion.message.parts == (Part(Text("hello")),)


async def test_a_failure_before_content_is_invisible_but_for_the_list_of_attempts():
    world = World(FakeAdapter([*BEGUN[:1], ProviderUnavailable("x")]), FakeAdapter(a_stream("ok")))

    events = await world.stream()

    assert isinstance(events[0], CompletionStarted)
    assert events[0].served_by.provider == "providers/two"
    assert [a.error.reason for a in events[0].failed_attempts] == ["PROVIDER_UNAVAILABLE"]
    assert text_of(events) == "ok"


async def test_a_stream_that_breaks_after_content_ends_with_a_typed_error_and_partial_usage():
    broken = [*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hel")], ProviderUnavailable("x")]
    world = World(FakeAdapter(broken), FakeAdapter(a_stream("never")))
    seen = []

    with pytest.raises(StreamInterrupted) as failure:
        await world.stream(seen)

    assert text_of(seen) == "hel"
    assert failure.value.failure.content_sent
    assert failure.value.failure.usage.estimated
    assert failure.value.metadata["contentSent"] == "true"
    assert world.outcomes() == [("providers/one", "PROVIDER_UNAVAILABLE")]
    assert world.ledger.records[0].attempt.usage.output_tokens == 1


async def test_a_caller_who_can_start_over_gets_a_fallback_event_and_a_whole_answer():
    broken = [*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hel")], ProviderUnavailable("x")]
    world = World(FakeAdapter(broken), FakeAdapter(a_stream("again")))

    events = await world.stream(
        mid_stream_failure=MidStreamFailure.RESTART, include_completion=True
    )

    at = next(n for n, event in enumerate(events) if isinstance(event, Fallback))
    assert text_of(events[:at]) == "hel"
    assert text_of(events[at:]) == "again"
    assert events[at].served_by.provider == "providers/two"
    assert events[-1].completion.message.parts == (Part(Text("again")),)
    assert len(events[-1].completion.attempts) == 2


async def test_a_stream_that_just_stops_is_an_error_and_never_a_short_answer():
    world = World(FakeAdapter([*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hel")]]))

    with pytest.raises(StreamInterrupted) as failure:
        await world.stream()

    assert isinstance(failure.value.__cause__, ProviderProtocolError)


async def test_the_vendors_running_count_is_passed_on_and_used_when_the_stream_breaks():
    counted = TokenUsage(5, 9)
    broken = [
        *BEGUN,
        [PartDelta(0, DeltaKind.TEXT, "hel"), UsageUpdate(counted)],
        ProviderUnavailable("x"),
    ]
    world = World(FakeAdapter(broken))

    with pytest.raises(StreamInterrupted) as failure:
        await world.stream(routing=RoutingOptions(disable_fallback=True))

    assert failure.value.failure.usage == counted


async def test_a_caller_who_leaves_mid_stream_is_charged_for_what_it_got():
    silence = asyncio.Event()
    world = World(FakeAdapter([*BEGUN, [PartDelta(0, DeltaKind.TEXT, "hello wor")], silence]))
    stream = world.completions.stream(a_request(text="a prompt"), None)

    await anext(stream)
    await anext(stream)
    await stream.aclose()

    (record,) = world.ledger.records
    assert record.error_reason == "CANCELLED"
    assert record.attempt.usage == TokenUsage(2, 3, estimated=True)
    assert record.attempt.cost.total_nano_usd > 0
    assert world.adapters["one"].streams_closed == 1


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


async def test_heartbeats_come_while_nothing_else_does():
    silence = asyncio.Event()
    world = World(FakeAdapter([*BEGUN, silence, *a_stream("late")[2:]]))
    beats = 0
    events = []

    stream = world.completions.stream(a_request(heartbeat_seconds=0.01), None)
    async with aclosing(stream):
        async for batch in stream:
            events.extend(batch)
            beats += sum(isinstance(event, Heartbeat) for event in batch)
            if beats == 3:
                silence.set()

    assert beats >= 3
    assert text_of(events) == "late"
    assert isinstance(events[-1], CompletionFinished)


async def test_leaving_a_stream_with_heartbeats_closes_it():
    world = World(FakeAdapter([*BEGUN, asyncio.Event()]))
    stream = world.completions.stream(a_request(heartbeat_seconds=0.01), None)
    async for batch in stream:
        if isinstance(batch[0], Heartbeat):
            break

    await stream.aclose()

    assert world.adapters["one"].streams_closed == 1
    assert world.outcomes() == [("providers/one", "CANCELLED")]


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
    assert 9 < deadlines.total < 10.3
    assert deadlines.idle <= deadlines.total


async def test_stored_parameters_fill_in_what_the_request_leaves_open():
    world = World(FakeAdapter(an_answer()))
    view = world.completions._configuration._view
    provider, model = view.offers["m"][0]
    stored = GenerationParams(temperature=0.1, top_p=0.5, stop_sequences=("END",))
    model = type(model)(
        **{**{f: getattr(model, f) for f in model.__dataclass_fields__}, "default_params": stored}
    )
    view.offers["m"] = ((provider, model),)

    await world.complete(params=GenerationParams(temperature=0.9))

    params = world.adapters["one"].calls[0].params
    assert (params.temperature, params.top_p, params.stop_sequences) == (0.9, 0.5, ("END",))


async def test_what_this_version_ignores_is_said():
    world = World(FakeAdapter(an_answer()))

    completion = await world.complete(
        routing=RoutingOptions(preference=Preference.COST), response_cache=True
    )

    assert [w.field for w in completion.warnings] == ["routing.preference", "response_cache"]


async def test_tokens_are_counted_by_the_first_target():
    count = await World(FakeAdapter()).completions.count_tokens(a_request(), None)

    assert (count.model, count.input_tokens, count.estimated) == (
        "providers/one/models/m",
        11,
        True,
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
