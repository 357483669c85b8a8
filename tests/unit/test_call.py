"""How long a call may take, and what is said when every target failed."""

import gc
import weakref

import pytest

from llm_service.domain.completion import (
    Attempt,
    CallError,
    Cost,
    CostItem,
    ModalityTokens,
    Preference,
    RoutingOptions,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.content import Modality
from llm_service.errors import (
    EgressDenied,
    ModelNotFound,
    NoRoute,
    ProviderCredentialMissing,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    StreamInterrupted,
)
from llm_service.gateway.call import CompletionCall, call_error
from llm_service.gateway.targets import Target
from llm_service.gateway.totals import total_cost
from tests.fakes import NOW, a_model, a_provider, a_request

PROVIDER = a_provider()
TARGET = Target(PROVIDER, a_model(PROVIDER), None)
SERVED_BY = ServedBy("providers/p", "providers/p/models/m")


def a_call(targets=2, seconds_left=None, limit=30.0, **request) -> CompletionCall:
    call = CompletionCall(a_request(**request), seconds_left, limit)
    call.take((TARGET,) * targets)
    return call


def attempted(**changes) -> Attempt:
    return Attempt(SERVED_BY, NOW, 1.0, CallError("PROVIDER_UNAVAILABLE", "x"), **changes)


async def told(*errors, **request):
    """What the caller is told after these failures."""
    call = a_call(targets=len(errors), **request)
    for error in errors:
        await call.next_target()
        call.note(error)
    return call.failure()


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds_left", "expected"),
    [
        pytest.param(None, 30, id="no deadline"),
        pytest.param(60, 30, id="a deadline beyond the limit"),
        pytest.param(10, 9.95, id="a deadline within it, and a little less"),
        pytest.param(0.1, 0.09, id="a short deadline, and a share of it less"),
        pytest.param(0.0, 0, id="a deadline that has come"),
    ],
)
async def test_a_call_ends_at_the_limit_or_just_before_the_callers_deadline(seconds_left, expected):
    call = a_call(seconds_left=seconds_left)

    assert call.by - call.started == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds_left", "reason"),
    [(None, "CANCELLED"), (60, "CANCELLED"), (0.0, "DEADLINE_EXCEEDED")],
)
async def test_a_caller_who_is_gone_left_or_ran_out_of_time(seconds_left, reason):
    assert a_call(seconds_left=seconds_left).left_because == reason


# --- what the caller is told ----------------------------------------------------------------------


async def test_a_failure_that_may_pass_is_preferred_over_one_that_will_not():
    unavailable = ProviderUnavailable("x")

    assert await told(ProviderCredentialMissing("x"), unavailable) is unavailable


async def test_an_outage_is_preferred_over_a_rate_limit_with_the_shortest_delay_of_all():
    timeout = ProviderTimeout("x")

    error = await told(ProviderRateLimited("x", retry_delay=3), timeout)

    assert error is timeout
    assert error.retry_delay == 3


async def test_without_any_delay_none_is_told():
    assert (await told(ProviderRateLimited("x"), ProviderRateLimited("y"))).retry_delay is None


async def test_when_nothing_may_pass_the_first_failure_is_told():
    first = ProviderCredentialMissing("x")

    assert await told(first, EgressDenied("y")) is first


async def test_a_default_model_the_vendor_does_not_know_is_not_the_callers_mistake():
    unknown = ModelNotFound("x")

    named, unnamed = await told(unknown, model="m"), await told(unknown, model="")

    assert named is unknown
    assert isinstance(unnamed, NoRoute)
    assert unnamed.__cause__ is unknown


async def test_an_answer_that_broke_off_names_its_cause_and_nothing_of_the_vendors():
    call = a_call()
    call.attempts.append(attempted())
    call.content_sent = True
    last = ProviderUnavailable("x", retry_delay=2, provider_code="overloaded")
    await call.next_target()
    call.note(last)

    error = call.failure()

    assert isinstance(error, StreamInterrupted)
    assert error.metadata == {"contentSent": "true", "cause": "PROVIDER_UNAVAILABLE"}
    assert error.retry_delay == 2
    assert error.__cause__ is last
    assert error.failure.content_sent


