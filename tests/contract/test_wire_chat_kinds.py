"""Recorded answers of each vendor that has a kind, read as that kind reads them."""

from functools import cache

import pytest
from calls import call
from chat_kinds import KINDS
from openai_oracle import read_answer, read_stream
from recordings import CHAT, by_event, sse
from test_wire_openai_chat import assert_same

from llm_service.domain.content import ProviderState, Thinking
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.chat.dialect import Thoughts
from llm_service.providers.fold import fold
from llm_service.providers.vendor import Reply


def recordings(ending: str) -> list:
    """(kind, bytes) of every recording that is named for a kind."""
    found = [
        pytest.param(KINDS[kind], path.read_bytes(), id=path.name)
        for path in sorted(CHAT.glob(f"*{ending}"))
        if (kind := path.name.partition("-")[0]) in KINDS and "error" not in path.name
    ]
    missing = pytest.mark.skip(reason=f"there are no recordings in {CHAT}")
    return found or [pytest.param(None, None, marks=missing)]


def stream_of(lines: bytes) -> bytes:
    return sse(line for line in lines.split(b"\n") if line.strip())


@cache
def exchange(dialect):
    return ChatApi(dialect).exchange(call(), stream=True)


def read(dialect, pieces):
    decoder = exchange(dialect).decoder(Reply("", (), {}, ""))
    events = []
    for piece in pieces:
        events += decoder.feed(piece)
        if decoder.done:
            break
    else:
        events += decoder.end()
    if decoder.failure is not None:
        raise decoder.failure
    return fold(events)


@pytest.mark.parametrize(("dialect", "data"), recordings(".chunks.txt"))
def test_a_stream_of_the_vendor_is_what_the_sdk_says_however_it_arrives(dialect, data):
    stream = stream_of(data)

    whole = read(dialect, [stream])
    in_bits = read(dialect, [stream[i : i + 17] for i in range(0, len(stream), 17)])
    in_events = read(dialect, by_event(stream))

    assert whole == in_bits == in_events
    assert_same(whole, read_stream(stream))


@pytest.mark.parametrize(("dialect", "data"), recordings(".json"))
async def test_a_whole_answer_of_the_vendor_is_what_the_sdk_says(dialect, data):
    decoder = exchange(dialect).decoder(Reply("", (), {}, ""))

    answer = fold(decoder.whole(data))

    assert_same(answer, await read_answer(data))


@pytest.mark.parametrize(("dialect", "data"), recordings("reasoning.chunks.txt"))
def test_thinking_that_is_wanted_back_says_whose_it_is(dialect, data):
    answer = read(dialect, [stream_of(data)])

    states = {p.provider_state for p in answer.parts if isinstance(p.content, Thinking)}
    kept = dialect.thoughts is not Thoughts.DROPPED
    assert states == {ProviderState(dialect.kind, b'{"thinking":{}}') if kept else None}
    assert all(
        p.provider_state is None for p in answer.parts if not isinstance(p.content, Thinking)
    )


def test_a_dialect_is_named_for_its_kind():
    assert all(dialect.kind == kind for kind, dialect in KINDS.items())
