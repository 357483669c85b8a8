"""What every kind does when its vendor fails, and when its caller leaves."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from calls import SECOND, call
from every_vendor import KINDS, connected
from fakes.said import Said
from shared_calls import events_of
from vendor_server import Reply

from llm_service import errors
from llm_service.providers.base import Accepted, Ended

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))

CLASSES = {
    "rate_limit": errors.ProviderRateLimited,
    "bad_key": errors.ProviderCredentialRejected,
    "no_permission": errors.ProviderPermissionDenied,
    "quota": errors.ProviderQuotaExhausted,
    "context_length": errors.ContextLengthExceeded,
    "overloaded": errors.ProviderUnavailable,
    "server_error": errors.ProviderUnavailable,
    "not_found": errors.ModelNotFound,
    "bad_request": errors.ProviderRejectedRequest,
    "timeout": errors.ProviderTimeout,
}
PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind.label}-{name}")
        for kind in KINDS.values()
        for name in CLASSES
        if kind.fake.error(name) is not None
    ],
)
async def test_each_error_of_the_vendor_has_its_class(kind, name):
    reply = kind.fake.error(name)
    async with connected(kind) as (vendor, adapter):
        for ask in (adapter.complete, lambda asked: events_of(adapter, asked)):
            vendor.replies.append(reply)

            with pytest.raises(CLASSES[name]) as failure:
                await ask(call(model=kind.model))

            assert failure.value.http_status >= 400
            assert kind.secret not in str(failure.value)


@every_kind
@pytest.mark.parametrize(
    "reply",
    [
        Reply(502, {"content-type": "text/html"}, [PAGE]),
        Reply(503, {}, []),
        Reply(500, {"content-type": "application/json"}, [b"{not json"]),
    ],
    ids=["a page", "an empty body", "broken JSON"],
)
async def test_an_error_without_a_good_word_goes_by_its_status(kind, reply):
    async with connected(kind) as (vendor, adapter):
        vendor.replies.append(reply)

        with pytest.raises(errors.ProviderUnavailable):
            await adapter.complete(call(model=kind.model))


@every_kind
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'"text"', b"\xff\xfe", PAGE])
async def test_an_answer_that_is_none_is_an_error_and_never_ok(kind, body):
    async with connected(kind) as (vendor, adapter):
        vendor.say(body)

        with pytest.raises(errors.ProviderProtocolError):
            await adapter.complete(call(model=kind.model))


@every_kind
async def test_a_stream_cut_at_any_event_never_ends(kind):
    async with connected(kind) as (vendor, adapter):
        asked = call(model=kind.model)
        vendor.replies.append(lambda request: kind.fake.stream(Said(text="Hello, world"), request))
        whole_stream = await events_of(adapter, asked)
        reply = kind.fake.stream(Said(text="Hello, world"), vendor.asked[-1])
        assert isinstance(whole_stream[-1], Ended)

        ended = []
        for count in range(len(reply.pieces)):
            vendor.replies.append(replace(reply, pieces=reply.pieces[:count], cut=True))
            ended.append(await _ends(adapter, asked))

    first_whole = ended.index(True) if True in ended else len(ended)
    assert not any(ended[:first_whole])
    assert first_whole >= len(reply.pieces) - 3  # at most usage and the terminal mark are lacking


async def _ends(adapter, asked) -> bool:
    try:
        events = await events_of(adapter, asked)
    except (errors.ProviderProtocolError, errors.ProviderUnreachable):
        return False
    return isinstance(events[-1], Ended)


@every_kind
async def test_a_caller_who_leaves_closes_the_connection(kind):
    async with connected(kind) as (vendor, adapter):
        asked = call(model=kind.model)
        vendor.replies.append(
            lambda request: replace(
                kind.fake.stream(Said(text="Hello, world", pieces=2), request),
                pieces=kind.fake.stream(Said(text="Hello, world", pieces=2), request).pieces[:2],
                held=True,
            )
        )

        async with aclosing(adapter.stream(asked)) as batches:
            first = await anext(batches)

        assert isinstance(first[0], Accepted)
        async with asyncio.timeout(5):
            await vendor.hung_up.wait()


@every_kind
async def test_a_vendor_that_never_begins_is_a_timeout(kind):
    async with connected(kind) as (vendor, adapter):
        silent = {"pieces": (), "held": True}
        vendor.replies.append(
            lambda request: replace(kind.fake.stream(Said(text="Hi"), request), **silent)
        )
        asked = call(model=kind.model, deadlines=replace(SECOND, first_token=0.2))

        with pytest.raises(errors.ProviderTimeout):
            await events_of(adapter, asked)
