"""The Chat Completions adapters over a socket, through the egress client."""

import asyncio
import json
from contextlib import aclosing

import pytest
from calls import call, user
from recordings import sse
from vendor_server import Reply, vendor_server

from llm_service import errors, providers
from llm_service.domain.completion import FilterStage, FinishReason, TokenUsage
from llm_service.domain.content import (
    FunctionTool,
    JsonSchemaFormat,
    Media,
    Modality,
    ProviderTool,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.providers.base import Accepted, Account, Deadlines, Ended
from llm_service.providers.egress import Egress
from llm_service.providers.fold import fold

ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
CHUNKS = [
    b'{"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}]}',
    b'{"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    b'{"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
]
KEY = "sk-secret"
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


@pytest.fixture
async def egress():
    egress = Egress(allow=("127.0.0.1",))
    yield egress
    await egress.aclose()


@pytest.fixture
def connect(vendor, egress):
    def connect(kind="openai", secret=KEY, **settings):
        return providers.connect(kind, Account(vendor.base_uri, settings, secret), egress)

    return connect


def streams(vendor, *pieces, **more):
    vendor.replies.append(Reply(200, EVENT_STREAM, pieces, **more))


def as_json(said) -> bytes:
    return json.dumps(said).encode()


async def events_of(adapter, asked) -> list:
    async with aclosing(adapter.stream(asked)) as batches:
        return [event async for batch in batches for event in batch]


async def test_a_whole_answer_comes_back(vendor, connect):
    vendor.say(as_json(ANSWER), x_request_id="req_1")

    answer = await connect().complete(call())

    assert [part.content for part in answer.parts] == [Text("Hi")]
    assert answer.finish_reason is FinishReason.STOP
    assert answer.usage == TokenUsage(3, 1)
    assert answer.provider_model == "gpt-4o-2024-08-06"
    assert answer.provider_request_id == "req_1"


async def test_the_request_carries_the_key_and_the_account(vendor, connect):
    vendor.say(as_json(ANSWER))

    await connect(organization="org-1", project="proj-1").complete(call())

    (asked,) = vendor.asked
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.headers["authorization"] == "Bearer sk-secret"
    assert asked.headers["openai-organization"] == "org-1"
    assert asked.headers["openai-project"] == "proj-1"
    assert asked.json["messages"] == [{"role": "user", "content": "Hello"}]


async def test_a_stream_comes_back_in_its_pieces(vendor, connect):
    streams(vendor, *(sse([chunk], done=False) for chunk in CHUNKS), b"data: [DONE]\n\n")

    events = await events_of(connect(), call())

    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Ended)
    answer = fold(events)
    assert answer.parts[0].content == Text("Hi")
    assert answer.usage == TokenUsage(3, 1)
    assert vendor.asked[0].json["stream_options"] == {"include_usage": True}


async def test_connections_are_used_again(vendor, connect):
    adapter = connect()
    for _ in range(3):
        streams(vendor, sse(CHUNKS))
        await events_of(adapter, call())
        vendor.say(as_json(ANSWER))
        await adapter.complete(call())

    assert vendor.connections == 1


async def test_an_answer_is_not_held_up_by_a_body_that_does_not_end(vendor, connect):
    streams(vendor, sse(CHUNKS), held=True)

    events = await events_of(connect(), call())

    assert isinstance(events[-1], Ended)


async def test_a_call_for_a_stream_may_be_answered_whole(vendor, connect):
    vendor.say(as_json(ANSWER))

    assert fold(await events_of(connect(), call())).parts[0].content == Text("Hi")


async def test_calls_in_a_whole_answer_are_told_apart_without_numbers(vendor, connect):
    function = {"name": "now", "arguments": ""}
    message = {"content": None, "tool_calls": [{"id": "a", "function": function}] * 2}
    choice = {"message": message, "finish_reason": "tool_calls"}
    vendor.say(as_json({"choices": [choice]}))

    answer = await connect().complete(call())

    assert [part.content for part in answer.parts] == [ToolCall("a", "now", "")] * 2


async def test_a_whole_answer_without_a_reason_to_finish_is_still_whole(vendor, connect):
    vendor.say(as_json({"choices": [{"message": {"content": "Hi"}}]}))

    answer = await connect().complete(call())

    assert (answer.finish_reason, answer.usage) == (FinishReason.OTHER, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"choices":[]}', errors.ProviderProtocolError),
        (b"", errors.ProviderProtocolError),
        (b"<html>", errors.ProviderProtocolError),
        (b'{"error":{"code":"insufficient_quota"}}', errors.ProviderQuotaExhausted),
        (b'{"error":"boom"}', errors.ProviderUnavailable),
    ],
)
async def test_a_body_of_status_200_that_is_no_answer_is_a_failure(vendor, connect, body, kind):
    adapter = connect()
    vendor.say(body)
    vendor.say(body)

    with pytest.raises(kind):
        await adapter.complete(call())
    with pytest.raises(kind):
        await events_of(adapter, call())