async def test_a_failure_holds_every_attempt_and_the_sum_of_what_they_used():
    call = a_call()
    first = TokenUsage(1, 2, 3, 4, 5, cache_write_1h_input_tokens=2)
    second = TokenUsage(10, 20, 30, 40, 50, estimated=True, cache_write_1h_input_tokens=20)
    call.attempts.extend(
        [
            attempted(usage=first, cost=Cost(7, (CostItem("input-tokens", 1, 7),), "v1")),
            attempted(),
            attempted(usage=second, cost=Cost(70, estimated=True, incomplete=True)),
        ]
    )
    await call.next_target()
    call.note(ProviderUnavailable("x"))

    failed = call.failure().failure

    assert failed.id == call.id
    assert failed.attempts == tuple(call.attempts)
    assert failed.usage == TokenUsage(
        11, 22, 33, 44, 55, estimated=True, cache_write_1h_input_tokens=22
    )
    items = (CostItem("input-tokens", 1, 7),)
    assert failed.cost == Cost(77, items, "v1", estimated=True, incomplete=True)


async def test_what_attempts_used_is_summed_by_modality_and_within_what_can_be_told():
    call = a_call()
    most = 2**31 - 1
    seen = ModalityTokens(Modality.IMAGE, 258, 1)
    heard = ModalityTokens(Modality.AUDIO, most, 2)
    call.attempts.extend(
        [
            attempted(usage=TokenUsage(most, 3, modality_tokens=(seen, heard))),
            attempted(usage=TokenUsage(most, 3, modality_tokens=(heard,))),
        ]
    )
    await call.next_target()
    call.note(ProviderUnavailable("x"))

    usage = call.failure().failure.usage

    assert usage == TokenUsage(
        most, 6, modality_tokens=(seen, ModalityTokens(Modality.AUDIO, most, 4))
    )


def test_a_call_costs_what_all_its_attempts_cost():
    failed = Cost(7, (CostItem("input-tokens", 1, 7),), "v1", estimated=True)
    items = (CostItem("input-tokens", 2, 9), CostItem("output-tokens", 3, 4))
    served = Cost(13, items, "v2")

    cost = total_cost([attempted(cost=failed), attempted(), attempted(cost=served)])

    summed = (CostItem("input-tokens", 3, 16), CostItem("output-tokens", 3, 4))
    assert cost == Cost(20, summed, "v2", estimated=True)


async def test_a_failure_that_used_nothing_says_nothing_of_use():
    failed = (await told(ProviderUnavailable("x"))).failure

    assert (failed.usage, failed.cost, failed.content_sent) == (None, None, False)


# --- what was asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_changes", "fields"),
    [
        ({}, []),
        ({"routing": RoutingOptions(preference=Preference.PRIORITY)}, []),
        ({"routing": RoutingOptions(preference=Preference.COST)}, []),
        ({"response_cache": True}, ["response_cache"]),
    ],
)
async def test_what_this_version_ignores_is_named(request_changes, fields):
    warnings = a_call(**request_changes).warnings()

    assert [(w.reason, w.field) for w in warnings] == [("OPTION_IGNORED", f) for f in fields]


def test_a_delay_is_told_only_where_waiting_helps():
    limited = ProviderRateLimited("slow", retry_delay=2, http_status=429, provider_code="limit")
    missing = ProviderCredentialMissing("none", retry_delay=2)

    assert call_error(limited) == CallError("PROVIDER_RATE_LIMITED", "slow", 2, 429, "limit")
    assert call_error(missing) == CallError("PROVIDER_CREDENTIAL_MISSING", "none")


def test_the_input_is_estimated_once_for_all_attempts(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "llm_service.gateway.call.estimates.input_tokens", lambda of: asked.append(of) or 7
    )
    call = a_call(targets=3)

    assert [call.input_tokens() for _ in range(3)] == [7, 7, 7]
    assert len(asked) == 1


# --- memory ---------------------------------------------------------------------------------------


def test_what_was_asked_is_free_as_soon_as_the_call_is_over():
    gc.disable()  # which would find it later, and full collections are rare
    try:
        call = a_call()
        over = weakref.ref(call)
        del call

        assert over() is None
    finally:
        gc.enable()
