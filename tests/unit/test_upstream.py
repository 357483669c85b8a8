"""What the gateway adds to a vendor's failure, and what it learns from one."""

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest

from llm_service.domain.completion import RoutingOptions
from llm_service.errors import (
    ContextLengthExceeded,
    ProviderCredentialRejected,
    ProviderUnavailable,
)
from tests.fakes import FakeAdapter, a_credential, a_provider, a_stream, an_answer
from tests.unit.two_providers import World

ONE = a_provider("one")
KEYS = {ONE.uid: tuple(a_credential(ONE, name, weight=w) for name, w in (("a", 1), ("b", 0)))}
SPAN = {"operation": "chat", "provider_name": "openai", "model": "m", "stream": False}
REJECTED = ProviderCredentialRejected("x", http_status=401)


@pytest.mark.parametrize(
    ("text", "window", "said", "told"),
    [
        pytest.param("x" * 400, 50, {}, ("50", "100"), id="estimated"),
        pytest.param("x" * 40, 50, {}, ("50", None), id="an-estimate-known-to-be-wrong"),
        pytest.param("x" * 400, 0, {}, (None, None), id="window-unknown"),
        pytest.param(
            "x" * 400,
            50,
            {"limitTokens": "60", "requestedTokens": "61"},
            ("60", "61"),
            id="the-vendor-said",
        ),
        pytest.param("x" * 400, 0, {"limitTokens": "60"}, ("60", "100"), id="half-said"),
    ],
)
async def test_a_prompt_that_is_too_long_is_told_by_how_much(text, window, said, told):
    error = ContextLengthExceeded("x", http_status=400, metadata=said)
    world = World(FakeAdapter(error), model={"context_window_tokens": window})

    with pytest.raises(ContextLengthExceeded) as failure:
        await world.complete(text=text)

    metadata = failure.value.metadata
    assert (metadata.get("limitTokens"), metadata.get("requestedTokens")) == told
    assert metadata["model"] == "providers/one/models/m"


async def test_a_rejected_key_gives_way_to_the_providers_other_one():
    world = World(FakeAdapter(REJECTED, an_answer()), credentials=KEYS)

    completion = await world.complete()

    assert [a.target.credential.split("/")[-1] for a in completion.attempts] == ["a", "b"]
    assert world.outcomes() == [
        ("providers/one", "PROVIDER_CREDENTIAL_REJECTED"),
        ("providers/one", ""),
    ]
    assert world.verdicts.heard == [("a", True), ("b", False)]


async def test_a_stream_changes_keys_before_anything_is_sent():
    world = World(FakeAdapter(REJECTED, a_stream("hi")), credentials=KEYS)

    events = await world.stream()

    assert events[0].served_by.credential.endswith("/b")
    assert [a.target.credential.split("/")[-1] for a in events[0].failed_attempts] == ["a"]


async def test_one_attempt_is_one_key():
    world = World(FakeAdapter(REJECTED, an_answer()), credentials=KEYS)

    with pytest.raises(ProviderCredentialRejected):
        await world.complete(routing=RoutingOptions(disable_fallback=True))

    assert world.verdicts.heard == [("a", True)]


async def test_other_failures_say_nothing_about_the_key():
    world = World(FakeAdapter(ProviderUnavailable("x")), FakeAdapter(an_answer()), credentials=KEYS)

    completion = await world.complete()

    assert completion.served_by.provider == "providers/two"
    assert world.verdicts.heard == []


class Failing(FakeAdapter):
    async def complete(self, call):
        raise ProviderUnavailable("x")  # kept in no name: this frame would be in its traceback


@pytest.mark.parametrize("adapter", [FakeAdapter, Failing])
async def test_who_leaves_while_the_end_is_written_down_leaves_nothing_in_memory(adapter):
    world, begun, waited_for = World(adapter(an_answer())), [], asyncio.Event()
    begin = world.completions._begin

    async def noted(*asked):
        call = await begin(*asked)
        begun.append(weakref.ref(call))
        return call

    async def wait(*_):
        waited_for.set()
        await asyncio.Event().wait()

    world.completions._begin = noted
    world.ledger.settled = world.drains.count = wait
    gc.collect()
    gc.disable()  # which would find it later, and full collections are rare
    try:
        task = asyncio.create_task(world.complete())
        await waited_for.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)  # the loop still had the task's end in hand

        assert begun[0]() is None
    finally:
        gc.enable()


async def test_an_adapter_is_let_go_of_whatever_becomes_of_the_span(monkeypatch):
    world = World(FakeAdapter(an_answer()))
    upstream = world.completions._upstream

    class Broken(type(world.telemetry.attempt(**SPAN))):
        def __exit__(self, *_):
            raise ZeroDivisionError

    monkeypatch.setattr(upstream._telemetry, "attempt", lambda **_: Broken())
    with pytest.raises(ZeroDivisionError):
        await world.complete()

    assert [live.uses for live in upstream.manager._live.values()] == [0]
