"""What Bedrock's errors mean, in a response, in a stream and inside an answer that seems good."""

import json

import pytest
from bedrock_answers import HELLO
from bedrock_vendor import AWS_KEY, bedrock, events_of
from bedrock_wire import EVENT_STREAM, decoder, ended, exception, frame, read_all
from calls import call
from vendor_server import Reply

from llm_service import errors
from llm_service.providers.converse.api import ConverseApi
from llm_service.providers.vendor import Reply as Told

API = ConverseApi("bedrock")
CORAL = ":http://internal.amazon.com/coral/com.amazon.bedrock/"


def refusal(status, message="", *, kind="", headers=None, **body):
    said = {**(headers or {})} | ({"x-amzn-errortype": kind} if kind else {})
    content = json.dumps({"message": message, **body}).encode()
    return API.refusal(status, said, content, "sk-secret")


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (429, "ThrottlingException", errors.ProviderRateLimited),
        (400, "ServiceQuotaExceededException", errors.ProviderQuotaExhausted),
        (429, "ModelNotReadyException", errors.ProviderUnavailable),
        (424, "ModelErrorException", errors.ProviderUnavailable),
        (408, "ModelTimeoutException", errors.ProviderTimeout),
        (500, "InternalServerException", errors.ProviderUnavailable),
        (503, "ServiceUnavailableException", errors.ProviderUnavailable),
        (404, "ResourceNotFoundException", errors.ModelNotFound),
        (403, "AccessDeniedException", errors.ProviderPermissionDenied),
        (403, "UnrecognizedClientException", errors.ProviderCredentialRejected),
        (403, "InvalidSignatureException", errors.ProviderCredentialRejected),
        (403, "ExpiredTokenException", errors.ProviderCredentialRejected),
        (403, "MissingAuthenticationTokenException", errors.ProviderCredentialRejected),
        (400, "ValidationException", errors.ProviderRejectedRequest),
        (400, "SomethingNewException", errors.ProviderRejectedRequest),
        (418, "", errors.ProviderRejectedRequest),
        (429, "", errors.ProviderRateLimited),
        (413, "", errors.RequestTooLarge),
    ],
)
def test_an_error_goes_by_its_type_wherever_that_is_said(status, kind, expected):
    said = [refusal(status, "vendor's words", kind=kind + CORAL if kind else "")]
    said.append(refusal(status, "vendor's words", __type=f"com.amazon.coral.service#{kind}"))

    for failure in said:
        assert type(failure) is expected
        assert failure.http_status == status
        assert failure.provider_code == kind
        assert "vendor's words" not in str(failure)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (
            400,
            "ValidationException",
            "Input is too long for requested model.",
            errors.ContextLengthExceeded,
        ),
        (
            400,
            "ValidationException",
            "The model returned the following errors: prompt is too long: 209353 > 200000",
            errors.ContextLengthExceeded,
        ),
        (
            400,
            "",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            errors.ContextLengthExceeded,
        ),
        (
            400,
            "ValidationException",
            "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
            errors.ContextLengthExceeded,
        ),
        (
            400,
            "ValidationException",
            "The provided model identifier is invalid.",
            errors.ModelNotFound,
        ),
        (
            400,
            "ValidationException",
            "The maximum tokens you requested exceeds the model limit of 4096.",
            errors.ProviderRejectedRequest,
        ),
        (
            403,
            "AccessDeniedException",
            "Authentication failed: Please make sure your API Key is valid.",
            errors.ProviderCredentialRejected,
        ),
        (
            404,
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account.",
            errors.ProviderPermissionDenied,
        ),
        (
            429,
            "ThrottlingException",
            "Too many tokens, please wait before trying again.",
            errors.ProviderRateLimited,
        ),
    ],
)
def test_prose_decides_where_the_type_says_too_little(status, kind, message, expected):
    failure = refusal(status, message, kind=kind)

    assert type(failure) is expected
    assert message not in str(failure)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (502, b"<html>Bad Gateway</html>", errors.ProviderUnavailable),
        (503, b"", errors.ProviderUnavailable),
        (403, b"[1]", errors.ProviderPermissionDenied),
        (400, b"\xff", errors.ProviderRejectedRequest),
        (500, b'{"message":5}', errors.ProviderUnavailable),
        (
            404,
            b'{"Output":{"__type":"x#UnknownOperationException"}}',
            errors.ProviderRejectedRequest,
        ),
    ],
)
def test_an_error_body_of_any_form_is_understood(status, body, expected):
    assert type(API.refusal(status, {}, body, "")) is expected


