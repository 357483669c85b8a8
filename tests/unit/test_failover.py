"""After which failure a call goes where, how long it waits, and when it gives up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service import errors
from llm_service.domain.completion import MidStreamFailure, RoutingOptions
from llm_service.domain.model_config import TargetSpec
from llm_service.errors import (
    CapabilityNotSupported,
    ContextLengthExceeded,
    CostLimitExceeded,
    ModelNotFound,
    Overloaded,
    ProviderCredentialMissing,
    ProviderCredentialRejected,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    ProviderUnreachable,
)
from llm_service.gateway.call import CompletionCall
from llm_service.gateway.failover import LEAST_SECONDS, Failover
from llm_service.gateway.resolution import REQUEST, Choice
from llm_service.gateway.retries import Retries
from llm_service.gateway.targets import Target
from tests.fakes import a_credential, a_model, a_provider, a_request

ONE, TWO, THREE = a_provider("one"), a_provider("two"), a_provider("three")

ANY = RoutingOptions()


def a_target(provider, window=0, reasons=(), origin=REQUEST, credential=None, others=()):
    choice = Choice(TargetSpec("m", fallback_reasons=reasons), origin=origin)
    model = a_model(provider, context_window_tokens=window)
    return Target(provider, model, credential, others, choice)


class Journey:
    """A call on a clock that stands still unless it is moved; `asks` is whom it asks next."""

    def __init__(self, *targets, limit=30.0, retries=None, routing=ANY, **request):
        self.time = 1000.0
        journey = self

        class Timed(CompletionCall):
            @property
            def now(self):
                return journey.time

        self.call = Timed(a_request(**request), None, limit)
        self.failover = Failover(self.call, targets, routing, retries or Retries())

    def asks(self):
        """The provider's id, once the wait for it is over; None: nobody."""
        chosen = self.failover.next()
        if chosen is None:
            return None
        target, at = chosen
        self.time = max(self.time, at)
        return target.provider.provider_id

    def fails(self, error, *, dialled=True):
        self.call.dials += dialled
        self.failover.failed(error)

    def then(self, error, **how):
        self.fails(error, **how)
        return self.asks()


# --- the table of the contract --------------------------------------------------------------------

MOVES = {
    errors.ProviderRejectedRequest: False,
    errors.RequestTooLarge: False,
    errors.CapabilityNotSupported: True,
    errors.ModelNotFound: False,
    errors.NoRoute: True,
    errors.ProviderDisabled: True,
    errors.ModelNotAllowed: False,
    errors.ProviderCredentialRejected: True,
    errors.ProviderCredentialMissing: True,
    errors.ProviderPermissionDenied: True,
    errors.ProviderQuotaExhausted: True,
    errors.ProviderRateLimited: True,
    errors.CostLimitExceeded: True,
    errors.ProviderUnavailable: True,
    errors.ProviderTimeout: True,
    errors.ProviderUnreachable: True,
    errors.ProviderProtocolError: True,
    errors.StorageUnavailable: False,
    errors.Overloaded: False,
    errors.ContentFiltered: False,
}


@pytest.mark.parametrize(("error", "moves"), MOVES.items(), ids=lambda x: getattr(x, "reason", x))
def test_each_failure_moves_a_call_to_another_target_or_does_not(error, moves):
    journey = Journey(a_target(ONE), a_target(TWO))
    assert journey.asks() == "one"

    assert (journey.then(error("x")) == "two") is moves


def test_a_model_that_configuration_named_and_nobody_knows_gives_way():
    journey = Journey(a_target(ONE, origin="modelConfigs/a"), a_target(TWO))
    journey.asks()

    assert journey.then(ModelNotFound("x")) == "two"


@pytest.mark.parametrize(
    ("reasons", "error", "moves"),
    [
        (("PROVIDER_RATE_LIMITED",), ProviderRateLimited("x"), True),
        (("PROVIDER_RATE_LIMITED",), ProviderCredentialRejected("x"), False),
        (("MODEL_NOT_FOUND",), ModelNotFound("x"), True),
        (("CONTENT_FILTER",), errors.ContentFiltered("x"), True),
    ],
)
def test_a_target_says_after_which_failures_the_next_one_is_tried(reasons, error, moves):
    journey = Journey(a_target(ONE, reasons=reasons), a_target(TWO))
    journey.asks()

    assert (journey.then(error) == "two") is moves


@pytest.mark.parametrize(
    ("mine", "others", "said", "next_one"),
    [
        pytest.param(100, 200, {}, "two", id="larger"),
        pytest.param(100, 100, {}, None, id="no larger"),
        pytest.param(100, 0, {}, None, id="unknown"),
        pytest.param(0, 200, {"limitTokens": "300"}, None, id="the vendor says more"),
        pytest.param(200, 150, {"limitTokens": "100"}, "two", id="the vendor says less"),
        pytest.param(100, 150, {"limitTokens": "200"}, "two", id="we say less"),
        pytest.param(0, 200, {}, "two", id="mine unknown, the request is shorter than theirs"),
    ],
)
def test_a_request_that_is_too_long_moves_only_to_a_window_known_to_be_larger(
    mine, others, said, next_one
):
    journey = Journey(a_target(ONE, mine), a_target(TWO, others))
    journey.asks()

    assert journey.then(ContextLengthExceeded("x", metadata=said)) == next_one


def test_what_is_known_to_be_too_small_is_passed_over_for_the_rest_of_the_call():
    journey = Journey(a_target(ONE, 200), a_target(TWO, 100), a_target(THREE, 300))
    journey.asks()

    assert journey.then(ContextLengthExceeded("x")) == "three"
    assert journey.then(ProviderCredentialRejected("x")) is None


