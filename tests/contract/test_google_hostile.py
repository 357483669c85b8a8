"""Answers of Google's that are odd where the decoder does not look first, or that are much work."""

import pytest
from google_wire import answered, chunk, decoder
from growth import in_linear_time

from llm_service import errors
from llm_service.domain.content import ToolCall
from llm_service.providers.fold import fold
from llm_service.providers.gemini import failures

BIG = b"9" * 400


def body(parts: bytes, more: bytes = b"") -> bytes:
    return b'{"candidates":[{"content":{"parts":[%s]}%s,"finishReason":"STOP"}]}' % (parts, more)


@pytest.mark.parametrize(
    "part",
    [
        b'{"executableCode":{"code":"\xff"}}',
        b'{"executableCode":{"code":1e999}}',
        b'{"functionCall":{"name":"f","args":{"a":"\xff"}}}',
    ],
    ids=["text of no UTF-8", "a number beyond floats", "arguments of no UTF-8"],
)
def test_what_cannot_be_read_is_an_error_of_the_provider_whole_and_streamed(part):
    reader = decoder()

    reader.feed(b"data: " + body(part) + b"\n\n")

    assert isinstance(reader.failure, errors.ProviderProtocolError)
    with pytest.raises(errors.ProviderProtocolError):
        decoder().whole(body(part))


def test_a_probability_beyond_floats_is_none():
    tokens = b',"logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-%s}]}' % BIG

    [part] = fold(decoder().whole(body(b'{"text":"a"}', tokens))).parts

    assert part.logprobs == ()


def test_a_delay_beyond_floats_is_none():
    info = b'{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":{"nanos":%s}}' % BIG
    error = b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[%s]}}' % info

    failure = failures.failure(failures.read_error(429, error), {})

    assert isinstance(failure, errors.ProviderRateLimited)
    assert failure.retry_delay is None


def test_the_end_of_a_call_may_be_told_after_its_end():
    answer = answered(
        chunk({"functionCall": {"name": "f", "args": {"a": 1}}}),
        chunk({"functionCall": {}}, finish="STOP"),
    )

    assert [part.content for part in answer.parts] == [ToolCall("call_r-1_0", "f", '{"a":1}')]


def test_many_parts_of_an_unknown_kind_are_read_once():
    one = b'{"executableCode":{"code":"%s"}}' % (b"x" * 300)

    answer = in_linear_time(
        lambda count: body(b",".join([one] * count)),
        lambda said: fold(decoder().whole(said)),
        500,
    )

    assert len(answer.parts) == 2000


@pytest.mark.parametrize(
    ("parts", "quoted"),
    [
        (lambda n: b",".join([b'{"text":"ab","thoughtSignature":"QQ=="}'] * n), b"ab"),
        (lambda n: b'{"text":"%s"}' % (b"ab" * 60 * n), b"zz"),
        (lambda n: b'{"text":"%s"}' % ("é" * 60 * n).encode(), "é".encode()),
    ],
    ids=["of many parts", "found nowhere", "of many bytes"],
)
def test_many_citations_take_no_long_search(parts, quoted):
    support = b'{"segment":{"startIndex":%d,"endIndex":%d,"text":"%s"},"groundingChunkIndices":[0]}'

    def cited(count: int) -> bytes:
        supports = b",".join(support % (at * 2, at * 2 + 2, quoted) for at in range(count))
        grounded = b',"groundingMetadata":{"groundingChunks":[{"web":{"uri":"u"}}],'
        grounded += b'"groundingSupports":[%s]}' % supports
        return body(parts(count), grounded)

    answer = in_linear_time(cited, lambda said: fold(decoder().whole(said)), 750)

    assert sum(len(part.citations) for part in answer.parts) == 3000
