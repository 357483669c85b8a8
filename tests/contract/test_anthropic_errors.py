"""What it means when Anthropic says no."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.providers.messages.api import MessagesApi
from llm_service.providers.messages.profile import Profile

SECRET = "sk-ant-secret"


def refusal(status: int, body: bytes | dict = b"", **headers: str):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return MessagesApi(Profile("anthropic")).refusal(status, named, data, SECRET)


def said(kind: str, message: str = "No.", **more) -> dict:
    return {"type": "error", "error": {"type": kind, "message": message, **more}}


def coded(code: str, kind: str = "invalid_request_error") -> dict:
    return said(kind, details={"error_code": code})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, said("authentication_error", "invalid x-api-key"), errors.ProviderCredentialRejected),
        (402, said("billing_error"), errors.ProviderQuotaExhausted),
        (403, said("permission_error"), errors.ProviderPermissionDenied),
        (404, said("not_found_error", "model: claude-x"), errors.ModelNotFound),
        (
            404,
            said("not_found_error", "File not found: file_1"),
            errors.ProviderRejectedRequest,
        ),
        (409, said("conflict_error"), errors.ProviderUnavailable),
        (413, said("request_too_large"), errors.RequestTooLarge),
        (413, said("invalid_request_error", "Too big"), errors.RequestTooLarge),
        (429, said("rate_limit_error"), errors.ProviderRateLimited),
        (500, said("api_error"), errors.ProviderUnavailable),
        (504, said("timeout_error"), errors.ProviderTimeout),
        (529, said("overloaded_error"), errors.ProviderUnavailable),
        (400, said("invalid_request_error", "max_tokens: 0"), errors.ProviderRejectedRequest),
        (
            400,
            said("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            errors.ContextLengthExceeded,
        ),
        (
            400,
            said(
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
            ),
            errors.ContextLengthExceeded,
        ),
        (413, said("invalid_request_error", "prompt is too long"), errors.ContextLengthExceeded),
        (
            400,
            said("invalid_request_error", "Your credit balance is too low to access the API"),
            errors.ProviderQuotaExhausted,
        ),
        (
            400,
            said("invalid_request_error", "You have reached your specified API usage limits."),
            errors.ProviderQuotaExhausted,
        ),
        (
            429,
            said("rate_limit_error", "This would exceed your monthly spend limit"),
            errors.ProviderQuotaExhausted,
        ),
        (400, coded("contract_spend_limit_reached"), errors.ProviderQuotaExhausted),
        (429, coded("enforced_spend_limit_reached"), errors.ProviderQuotaExhausted),
        (429, coded("ramp_limit_exceeded", "rate_limit_error"), errors.ProviderRateLimited),
        (403, coded("organization_on_hold", "permission_error"), errors.ProviderPermissionDenied),
        (400, coded("thread_not_found"), errors.ProviderRejectedRequest),
        (418, said("teapot_error"), errors.ProviderRejectedRequest),
    ],
)  # fmt: skip
def test_an_error_goes_by_its_code_its_type_its_prose_and_its_status(status, body, kind):
    failure = refusal(status, body)

    assert type(failure) is kind
    assert failure.http_status == status
    error = body["error"]
    assert failure.provider_code in (error["type"], error.get("details", {}).get("error_code"))
    assert error["message"] not in str(failure)


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"{", b"[]", b'{"error":"x"}', b"1"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.ProviderCredentialRejected),
        (403, errors.ProviderPermissionDenied),
        (404, errors.ModelNotFound),
        (408, errors.ProviderTimeout),
        (413, errors.RequestTooLarge),
        (422, errors.ProviderRejectedRequest),
        (429, errors.ProviderRateLimited),
        (502, errors.ProviderUnavailable),
        (529, errors.ProviderUnavailable),
        (302, errors.ProviderProtocolError),
    ],
)
def test_a_body_that_tells_nothing_leaves_the_status(status, body, kind):
    assert type(refusal(status, body)) is kind


def test_the_error_of_a_relay_may_lack_its_envelope():
    failure = refusal(400, {"type": "overloaded_error", "message": "x"})

    assert type(failure) is errors.ProviderUnavailable


@pytest.mark.parametrize(
    ("message", "stage"),
    [
        ("Output blocked by content filtering policy", FilterStage.OUTPUT),
        ("Input blocked by content filtering policy", FilterStage.INPUT),
    ],
)
def test_a_filter_that_struck_is_a_result(message, stage):
    assert refusal(400, said("invalid_request_error", message)) == ContentFilter(stage)


def test_a_code_that_holds_the_secret_is_not_passed_on():
    failure = refusal(400, said(SECRET, SECRET))

    assert failure.provider_code == ""
    assert SECRET not in str(failure)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "7", "anthropic_ratelimit_tokens_remaining": "0"}, 7.0),
        ({}, None),
        (
            {
                "anthropic_ratelimit_requests_remaining": "0",
                "anthropic_ratelimit_requests_reset": "soon",
            },
            None,
        ),
        (
            {
                "anthropic_ratelimit_requests_remaining": "5",
                "anthropic_ratelimit_requests_reset": "2999-01-01T00:00:00Z",
            },
            None,
        ),
        (
            {
                "anthropic_ratelimit_tokens_remaining": "0",
                "anthropic_ratelimit_tokens_reset": "2020-01-01T00:00:00",
            },
            0.0,
        ),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert refusal(429, said("rate_limit_error"), **headers).retry_delay == seconds


def test_a_limit_that_is_used_up_says_when_it_is_full_again():
    reset = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()

    failure = refusal(
        429,
        said("rate_limit_error"),
        anthropic_ratelimit_output_tokens_remaining="0",
        anthropic_ratelimit_output_tokens_reset=reset,
    )

    assert 20 < failure.retry_delay <= 30


def test_what_will_not_help_names_no_delay():
    assert refusal(401, said("authentication_error"), retry_after="7").retry_delay is None
