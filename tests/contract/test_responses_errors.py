"""What a vendor of the Responses API means when it says no, over HTTP and inside a stream."""

import json

import pytest
from recordings import sse
from responses_reading import completed, created, decoder, event, grown, message, read, read_events

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage, FinishReason, TokenUsage
from llm_service.providers.responses import failures

FILTERS = [
    {
        "blocked": True,
        "source_type": "prompt",
        "content_filter_results": {"hate": {"filtered": False}, "jailbreak": {"filtered": True}},
    }
]


def failed(error) -> bytes:
    return completed(status="failed", error=error)


def refused(status: int, code=None, message="", kind="invalid_request_error", **more):
    error = {"code": code, "message": message, "type": kind, "param": None, **more}
    return failures.refusal(
        status, {"retry-after-ms": "1500"}, json.dumps({"error": error}).encode(), ""
    )


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (400, "context_length_exceeded", errors.ContextLengthExceeded),
        (400, "invalid_prompt", errors.ProviderRejectedRequest),
        (400, "invalid_image_url", errors.ProviderRejectedRequest),
        (401, "invalid_api_key", errors.ProviderCredentialRejected),
        (403, None, errors.ProviderPermissionDenied),
        (404, "model_not_found", errors.ModelNotFound),
        (404, "DeploymentNotFound", errors.ModelNotFound),
        (429, "insufficient_quota", errors.ProviderQuotaExhausted),
        (429, "rate_limit_exceeded", errors.ProviderRateLimited),
        (429, None, errors.ProviderRateLimited),
        (500, "server_error", errors.ProviderUnavailable),
        (503, None, errors.ProviderUnavailable),
    ],
)
def test_a_refusal_goes_by_its_code_and_then_by_its_status(status, code, failure):
    said = refused(status, code, "This sk-secret is wrong.")

    assert type(said) is failure
    assert said.http_status == status
    assert said.retry_delay == (1.5 if failure.retriable else None)
    assert "sk-secret" not in str(said)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b"null", b"\xff", b"[" * 10**5])
def test_a_body_that_says_nothing_leaves_the_status(body):
    assert type(failures.refusal(502, {}, body, "")) is errors.ProviderUnavailable


@pytest.mark.parametrize(
    ("error", "filtered"),
    [
        ({"code": "content_filter", "content_filters": FILTERS}, ("jailbreak",)),
        (
            {
                "code": "content_filter",
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {"violence": {"filtered": True}},
                },
            },
            ("violence",),
        ),
        ({"code": "content_filter"}, ()),
        ({"code": "bio_policy"}, ("bio_policy",)),
        ({"code": "invalid_prompt", "message": "Your prompt was flagged."}, ()),
    ],
)
def test_a_filter_that_struck_is_a_result(error, filtered):
    said = refused(400, **error)

    assert said == ContentFilter(FilterStage.INPUT, filtered)


@pytest.mark.parametrize(
    ("payload", "failure"),
    [
        (event("error", code="rate_limit_exceeded", message="x"), errors.ProviderRateLimited),
        (event("error", error={"code": "insufficient_quota"}), errors.ProviderQuotaExhausted),
        (event("error", code=None, message="?"), errors.ProviderUnavailable),
        (json.dumps({"error": {"code": 503}}).encode(), errors.ProviderUnavailable),
        (completed(status="failed", error={"code": "server_error"}), errors.ProviderUnavailable),
        (
            completed(status="failed", error={"code": "vector_store_timeout"}),
            errors.ProviderTimeout,
        ),
        (
            completed(status="failed", error={"code": "image_too_small"}),
            errors.ProviderRejectedRequest,
        ),
        (completed(status="failed", error=None), errors.ProviderUnavailable),
    ],
)
def test_an_error_inside_a_stream_is_raised_once_what_came_before_is_told(payload, failure):
    reader = decoder()

    events = reader.feed(
        sse([created(), grown("output_text", 0, "m", "Hi", content_index=0), payload], done=False)
    )

    assert type(reader.failure) is failure
    assert not reader.done
    assert len(events) == 3


def test_a_secret_in_an_error_code_is_not_passed_on():
    reader = decoder(hide="sk-secret")

    reader.feed(sse([event("error", code="bad.sk-secret")], done=False))

    assert reader.failure.provider_code == ""


def test_a_filter_that_struck_in_a_stream_ends_the_answer():
    answer = read_events(
        created(),
        grown("output_text", 0, "m", "Hi", content_index=0),
        completed(
            status="failed",
            error={"code": "content_filter", "message": "x"},
            usage={"input_tokens": 7, "output_tokens": 3},
        ),
    )

    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.usage == TokenUsage(input_tokens=7, output_tokens=3)
    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT)
    assert len(answer.parts) == 1


def test_a_filter_that_struck_before_anything_came_ends_the_answer_too():
    answer = read_events(
        event("error", error={"code": "content_filter", "content_filters": FILTERS})
    )

    assert answer.content_filter == ContentFilter(FilterStage.INPUT, ("jailbreak",))
    assert answer.parts == ()


def test_what_azure_filtered_of_an_answer_is_named():
    results = {"violence": {"filtered": True}, "hate": {"filtered": False}}
    filters = [
        {"blocked": False, "source_type": "prompt", "content_filter_results": {}},
        {"blocked": True, "source_type": "completion", "content_filter_results": results},
    ]

    answer = read_events(
        completed(
            message("Well"),
            status="incomplete",
            incomplete_details={"reason": "content_filter"},
            content_filters=filters,
        )
    )

    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT, ("violence",))


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ({"error": {"code": "rate_limit_exceeded"}}, errors.ProviderRateLimited),
        ({"type": "error", "code": "server_error"}, errors.ProviderUnavailable),
        ({"detail": "Not Found"}, errors.ProviderUnavailable),
        (
            {"status": "failed", "output": [], "error": {"code": "server_error"}},
            errors.ProviderUnavailable,
        ),
        ({"status": "in_progress", "output": []}, errors.ProviderProtocolError),
        ({"status": "completed"}, errors.ProviderProtocolError),
        ({}, errors.ProviderProtocolError),
    ],
)
def test_a_whole_answer_that_is_none_is_an_error(body, failure):
    with pytest.raises(failure):
        decoder().whole(json.dumps(body).encode())


def test_a_stream_of_nothing_is_an_error():
    with pytest.raises(errors.ProviderProtocolError):
        read([])
