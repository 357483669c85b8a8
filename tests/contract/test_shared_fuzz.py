"""Whatever a vendor sends, every decoder ends in time, in little memory, and in our own words."""

import gc
import tracemalloc

import pytest
from broken import REPLY, cut_and_spliced, read, read_safely, with_odd_values
from calls import call
from every_vendor import DIALECTS, connected
from fakes.said import Call as Called
from fakes.said import Finish, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from vendor_server import Asked

from llm_service.domain.content import FunctionTool
from llm_service.errors import GatewayError
from llm_service.providers.base import Ended

every_dialect = pytest.mark.parametrize("kind", DIALECTS, ids=lambda kind: kind.label)
SAID = Said(
    thinking="Thinking.",
    signature="c2ln",
    text="Góðan daginn 👋",
    calls=(Called("call-1", "weather", '{"a": "b", "c": [1, 2]}'),),
    finish=Finish.TOOL_CALLS,
)
MEMORY_CAP = 64 * 1024 * 1024


async def exchange_and_stream(kind):
    """How the kind reads a stream, and one of its vendor's."""
    asked = call(model=kind.model, tools=(FunctionTool("weather"),))
    async with connected(kind) as (_, adapter):
        exchange = adapter._api.exchange(asked, stream=True)
    request = Asked("POST", exchange.path, {}, exchange.body)
    return exchange, b"".join(kind.fake.stream(SAID, request).pieces)


@every_dialect
async def test_a_stream_with_slices_cut_out_and_put_in(kind):
    exchange, stream = await exchange_and_stream(kind)

    @settings(max_examples=60, deadline=None)
    @given(cut_and_spliced(stream), st.booleans())
    def holds(pieces, whole):
        read_safely(exchange.decoder(REPLY), pieces, whole=whole)

    holds()


@every_dialect
async def test_an_answer_with_odd_values(kind):
    exchange, _ = await exchange_and_stream(kind)
    [answer] = kind.fake.answer(SAID, Asked("POST", exchange.path, {}, exchange.body)).pieces

    @settings(max_examples=60, deadline=None)
    @given(with_odd_values(answer))
    def holds(changed):
        read_safely(exchange.decoder(REPLY), [changed], whole=True)

    holds()


@every_dialect
async def test_any_bytes(kind):
    exchange, _ = await exchange_and_stream(kind)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
    def holds(pieces, whole):
        read_safely(exchange.decoder(REPLY), pieces, whole=whole)

    holds()


@every_dialect
async def test_a_stream_is_the_same_byte_by_byte_with_crlf_and_with_what_follows_its_end(kind):
    exchange, stream = await exchange_and_stream(kind)
    whole = read(exchange.decoder(REPLY), [stream])

    by_byte = read(exchange.decoder(REPLY), [stream[n : n + 1] for n in range(len(stream))])
    followed = read(exchange.decoder(REPLY), [stream + b"data: {broken\n\n"])

    assert isinstance(whole[-1], Ended)
    assert isinstance(by_byte[-1], Ended)
    assert followed[-1] == whole[-1] == by_byte[-1]


@every_dialect
async def test_an_endless_event_is_refused_before_it_fills_the_memory(kind):
    exchange, _ = await exchange_and_stream(kind)
    decoder = exchange.decoder(REPLY)
    piece = b'data: {"a": "' + b"x" * 65536
    gc.collect()
    tracemalloc.start()

    for _ in range(800):
        decoder.feed(piece)
        piece = b"x" * 65536
        if decoder.failure is not None:
            break
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert isinstance(decoder.failure, GatewayError)
    assert peak < MEMORY_CAP