# --- after content --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "next_one"), [(MidStreamFailure.ABORT, None), (MidStreamFailure.RESTART, "two")]
)
def test_after_content_only_a_caller_who_can_start_over_goes_on(choice, next_one):
    journey = Journey(a_target(ONE), a_target(TWO), mid_stream_failure=choice)
    journey.asks()
    journey.call.content_sent = True

    assert journey.then(ProviderUnavailable("x")) == next_one


def test_after_content_nobody_is_asked_twice():
    journey = Journey(a_target(ONE), mid_stream_failure=MidStreamFailure.RESTART)
    journey.asks()
    journey.call.content_sent = True

    assert journey.then(ProviderUnavailable("x")) is None


# --- a provider's other keys ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ProviderCredentialRejected("x"),
        ProviderCredentialMissing("x"),
        ProviderRateLimited("x", retry_delay=50),
        ProviderQuotaExhausted("x"),
    ],
    ids=lambda error: error.reason,
)
def test_a_key_that_fails_is_followed_by_the_providers_next_one(error):
    one, two, three = (a_credential(ONE, name) for name in ("one", "two", "three"))
    journey = Journey(a_target(ONE, credential=one, others=(two, three)), a_target(TWO))

    tried = []
    while chosen := journey.failover.next():
        tried.append(chosen[0].credential)
        journey.fails(error)

    assert tried == [one, two, three]  # three attempts are made, unless more are asked for


def test_other_troubles_are_not_the_keys():
    keys = (a_credential(ONE, "a"), a_credential(ONE, "b"))
    journey = Journey(a_target(ONE, credential=keys[0], others=keys[1:]), a_target(TWO))
    journey.asks()

    assert journey.then(ProviderUnavailable("x")) == "two"


# --- how often ------------------------------------------------------------------------------------


def test_others_come_first_and_then_whoever_may_be_well_again():
    journey = Journey(
        a_target(ONE),
        a_target(TWO),
        routing=RoutingOptions(max_attempts=4),
        retries=Retries(lambda: 0.5),
    )

    asked = [journey.asks()]
    while again := journey.then(ProviderUnavailable("x")):
        asked.append(again)

    assert asked == ["one", "two", "one", "two"]


def test_three_attempts_are_made_in_all():
    journey = Journey(a_target(ONE))
    journey.asks()

    assert journey.then(ProviderUnavailable("x")) == "one"
    assert journey.then(ProviderUnavailable("x")) == "one"
    assert journey.then(ProviderUnavailable("x")) is None


def test_refusals_before_anybody_was_asked_are_no_attempts():
    journey = Journey(*[a_target(a_provider(f"p{n}")) for n in range(6)])
    journey.asks()

    for n in range(1, 6):
        error = (CapabilityNotSupported, CostLimitExceeded)[n % 2]("x")
        assert journey.then(error, dialled=False) == f"p{n}"


def test_whoever_wants_one_attempt_gets_one():
    journey = Journey(a_target(ONE), routing=RoutingOptions(disable_fallback=True))
    journey.asks()

    assert journey.then(ProviderUnavailable("x")) is None


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ProviderTimeout("x"), id="silent"),
        pytest.param(ProviderCredentialRejected("x"), id="will not pass"),
        pytest.param(ProviderRateLimited("x", retry_delay=61), id="longer than is waited"),
        pytest.param(ProviderRateLimited("x", retry_delay=29.9), id="beyond the deadline"),
        pytest.param(ProviderRateLimited("x", retry_delay=float("nan")), id="no number"),
        pytest.param(ProviderRateLimited("x", retry_delay=-1.0), id="negative"),
        pytest.param(Overloaded("x"), id="ours"),
    ],
)
def test_the_same_target_is_not_asked_again_where_that_is_in_vain(error):
    journey = Journey(a_target(ONE))
    journey.asks()

    assert journey.then(error, dialled=not isinstance(error, Overloaded)) is None


def test_a_wait_that_was_asked_for_is_kept():
    journey = Journey(a_target(ONE))
    journey.asks()

    assert journey.then(ProviderRateLimited("x", retry_delay=7.0)) == "one"
    assert 1007.0 <= journey.time <= 1007.2


def test_a_wait_runs_while_others_are_asked():
    journey = Journey(a_target(ONE), a_target(TWO))
    journey.asks()
    journey.then(ProviderRateLimited("x", retry_delay=7.0))
    journey.time += 8

    assert journey.then(ProviderCredentialRejected("x")) == "one"
    assert journey.time == 1008


@given(
    error=st.sampled_from([ProviderUnavailable, ProviderUnreachable, ProviderRateLimited]),
    delay=st.none() | st.floats(),
    failures=st.integers(1, 16),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_no_wait_is_below_what_was_asked_for_or_above_what_is_waited(
    error, delay, failures, chance
):
    wait = Retries(lambda: chance).wait(error("x", retry_delay=delay), failures)

    if delay is not None and not 0 <= delay <= 60:
        assert wait is None
    else:
        assert (delay or 0) <= wait <= (delay or 0) + 3


@given(
    limit=st.floats(0, 100),
    steps=st.lists(
        st.tuples(
            st.sampled_from([ProviderUnavailable, ProviderRateLimited, ProviderUnreachable]),
            st.none() | st.floats(0, 100),
            st.floats(0, 20),
        ),
        max_size=8,
    ),
)
def test_no_attempt_starts_that_could_not_finish(limit, steps):
    journey = Journey(
        a_target(ONE), a_target(TWO), limit=limit, routing=RoutingOptions(max_attempts=16)
    )
    if journey.asks() is None:
        assert journey.call.by == journey.time
        return
    for error, delay, took in steps:
        journey.time += took
        if journey.then(error("x", retry_delay=delay)) is None:
            return
        assert journey.time + LEAST_SECONDS <= journey.call.by