async def test_a_refusal_is_raised_before_anything_is_accepted(vendor, connect):
    adapter = connect()
    for _ in range(2):
        vendor.say(b'{"error":{"code":"rate_limit_exceeded"}}', status=429, retry_after="3")

    with pytest.raises(errors.ProviderRateLimited) as failure:
        await events_of(adapter, call())
    with pytest.raises(errors.ProviderRateLimited):
        await adapter.complete(call())

    assert failure.value.retry_delay == 3.0
    assert failure.value.http_status == 429
    assert failure.value.provider_code == "rate_limit_exceeded"


async def test_a_filtered_prompt_is_an_answer_without_parts(vendor, connect):
    adapter = connect()
    for _ in range(2):
        vendor.say(b'{"error":{"code":"content_filter"}}', status=400)

    whole = await adapter.complete(call())
    streamed = fold(await events_of(adapter, call()))

    assert whole == streamed
    assert whole.parts == ()
    assert whole.finish_reason is FinishReason.CONTENT_FILTER
    assert whole.content_filter.stage is FilterStage.INPUT


async def test_a_long_page_of_an_error_is_not_read_to_its_end(vendor, connect):
    vendor.say(*[b"x" * 60_000] * 3, status=502)

    with pytest.raises(errors.ProviderUnavailable):
        await connect().complete(call())


async def test_a_connection_that_is_cut_is_no_end(vendor, connect):
    streams(vendor, sse(CHUNKS, done=False), cut=True)

    with pytest.raises(errors.ProviderUnreachable):
        await events_of(connect(), call())


async def test_whoever_stops_listening_hangs_up(vendor, connect):
    streams(vendor, sse(CHUNKS[:1], done=False), held=True)
    batches = connect().stream(call())
    await anext(batches)

    await batches.aclose()

    async with asyncio.timeout(5):
        await vendor.hung_up.wait()


async def test_cancelling_a_call_hangs_up(vendor, connect):
    vendor.replies.append(Reply(held=True))
    task = asyncio.create_task(connect().complete(call()))
    async with asyncio.timeout(5):
        await vendor.heard.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await vendor.hung_up.wait()


