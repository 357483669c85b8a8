"""Answers of OpenAI's two APIs that nobody sends by mistake: they end soon, and in no surprise."""

import time

import pytest
from chunks import TEXT, calling, delta, finish, piece
from recordings import sse
from responses_reading import created, read_whole

from llm_service.errors import ProviderProtocolError
from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.fold import fold
from llm_service.providers.responses.decoder import ResponsesDecoder
from llm_service.providers.vendor import Reply

READ = 64 * 1024  # bytes that arrive at once
LONGEST = 3.0  # seconds of the processor's time; the work is a tenth, and was many times as much
REPLY = Reply("", (), {}, "")


def read(decoder, stream: bytes) -> list:
    """The events of a stream that arrives in pieces of `READ`; raises its failure."""
    events = []
    for at in range(0, len(stream), READ):
        events += decoder.feed(stream[at : at + READ])
        if decoder.failure is not None:
            raise decoder.failure
    return events


def chat(*chunks: bytes):
    return fold(read(ChatDecoder("openrouter", REPLY, keeps_thoughts=True), sse(chunks)))


@pytest.fixture
def soon():
    start = time.process_time()
    yield
    assert time.process_time() - start < LONGEST


@pytest.mark.usefixtures("soon")
def test_many_calls_are_told_apart_in_linear_time():
    count = 8_000
    pieces = (calling(piece("one", "{}", index=n, id=f"call-{n}")) for n in range(count))

    answer = chat(*pieces, finish("tool_calls"))

    assert len({part.content.id for part in answer.parts}) == count


@pytest.mark.usefixtures("soon")
def test_a_call_that_is_named_with_every_piece_is_read_in_linear_time():
    answer = chat(*[calling(piece("one", "}", index=0))] * 20_000, finish("tool_calls"))

    assert answer.parts[0].content.arguments_json == "}" * 20_000


@pytest.mark.usefixtures("soon")
def test_signed_thinking_grows_in_linear_time():
    bit = {"type": "reasoning.text", "index": 0, "text": "four" * 16}

    answer = chat(*[delta(reasoning_details=[bit])] * 12_000, finish())

    assert len(answer.parts[0].content.text) == 12_000 * 64


@pytest.mark.usefixtures("soon")
def test_many_items_without_an_id_are_kept_in_linear_time():
    answer = read_whole(*[{"type": "news"}] * 10_000)

    assert len(answer.parts) == 10_000


@pytest.mark.parametrize("line", [b"data:\n", b"data\n"])
@pytest.mark.usefixtures("soon")
def test_an_event_of_nothing_but_empty_lines_is_bounded(line, monkeypatch):
    monkeypatch.setattr("llm_service.providers.sse.MAX_EVENT_BYTES", 200_000)

    with pytest.raises(ProviderProtocolError, match="more than"):
        read(ChatDecoder("openai", REPLY), line * 210_000)


def test_a_probability_that_no_float_holds_is_left_out():
    tokens = b'{"content": [{"token": "a", "logprob": 1%s}, {"token": "b", "logprob": -1}]}'
    logprobs = tokens % (b"0" * 400)
    chunk = TEXT.replace(b'"finish_reason"', b'"logprobs": %s, "finish_reason"' % logprobs)

    answer = chat(chunk, finish())

    assert [token.token for token in answer.parts[0].logprobs] == ["b"]


def test_a_piece_of_thinking_whose_type_is_no_word_is_kept():
    odd = {"type": ["reasoning.text"], "text": "Hm"}

    answer = chat(delta(reasoning_details=[odd, odd]), finish())

    assert answer.parts[0].provider_state.data.count(b"Hm") == 2


def test_names_of_names_without_end_are_no_surprise():
    deep = 470
    tools = b'{"type":"namespace","tools":[' * deep + b"]}" * deep
    start = created(tools=["TOOLS"]).replace(b'"TOOLS"', tools)

    events = read(ResponsesDecoder("openai", "", REPLY), sse([start], done=False))

    assert len(events) == 1
