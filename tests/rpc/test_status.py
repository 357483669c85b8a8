"""Every failure has a status, and no status grows too big."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from llm_service import errors
from llm_service.domain.completion import (
    Attempt,
    CallError,
    Cost,
    CostItem,
    FailedCompletion,
    ServedBy,
    TokenUsage,
)
from llm_service.rpc.codes import REASON_STATUS, STATUS, code_for
from llm_service.rpc.status import DETAILS_MAX, internal_status, to_status
from llm_service.rpc.stubs import error_pb2

TRACE = "0af7651916cd43dd8448eb211c80319c"
BAD = errors.Violation("messages[0].parts", "is empty")


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def proto_of(status) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(status.trailing_metadata)["grpc-status-details-bin"])


def detail(status, kind):
    found = [d for d in proto_of(status).details if d.Is(kind.DESCRIPTOR)]
    if not found:
        return None
    [packed] = found
    message = kind()
    packed.Unpack(message)
    return message


def attempt(message: str = "it is down", *, provider: str = "providers/p") -> Attempt:
    return Attempt(
        ServedBy(provider, f"{provider}/models/m"),
        datetime(2026, 1, 2, tzinfo=UTC),
        1.5,
        CallError("PROVIDER_UNAVAILABLE", message, 2.0, 503),
        TokenUsage(input_tokens=3),
        Cost(5, (CostItem("input-tokens", 3, 5),)),
    )


def failed(error: errors.GatewayError, *attempts: Attempt) -> errors.GatewayError:
    usage, cost = TokenUsage(input_tokens=3), Cost(5)
    error.failure = FailedCompletion("c-1", attempts, usage, cost, dials=len(attempts))
    return error


QUOTA = errors.Quota("tenants/acme", "requests_per_minute", 60)


def test_every_domain_error_has_a_status():
    kinds = {k for k in subclasses(errors.GatewayError) if k.__module__ == errors.__name__}

    assert set(STATUS) == kinds - {errors.GatewayError}


def test_every_reason_of_the_contract_has_a_status_and_no_other_has():
    names = {
        name.removeprefix("ERROR_REASON_")
        for name in error_pb2.ErrorReason.DESCRIPTOR.values_by_name
    }

    assert set(REASON_STATUS) == names - {"UNSPECIFIED"}


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("NO_ROUTE", StatusCode.FAILED_PRECONDITION),
        ("INTERNAL", StatusCode.INTERNAL),
        ("CANCELLED", StatusCode.CANCELLED),
        ("DEADLINE_EXCEEDED", StatusCode.DEADLINE_EXCEEDED),
        ("NOBODY_KNOWS", StatusCode.UNKNOWN),
    ],
)
def test_a_reason_has_the_number_of_its_code(reason, code):
    assert code_for(reason) == code.value[0]


def test_nothing_blames_the_caller_for_a_providers_key():
    blaming = {StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}

    assert {error for error, code in STATUS.items() if code in blaming} == {
        errors.CallerUnauthenticated,
        errors.ModelNotAllowed,
        errors.PermissionDenied,
    }


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
def test_retry_info_is_there_exactly_when_trying_again_can_help(kind):
    given = {errors.InvalidField: (BAD,), errors.RateLimited: ("our words", QUOTA)}
    error = kind(*given.get(kind, ("our words",)))

    retry = detail(to_status(error, trace_id=TRACE), error_details_pb2.RetryInfo)

    assert (retry is not None) == kind.retriable
    if retry is not None:
        assert 1 <= retry.retry_delay.ToTimedelta().total_seconds() <= 30


def test_a_known_retry_delay_is_passed_on_exactly():
    error = errors.ProviderRateLimited(
        "slow", retry_delay=0.25, metadata={"provider": "providers/p"}
    )

    status = to_status(error, trace_id=TRACE)

    assert detail(status, error_details_pb2.RetryInfo).retry_delay.nanos == 250_000_000
    [violation] = detail(status, error_details_pb2.QuotaFailure).violations
    assert violation.api_service == "providers/p"


def test_a_rate_limit_says_whose_which_how_much_and_until_when():
    error = errors.RateLimited("at its limit", QUOTA, retry_delay=12.5)

    status = to_status(error, trace_id=TRACE)

    assert status.code is StatusCode.RESOURCE_EXHAUSTED
    assert detail(status, error_details_pb2.ErrorInfo).reason == "RATE_LIMITED"
    delay = detail(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta()
    assert delay.total_seconds() == 12.5
    [violation] = detail(status, error_details_pb2.QuotaFailure).violations
    assert violation.subject == "tenants/acme"
    assert violation.quota_metric == "requests_per_minute"
    assert violation.quota_value == 60


def test_a_call_above_the_whole_limit_is_not_told_to_come_back():
    error = errors.RateLimited("too much", QUOTA, retriable=False)

    status = to_status(error, trace_id=TRACE)

    assert detail(status, error_details_pb2.RetryInfo) is None
    assert detail(status, error_details_pb2.QuotaFailure) is not None


def test_error_info_names_reason_domain_and_metadata():
    error = errors.ContextLengthExceeded("too long", metadata={"limitTokens": "8"})

    info = detail(to_status(error, trace_id=TRACE), error_details_pb2.ErrorInfo)

    assert (info.reason, info.domain) == ("CONTEXT_LENGTH_EXCEEDED", "llm-service")
    assert dict(info.metadata) == {"limitTokens": "8"}


def test_invalid_fields_are_each_named():
    status = to_status(
        errors.InvalidField(BAD, errors.Violation("params.top_p", "is above 1")), trace_id=TRACE
    )

    violations = detail(status, error_details_pb2.BadRequest).field_violations
    assert [(v.field, v.description) for v in violations] == [
        ("messages[0].parts", "is empty"),
        ("params.top_p", "is above 1"),
    ]


def test_a_missing_route_says_what_is_missing():
    error = errors.NoRoute("nothing serves it", metadata={"model": "fast"})

    [violation] = detail(
        to_status(error, trace_id=TRACE), error_details_pb2.PreconditionFailure
    ).violations

    assert (violation.type, violation.subject) == ("NO_ROUTE", "fast")


def test_after_an_attempt_the_clients_library_is_told_not_to_retry():
    status = to_status(failed(errors.ProviderUnavailable("down"), attempt()), trace_id=TRACE)

    trailing = dict(status.trailing_metadata)
    assert trailing["grpc-retry-pushback-ms"] == "-1"
    assert trailing["llmservice-completion-id"] == "c-1"
    assert trailing["llmservice-trace-id"] == TRACE
    failure = detail(status, error_pb2.CompletionFailure)
    assert failure.completion_id == "c-1"
    assert [a.error.http_status for a in failure.attempts] == [503]


def test_without_an_attempt_the_clients_library_may_retry():
    status = to_status(failed(errors.Overloaded("busy")), trace_id=TRACE)

    assert "grpc-retry-pushback-ms" not in dict(status.trailing_metadata)
    assert dict(status.trailing_metadata)["llmservice-completion-id"] == "c-1"


def test_attempts_that_were_refused_beforehand_keep_no_client_from_trying_again():
    error = failed(errors.Overloaded("busy"), attempt())
    error.failure = replace(error.failure, dials=0)

    trailing = dict(to_status(error, trace_id=TRACE).trailing_metadata)

    assert "grpc-retry-pushback-ms" not in trailing


def test_a_bug_says_nothing_but_its_incident():
    status = internal_status(TRACE)

    assert status.code is StatusCode.INTERNAL
    assert status.details == f"internal error; incident {TRACE}"
    assert detail(status, error_details_pb2.ErrorInfo).reason == "INTERNAL"


# Long ones too: hypothesis seldom grows a text to where limits are.
texts = st.builds(lambda text, times: text * times, st.text(max_size=8), st.integers(0, 600))
attempts = st.builds(lambda m, p: attempt(m, provider=p), texts, texts)


@given(
    message=texts,
    metadata=st.dictionaries(texts, texts, max_size=20),
    attempts=st.lists(attempts, max_size=8),
)
def test_details_stay_within_their_limit_whatever_the_failure_holds(message, metadata, attempts):
    error = failed(errors.ProviderRateLimited(message, metadata=metadata), *attempts)

    status = to_status(error, trace_id=TRACE)

    assert proto_of(status).ByteSize() <= DETAILS_MAX
    assert len(status.details.encode()) <= 512
    assert detail(status, error_details_pb2.ErrorInfo).reason == "PROVIDER_RATE_LIMITED"
    assert detail(status, error_details_pb2.RetryInfo) is not None
    assert detail(status, error_pb2.CompletionFailure).completion_id == "c-1"


@given(st.lists(st.builds(errors.Violation, texts, texts), min_size=1, max_size=60))
def test_as_many_violations_as_fit_are_kept_and_at_least_one(violations):
    status = to_status(failed(errors.InvalidField(*violations), *[attempt()] * 5), trace_id=TRACE)

    assert proto_of(status).ByteSize() <= DETAILS_MAX
    kept = detail(status, error_details_pb2.BadRequest).field_violations
    assert 1 <= len(kept) <= len(violations)


def test_attempts_that_do_not_fit_are_left_out_from_the_end():
    error = failed(
        errors.ProviderUnavailable("down", metadata={"a": "m" * 200}),
        *[attempt(provider=f"providers/{number}-{'p' * 400}") for number in range(5)],
    )

    failure = detail(to_status(error, trace_id=TRACE), error_pb2.CompletionFailure)

    assert 0 < len(failure.attempts) < 5
    assert failure.attempts[0].target.provider.startswith("providers/0")
    assert failure.cost.total_nano_usd == 5


def test_a_failure_too_big_even_without_attempts_keeps_its_id_and_its_cost():
    error = errors.ProviderUnavailable("down")
    items = tuple(CostItem(f"meter-{number}-{'x' * 60}", 1, 1) for number in range(100))
    error.failure = FailedCompletion("c-1", (), None, Cost(100, items, incomplete=True))

    failure = detail(to_status(error, trace_id=TRACE), error_pb2.CompletionFailure)

    assert failure.completion_id == "c-1"
    assert (failure.cost.total_nano_usd, failure.cost.incomplete) == (100, True)
    assert not failure.cost.items


def test_a_huge_failure_without_a_cost_does_not_invent_one():
    error = errors.ProviderUnavailable("down")
    error.failure = FailedCompletion("c" * 5000, ())

    failure = detail(to_status(error, trace_id=TRACE), error_pb2.CompletionFailure)

    assert failure.completion_id == "c" * 200
    assert not failure.HasField("cost")
