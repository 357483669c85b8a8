"""What a Chat Completions vendor's refusals become."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.providers.chat import failures
from llm_service.providers.retry_after import retry_delay

LEAK = "the prompt and sk-secret"


def said(**error) -> bytes:
    return json.dumps({"error": {"message": LEAK, **error}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, said(type="invalid_request_error"), "ProviderRejectedRequest",
         "invalid_request_error"),
        (400, said(code="context_length_exceeded"), "ContextLengthExceeded",
         "context_length_exceeded"),
        (400, said(code="unsupported_parameter"), "ProviderRejectedRequest",
         "unsupported_parameter"),
        (400, said(code="invalid_api_key"), "ProviderCredentialRejected", "invalid_api_key"),
        (401, said(type="invalid_request_error", code="invalid_api_key"),
         "ProviderCredentialRejected", "invalid_api_key"),
        (401, b"", "ProviderCredentialRejected", ""),
        (402, b"{}", "ProviderQuotaExhausted", ""),
        (403, said(code="unsupported_country_region_territory"), "ProviderPermissionDenied",
         "unsupported_country_region_territory"),
        (403, said(code=None, type=None), "ProviderPermissionDenied", ""),
        (404, said(code="model_not_found", type="invalid_request_error"), "ModelNotFound",
         "model_not_found"),
        (404, b"<html>not here</html>", "ModelNotFound", ""),
        (408, b"", "ProviderTimeout", ""),
        (409, b"", "ProviderUnavailable", ""),
        (413, b"", "RequestTooLarge", ""),
        (422, b'{"detail":[{"loc":["body"]}]}', "ProviderRejectedRequest", ""),
        (429, said(type="tokens", code="rate_limit_exceeded"), "ProviderRateLimited",
         "rate_limit_exceeded"),
        (429, said(type="insufficient_quota", code="insufficient_quota"), "ProviderQuotaExhausted",
         "insufficient_quota"),
        (429, said(type="engine_overloaded_error"), "ProviderUnavailable",
         "engine_overloaded_error"),
        (429, b"", "ProviderRateLimited", ""),
        (418, b"", "ProviderRejectedRequest", ""),
        (500, said(type="server_error"), "ProviderUnavailable", "server_error"),
        (502, b"<html><h1>Bad gateway</h1></html>", "ProviderUnavailable", ""),
        (503, b"\xff\xfe", "ProviderUnavailable", ""),
        (504, b"[" * 99999, "ProviderUnavailable", ""),
        (529, b"null", "ProviderUnavailable", ""),
        (302, b"", "ProviderProtocolError", ""),
        (400, b'{"object":"error","message":"the maximum context length is 4096","code":400}',
         "ContextLengthExceeded", ""),
        (403, said(message="prompt is too long"), "ContextLengthExceeded", ""),
        (400, b'{"code":"some prose","error":"Incorrect API key provided: xa***t"}',
         "ProviderCredentialRejected", ""),
        (400, said(message="Model Not Exist", type="invalid_request_error"), "ModelNotFound",
         "invalid_request_error"),
        (400, said(code="has spaces and more"), "ProviderRejectedRequest", ""),
        (400, said(code="x" * 65), "ProviderRejectedRequest", ""),
        (400, said(code="sk-secret"), "ProviderRejectedRequest", ""),
        (400, said(code=["a"], type={"b": 1}, message=["c"]), "ProviderRejectedRequest", ""),
        (400, b'{"error":"broken"}', "ProviderRejectedRequest", ""),
        (400, b'"just text"', "ProviderRejectedRequest", ""),
    ],
)  # fmt: skip
def test_a_refusal_is_known_by_the_vendors_word_and_then_by_the_status(status, body, kind, code):
    error = failures.read_error(status, body)

    failure = failures.failure(error, {}, hide="sk-secret")

    assert type(failure) is getattr(errors, kind)
    assert (failure.http_status, failure.provider_code) == (status, code)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500])
def test_nothing_the_vendor_wrote_is_in_the_error(status):
    error = failures.read_error(status, said(code=LEAK, type=LEAK, param=LEAK))

    failure = failures.failure(error, {"retry-after": LEAK})

    shown = f"{failure} {failure!r} {failure.metadata} {failure.provider_code} {error!r}"
    assert "secret" not in shown.replace(repr(error.words), "")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param({"code": "content_filter"}, id="Azure"),
        pytest.param(
            {"code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}}, id="in"
        ),
        pytest.param({"type": "data_inspection_failed"}, id="Alibaba"),
    ],
)
def test_a_prompt_that_was_filtered_is_no_failure(error):
    read = failures.read_error(400, said(**error))

    assert failures.content_filter(read, FilterStage.INPUT) == ContentFilter(FilterStage.INPUT)


def test_the_categories_of_the_filter_are_told():
    results = {"hate": {"filtered": True}, "jailbreak": {"filtered": False}, "odd": 1}
    read = failures.read_error(
        400, said(code="content_filter", innererror={"content_filter_result": results})
    )

    struck = failures.content_filter(read, FilterStage.INPUT)

    assert struck.categories == ("hate",)


def test_a_refusal_for_another_reason_is_no_filter():
    read = failures.read_error(400, said(code="unsupported_value"))

    assert failures.content_filter(read, FilterStage.INPUT) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "99999999"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
        ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59"}, 0.0),
    ],
)
def test_a_wait_is_a_sane_number_of_seconds(headers, seconds):
    assert retry_delay(headers) == seconds


def test_a_wait_may_be_given_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)

    assert 50 < retry_delay({"retry-after": date}) <= 60


@pytest.mark.parametrize(("status", "seconds"), [(429, 7.0), (503, 7.0), (400, None), (401, None)])
def test_only_a_failure_that_may_pass_says_how_long_to_wait(status, seconds):
    failure = failures.failure(failures.read_error(status, b""), {"retry-after": "7"})

    assert failure.retry_delay == seconds
