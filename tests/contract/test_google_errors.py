"""What Google's refusals mean, and what becomes of streams that break."""

import json

import pytest
from fakes import gemini
from google_wire import chunk, decoder, read
from recordings import sse

from llm_service import errors
from llm_service.domain.content import Text
from llm_service.providers.base import Ended
from llm_service.providers.fold import fold
from llm_service.providers.gemini import failures
from llm_service.providers.sse import MAX_EVENT_BYTES

QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def refused(status, word="", message="", details=(), headers=None) -> errors.GatewayError:
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    body = json.dumps({"error": error}).encode()
    return failures.failure(failures.read_error(status, body), headers or {}, hide="SECRET")


def info(reason) -> list:
    return [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]


def quota(**violation) -> list:
    return [{"@type": QUOTA, "violations": [violation]}]


@pytest.mark.parametrize(
    ("status", "word", "message", "details", "kind"),
    [
        (400, "INVALID_ARGUMENT", "", info("API_KEY_INVALID"), errors.ProviderCredentialRejected),
        (400, "INVALID_ARGUMENT", "API key expired.", [], errors.ProviderCredentialRejected),
        (
            401,
            "UNAUTHENTICATED",
            "",
            info("ACCESS_TOKEN_EXPIRED"),
            errors.ProviderCredentialRejected,
        ),
        (403, "PERMISSION_DENIED", "", info("SERVICE_DISABLED"), errors.ProviderPermissionDenied),
        (403, "PERMISSION_DENIED", "", info("BILLING_DISABLED"), errors.ProviderQuotaExhausted),
        (
            403,
            "PERMISSION_DENIED",
            "Your API key was reported as leaked.",
            [],
            errors.ProviderCredentialRejected,
        ),
        (
            400,
            "FAILED_PRECONDITION",
            "User location is not supported for the API use.",
            [],
            errors.ProviderPermissionDenied,
        ),
        (
            400,
            "FAILED_PRECONDITION",
            "Please enable billing on project x.",
            [],
            errors.ProviderQuotaExhausted,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count is 9 but the model only supports up to 8.",
            [],
            errors.ContextLengthExceeded,
        ),
        (500, "INTERNAL", "The input context is too long.", [], errors.ContextLengthExceeded),
        (
            400,
            "INVALID_ARGUMENT",
            "Request payload size exceeds the limit: 20971520 bytes.",
            [],
            errors.RequestTooLarge,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "Function call is missing a thought_signature",
            [],
            errors.ProviderRejectedRequest,
        ),
        (404, "NOT_FOUND", "models/x is not found", [], errors.ModelNotFound),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "Resource exhausted. Please try again later.",
            [],
            errors.ProviderRateLimited,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            quota(quotaId="TokensPerMinute"),
            errors.ProviderRateLimited,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            quota(quotaId="RequestsPerDay-FreeTier"),
            errors.ProviderQuotaExhausted,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            quota(quotaId="PerMinute", quotaValue="0"),
            errors.ProviderQuotaExhausted,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "Your prepayment credits are depleted.",
            [],
            errors.ProviderQuotaExhausted,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "",
            info("MODEL_CAPACITY_EXHAUSTED"),
            errors.ProviderUnavailable,
        ),
        (503, "UNAVAILABLE", "The model is overloaded.", [], errors.ProviderUnavailable),
        (504, "DEADLINE_EXCEEDED", "", [], errors.ProviderTimeout),
        (499, "CANCELLED", "", [], errors.ProviderUnavailable),
        (413, "", "", [], errors.RequestTooLarge),
        (418, "NEW_WORD", "", [], errors.ProviderRejectedRequest),
    ],
)
def test_each_refusal_has_its_meaning(status, word, message, details, kind):
    failure = refused(status, word, message, details)

    assert type(failure) is kind
    assert failure.http_status == status
    assert not message or message not in str(failure)


@pytest.mark.parametrize(
    ("details", "message", "headers", "seconds"),
    [
        ([{"@type": RETRY, "retryDelay": "34.4s"}], "", {}, 34.4),
        ([{"@type": RETRY, "retryDelay": {"seconds": 3, "nanos": 500_000_000}}], "", {}, 3.5),
        ([{"@type": RETRY, "retryDelay": {"seconds": "4"}}], "", {}, 4.0),
        ([{"@type": RETRY, "retryDelay": "999999s"}], "", {}, 3600.0),
        ([{"@type": RETRY, "retryDelay": "soon"}], "", {"retry-after": "7"}, 7.0),
        ([], "Please retry in 20.5s.", {"retry-after": "7"}, 20.5),
        ([], "", {"retry-after": "9"}, 9.0),
        ([7, {"retryDelay": {"seconds": -1}}], "", {}, None),
    ],
)
def test_a_limit_says_when_to_come_again(details, message, headers, seconds):
    failure = refused(429, "RESOURCE_EXHAUSTED", message, details, headers)

    assert failure.retry_delay == seconds


def test_the_code_is_googles_reason_but_never_the_secret():
    assert refused(400, "INVALID_ARGUMENT", "", info("API_KEY_INVALID")).provider_code == (
        "API_KEY_INVALID"
    )
    assert refused(400, "INVALID_ARGUMENT", "", info("x_SECRET_x")).provider_code == (
        "INVALID_ARGUMENT"
    )