@pytest.mark.parametrize(
    ("pieces", "limits"),
    [
        pytest.param((), Deadlines(5, 0.05, 9, 9), id="no first token"),
        pytest.param((b": ping\n\n",), Deadlines(5, 0.05, 9, 9), id="only pings"),
        pytest.param(
            (b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n',),
            Deadlines(5, 0.05, 9, 9),
            id="a role is no token",
        ),
        pytest.param((sse(CHUNKS[:1], done=False),), Deadlines(5, 9, 0.05, 9), id="idle"),
        pytest.param((sse(CHUNKS[:1], done=False),), Deadlines(5, 9, 9, 0.1), id="in all"),
    ],
)
async def test_a_stream_that_takes_too_long_is_given_up(vendor, connect, pieces, limits):
    streams(vendor, *pieces, held=True)

    with pytest.raises(errors.ProviderTimeout):
        await events_of(connect(), call(deadlines=limits))

    async with asyncio.timeout(5):
        await vendor.hung_up.wait()


async def test_a_whole_answer_that_takes_too_long_is_given_up(vendor, connect):
    vendor.replies.append(Reply(held=True))

    with pytest.raises(errors.ProviderTimeout):
        await connect().complete(call(deadlines=Deadlines(5, 9, 9, 0.05)))


async def test_openai_without_a_key_is_not_dialled(vendor, connect):
    adapter = connect(secret="")

    with pytest.raises(errors.ProviderCredentialMissing):
        await adapter.complete(call())
    with pytest.raises(errors.ProviderCredentialMissing):
        await events_of(adapter, call())
    with pytest.raises(errors.ProviderCredentialMissing):
        await adapter.models(5)

    assert vendor.connections == 0


async def test_a_compatible_server_may_have_no_key(vendor, connect):
    vendor.say(as_json(ANSWER))

    await connect("openai-compatible", secret="").complete(call())

    assert "authorization" not in vendor.asked[0].headers


@pytest.mark.parametrize(
    ("setting", "header", "value"),
    [
        ({}, "authorization", "Bearer sk-secret"),
        ({"auth_header": ""}, "authorization", "Bearer sk-secret"),
        ({"auth_header": "Authorization"}, "authorization", "Bearer sk-secret"),
        ({"auth_header": "Api-Key"}, "api-key", "sk-secret"),
    ],
)
async def test_a_compatible_server_gets_the_key_where_it_wants_it(
    vendor, connect, setting, header, value
):
    vendor.say(as_json(ANSWER))

    await connect("openai-compatible", **setting).complete(call())

    assert vendor.asked[0].headers[header] == value


@pytest.mark.parametrize("header", ["host", "Content-Length", "a b", "x\r\ny", "é"])
async def test_a_key_goes_into_no_header_that_frames_the_message(connect, header):
    with pytest.raises(errors.InvalidField):
        connect("openai-compatible", auth_header=header)


@pytest.mark.parametrize("kind", ["openai", "openai-compatible"])
async def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(connect, kind):
    with pytest.raises(errors.ProviderCredentialRejected) as failure:
        connect(kind, secret="sk-secret\r\nx: y")

    assert "sk-secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("kind", "account", "field"),
    [
        ("openai", Account("not a URI", {}, "k"), "provider.base_uri"),
        ("openai-compatible", Account(""), "provider.base_uri"),
        ("openai", Account("", {"region": "x"}, "k"), "provider.settings.region"),
        ("openai", Account("", {"project": "a\nb"}, "k"), "provider.settings"),
    ],
)
async def test_an_account_that_makes_no_sense_is_refused_by_name(egress, kind, account, field):
    with pytest.raises(errors.InvalidField) as failure:
        providers.connect(kind, account, egress)

    assert [violation.field for violation in failure.value.violations] == [field]


async def test_models_are_listed_with_what_is_known_of_them(vendor, connect):
    vendor.say(as_json({"data": [{"id": "gpt-5-2025-08-07"}, {"id": "org/New-1.0"}]}))

    known, new = await connect().models(5)

    assert (vendor.asked[0].method, vendor.asked[0].path) == ("GET", "/v1/models")
    assert known.provider_model == "gpt-5-2025-08-07"
    assert known.model_id == "gpt-5-2025-08-07"
    assert known.capabilities.sampling is False
    assert known.context_window_tokens == 400_000
    assert (new.provider_model, new.model_id) == ("org/New-1.0", "org-new-1-0")
    assert new.capabilities.sampling is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"{}", errors.ProviderProtocolError),
        (200, b"<html>", errors.ProviderProtocolError),
        (401, b"", errors.ProviderCredentialRejected),
    ],
)
async def test_a_list_of_models_that_is_none_is_a_failure(vendor, connect, status, body, kind):
    vendor.say(body, status=status)

    with pytest.raises(kind):
        await connect().models(5)


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        pytest.param(call(), 2, id="five bytes"),
        pytest.param(call(user("é" * 4)), 2, id="bytes, not letters"),
        pytest.param(
            call(
                user(ToolResult("a", "x", user("four").parts), Thinking("four"), Refusal("four")),
                user(ToolCall("a", "four", "{  }"), Media(Modality.IMAGE, uri="https://x")),
                tools=(FunctionTool("four", "four", "{  }"), ProviderTool("four", "{  }")),
                response_format=JsonSchemaFormat("x", "{  }"),
            ),
            11,
            id="all text there is",
        ),
    ],
)
async def test_tokens_are_guessed_from_the_length_of_the_text(connect, asked, tokens):
    count = await connect("openai-compatible").count_tokens(asked)

    assert (count.input_tokens, count.estimated) == (tokens, True)
