"""What a settled attempt says of its target."""

import pytest

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    CallError,
    RoutingOptions,
    ServedBy,
)
from llm_service.domain.usage import UsageRecord
from llm_service.gateway.call import CompletionCall
from llm_service.gateway.health import outcomes
from llm_service.gateway.health.breaker import Outcome
from llm_service.gateway.targets import Target
from tests.fakes import NOW, a_model, a_provider, a_request

ONE = a_provider("one")
TARGET = Target(ONE, a_model(ONE), None)


@pytest.mark.parametrize(
    ("timers", "took", "usual", "counts"),
    [
        ({"first_token_timeout": 2.0}, 2.0, None, False),
        ({"attempt_timeout": 2.0}, 2.0, 1.0, False),
        ({"first_token_timeout": 2.0}, 2.0, 0.3, True),
        ({"first_token_timeout": 90.0}, 60.0, None, True),
        ({"attempt_timeout": 10.0}, 3.0, None, True),
        ({}, 1.0, None, True),
    ],
    ids=["hurried", "not-long", "stalled", "patient", "our-own-timer", "no-timer"],
)
def test_a_timeout_speaks_about_the_target_unless_only_the_caller_was_in_a_hurry(
    timers, took, usual, counts
):
    call = CompletionCall(a_request(routing=RoutingOptions(**timers)), None, 600.0)
    error = CallError("PROVIDER_TIMEOUT", "x")
    attempt = Attempt(ServedBy("providers/one", "m"), NOW, took, error)
    record = UsageRecord("r", "c", Attribution("t"), attempt, NOW, error_reason=error.reason)

    found = outcomes.outcome(record, call, TARGET, usual, 60.0)

    assert found is (Outcome.FAILED if counts else Outcome.SILENT)