@pytest.mark.parametrize(
    "message",
    [
        "The input token count (1200) exceeds the maximum number of tokens allowed (1048).",
        "The input token count is 1200 but the model only supports up to 1048.",
        "The input token count exceeds the maximum.",
    ],
)
def test_how_much_too_long_a_request_is_is_told_if_google_says_so(message):
    metadata = refused(400, "INVALID_ARGUMENT", message).metadata

    known = {"requestedTokens": "1200", "limitTokens": "1048"}
    assert metadata == (known if "1200" in message else {})


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"error": 3}', b"\xff", b"[[1]]"]
)
def test_any_body_is_understood_by_its_status(body):
    failure = failures.failure(failures.read_error(502, body), {})

    assert type(failure) is errors.ProviderUnavailable


def test_an_error_of_a_server_in_between_is_told_by_its_prose_and_status():
    body = b'{"error": "The input token count exceeds the maximum"}'

    assert type(failures.failure(failures.read_error(400, body), {})) is (
        errors.ContextLengthExceeded
    )
    assert type(failures.failure(failures.from_object({"error": {"code": 7}}), {})) is (
        errors.ProviderUnavailable
    )


def test_an_error_in_an_array_is_that_error():
    body = json.dumps([gemini.status("bad_key")]).encode()

    assert type(failures.failure(failures.read_error(400, body), {})) is (
        errors.ProviderCredentialRejected
    )


STARTED = sse([chunk({"text": "Hello"})], done=False)
OVERLOADED = json.dumps(gemini.status("overloaded")).encode()


@pytest.mark.parametrize(
    "pieces",
    [
        [STARTED, sse([OVERLOADED], done=False)],
        [STARTED + sse([OVERLOADED], done=False)],
        [STARTED, json.dumps(gemini.status("overloaded"), indent=2).encode()],
        [STARTED + b"\r\n" + json.dumps(gemini.status("overloaded"), indent=2).encode()],
        [STARTED, b",\r\n", OVERLOADED[:20], OVERLOADED[20:], b"]"],
        [OVERLOADED],
    ],
)
def test_an_error_inside_a_stream_is_that_error(pieces):
    reader = decoder()
    told = []

    for piece in pieces:
        told += reader.feed(piece)
    told += [] if reader.failure else reader.end()

    assert type(reader.failure) is errors.ProviderUnavailable
    assert reader.failure.http_status == 503
    assert not reader.done
    assert not any(isinstance(event, Ended) for event in told)


def test_an_error_in_a_body_of_status_200_is_that_error():
    with pytest.raises(errors.ProviderRateLimited) as failure:
        decoder().whole(json.dumps(gemini.status("rate_limit")).encode())

    assert failure.value.retry_delay == 12.5


@pytest.mark.parametrize(
    "broken",
    [
        b"data: {not json}\n\n",
        b'data: {"candidates": [{"content": "text"}]}\n\n',
        b"data: \xff\xfe\n\n",
        b'data: {"candidates": {}}\n\n',
        b"data: [1]\n\n",
        b"data: null\n\n",
        b'data: {"candidates": [{"content": {"parts": [{"functionCall": 3}]}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_cannot_be_read_is_an_error_after_what_could(broken):
    reader = decoder()

    events = reader.feed(STARTED + broken)

    assert type(reader.failure) is errors.ProviderProtocolError
    assert len(events) == 3


def test_an_event_without_end_is_an_error_before_it_fills_the_memory():
    reader = decoder()
    piece = b"x" * (1024 * 1024)
    reader.feed(b"data: ")

    for _ in range(MAX_EVENT_BYTES // len(piece) + 1):
        reader.feed(piece)

    assert type(reader.failure) is errors.ProviderProtocolError


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n", b": ping\n\n", b'data: {"candi'])
def test_a_stream_without_a_reason_to_finish_never_ends_well(end):
    with pytest.raises(errors.ProviderProtocolError):
        read([STARTED + end])


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"data: [DONE]\n\n",
        b": ping\n\n",
        b"\r\n\r\n",
        b"data: {}\n\n",
        b"data: {no\n\n",
        b'data: {"can',
    ],
)
def test_after_the_reason_to_finish_the_bytes_may_just_end(end):
    finished = sse([chunk(finish="STOP")], done=False)

    answer = fold(read([STARTED.replace(b"\n", b"\r\n"), finished + end]))

    assert answer.parts[0].content == Text("Hello")


def test_a_reason_to_finish_may_be_repeated_and_text_may_follow_it():
    events = [chunk({"text": t}, finish="STOP") for t in ("a", "b", "c")]

    answer = fold(read([sse(events, done=False)]))

    assert [part.content for part in answer.parts] == [Text("abc")]


def test_half_a_character_cut_by_utf_16_is_replaced():
    event = b'{"candidates":[{"content":{"parts":[{"text":"x\\ud83d"}]},"finishReason":"STOP"}]}'

    answer = fold(read([sse([event], done=False)]))

    assert answer.parts[0].content == Text("x\ufffd")


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b'"x"', b"", b'{"candidates": []}', b'{"usageMetadata": {}}']
)
def test_an_answer_without_a_candidate_is_none(body):
    with pytest.raises(errors.ProviderProtocolError):
        decoder().whole(body)
