"""Answers of OpenAI's two APIs that nobody sends by mistake: they end soon, and in no surprise."""

import pytest
from chunks import TEXT, calling, delta, finish, piece
from growth import in_linear_time
from recordings import sse
from responses_reading import created, read_whole

from llm_service.errors import ProviderProtocolError
from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.fold import fold
from llm_service.providers.responses.decoder import ResponsesDecoder
from llm_service.providers.vendor import Reply

READ = 64 * 1024  # bytes that arrive at once
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
    return answered(sse(chunks))


def answered(stream: bytes):
    return fold(read(ChatDecoder("openrouter", REPLY, keeps_thoughts=True), stream))


def test_many_calls_are_told_apart_in_linear_time():
    def stream(count: int) -> bytes:
        pieces = (calling(piece("one", "{}", index=n, id=f"call-{n}")) for n in range(count))
        return sse([*pieces, finish("tool_calls")])

    answer = in_linear_time(stream, answered, 1500)

    assert len({part.content.id for part in answer.parts}) == 6000


def test_a_call_that_is_named_with_every_piece_is_read_in_linear_time():
    one = calling(piece("one", "}", index=0))

    answer = in_linear_time(
        lambda count: sse([*[one] * count, finish("tool_calls")]), answered, 4000
    )

    assert answer.parts[0].content.arguments_json == "}" * 16_000


def test_signed_thinking_grows_in_linear_time():
    bit = {"type": "reasoning.text", "index": 0, "text": "four" * 16}

    one = delta(reasoning_details=[bit])

    answer = in_linear_time(lambda count: sse([*[one] * count, finish()]), answered, 3000)

    assert len(answer.parts[0].content.text) == 12_000 * 64


def test_many_items_without_an_id_are_kept_in_linear_time():
    answer = in_linear_time(
        lambda count: [{"type": "news"}] * count, lambda items: read_whole(*items), 2000
    )

    assert len(answer.parts) == 8000


@pytest.mark.parametrize("line", [b"data:\n", b"data\n"])
def test_an_event_of_nothing_but_empty_lines_is_bounded(line, monkeypatch):
    def refused(count: int) -> None:
        monkeypatch.setattr("llm_service.providers.sse.MAX_EVENT_BYTES", count)
        with pytest.raises(ProviderProtocolError, match="more than"):
            read(ChatDecoder("openai", REPLY), line * (count + count // 20))

    in_linear_time(int, refused, 50_000)


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