def test_how_long_to_wait_is_passed_on_only_where_waiting_helps():
    wait = {"retry-after": "7"}

    assert refusal(429, kind="ThrottlingException", headers=wait).retry_delay == 7
    assert refusal(400, kind="ValidationException", headers=wait).retry_delay is None


def test_a_code_that_holds_the_secret_is_not_passed_on():
    failure = API.refusal(400, {"x-amzn-errortype": "sk-secret"}, b"", "sk-secret")

    assert failure.provider_code == ""


@pytest.mark.parametrize(
    ("broken", "expected", "code"),
    [
        (exception("throttlingException"), errors.ProviderRateLimited, "throttlingException"),
        (
            exception("validationException", "Input is too long for requested model."),
            errors.ContextLengthExceeded,
            "validationException",
        ),
        (
            exception("internalServerException"),
            errors.ProviderUnavailable,
            "internalServerException",
        ),
        (
            exception("serviceUnavailableException"),
            errors.ProviderUnavailable,
            "serviceUnavailableException",
        ),
        (exception("novelException"), errors.ProviderUnavailable, "novelException"),
        (
            frame(b"", message_type="error", error_code="InternalFailure", error_message="x"),
            errors.ProviderUnavailable,
            "InternalFailure",
        ),
        (
            frame(b"not JSON", message_type="exception", exception_type="throttlingException"),
            errors.ProviderRateLimited,
            "throttlingException",
        ),
        (
            frame(
                b'{"message":"x"}',
                message_type="event",
                event_type="throttlingException",
            ),
            errors.ProviderRateLimited,
            "throttlingException",
        ),
    ],
)
def test_an_error_inside_a_stream_is_raised_after_what_came_before_it(broken, expected, code):
    events, failure = read_all([b"".join([*HELLO, broken, *ended()])])

    assert type(failure) is expected
    assert failure.provider_code == code
    assert len(events) > 1


def test_the_status_a_model_failed_with_is_told():
    broken = exception("modelStreamErrorException", "x", originalStatusCode=529)

    _, failure = read_all([broken])

    assert type(failure) is errors.ProviderUnavailable
    assert failure.http_status == 529


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"}}',
            errors.ProviderRejectedRequest,
        ),
        (b'{"__type":"ThrottlingException","message":"x"}', errors.ProviderRateLimited),
        (b'{"message":"Input is too long for requested model."}', errors.ContextLengthExceeded),
        (b'{"message":"something"}', errors.ProviderUnavailable),
        (b'{"Output":{}}', errors.ProviderProtocolError),
    ],
)
def test_an_error_with_a_good_status_is_an_error(body, expected):
    with pytest.raises(errors.GatewayError) as failure:
        decoder(reply=Told("", (), {}, "")).whole(body)

    assert type(failure.value) is expected


async def test_a_stream_answered_with_an_error_object_raises_it():
    async with bedrock() as (vendor, adapter):
        vendor.say(b'{"__type":"ThrottlingException"}', content_type="application/json")

        with pytest.raises(errors.ProviderRateLimited):
            await events_of(adapter, call(model="some-model"))


async def test_a_stream_that_breaks_off_is_never_ok():
    async with bedrock() as (vendor, adapter):
        for cut in (True, False):
            vendor.replies.append(Reply(200, {"content-type": EVENT_STREAM}, HELLO, cut=cut))

            with pytest.raises((errors.ProviderProtocolError, errors.ProviderUnreachable)):
                await events_of(adapter, call(model="some-model"))


async def test_nothing_of_the_secret_or_the_vendors_words_is_in_an_error():
    async with bedrock() as (vendor, adapter):
        said = json.dumps({"message": AWS_KEY, "__type": "secret/key"}).encode()
        vendor.say(said, status=400)

        with pytest.raises(errors.ProviderRejectedRequest) as failure:
            await adapter.complete(call(model="some-model"))

    assert "secret" not in f"{failure.value}{failure.value.provider_code}"
