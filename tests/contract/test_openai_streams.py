"""Content in streams of Chat Completions that are not as the book has them."""

import base64
import json

import pytest
from chunks import TEXT, A, calling, delta, finish, piece
from reading import read, read_chunks
from recordings import arrivals, sse

from llm_service.domain.completion import FinishReason, PartDelta
from llm_service.domain.content import (
    AlternativeToken,
    Citation,
    Media,
    Modality,
    ProviderState,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
)
from llm_service.providers.fold import fold


def test_content_may_come_as_a_list_of_blocks():
    answer = read_chunks(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]),
        delta(content=[{"type": "thinking", "thinking": "m"}, {"type": "text", "text": ""}]),
        delta(content=[{"type": "text", "text": "So"}, {"type": "refusal", "refusal": "No"}]),
        finish(),
    )

    assert [part.content for part in answer.parts] == [Thinking("Hmm"), Text("So"), Refusal("No")]


def test_the_model_may_be_named_after_the_first_event():
    answer = read_chunks(b'{"id":"","model":"","choices":[]}', TEXT, finish())

    assert answer.provider_model == "m"


def test_thinking_text_and_refusal_are_parts_in_their_order():
    answer = read_chunks(
        delta(role="assistant", content="", reasoning_content=""),
        delta(reasoning_content="Hm"),
        delta(reasoning="m"),
        delta(content="Well"),
        delta(reasoning_content="Oh"),
        delta(refusal="I "),
        delta(refusal="won't"),
        finish(),
    )

    assert [part.content for part in answer.parts] == [
        Thinking("Hmm"),
        Text("Well"),
        Thinking("Oh"),
        Refusal("I won't"),
    ]
    assert answer.finish_reason is FinishReason.REFUSAL


def test_text_goes_on_after_a_tool_call():
    answer = read_chunks(
        TEXT, calling(piece("one", '{"x":1}', index=0, id="a")), delta(content=" you"), finish()
    )

    assert [part.content for part in answer.parts] == [Text("Hello you"), A]


def test_deltas_that_came_together_are_one_delta():
    events = read([sse([TEXT, TEXT, TEXT, finish()])])

    deltas = [event for event in events if isinstance(event, PartDelta)]
    assert [event.text for event in deltas] == ["HelloHelloHello"]


def test_deltas_are_joined_only_when_nothing_is_between_them():
    chunks = [TEXT, calling(piece("one", "{}", index=0, id="a")), TEXT, finish()]

    events = read([sse(chunks)])

    deltas = [event.text for event in events if isinstance(event, PartDelta)]
    assert deltas == ["Hello", "{}", "Hello"]


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b'{"type":"ping"}', id="an event of no known kind"),
        pytest.param(b'{"choices":[]}', id="nothing"),
        pytest.param(b'{"choices":null,"id":"x"}', id="null"),
        pytest.param(delta(), id="an empty delta"),
        pytest.param(b'{"choices":[{"index":0}]}', id="no delta"),
        pytest.param(delta(content=5, reasoning={"a": 1}, annotations=7, audio=1), id="odd types"),
        pytest.param(
            b'{"choices":[{"index":1,"delta":{"content":"x"}}]}', id="a choice we did not ask for"
        ),
        pytest.param(b'{"choices":[],"usage":"much","error":null}', id="odd usage"),
        pytest.param(
            b'{"choices":[],"citations":5,"search_results":[7],"x_groq":1}', id="odd extras"
        ),
        pytest.param(
            b'{"choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":1}]}}]}',
            id="odd probabilities",
        ),
    ],
)
def test_what_has_no_meaning_is_passed_over(chunk):
    answer = read_chunks(TEXT, chunk, finish())

    assert [part.content for part in answer.parts] == [Text("Hello")]


def test_a_content_block_of_a_new_kind_survives_as_state():
    block = {"type": "reference", "reference_ids": [1, 2]}
    content = [{"type": "text", "text": "See"}, block, {"type": "text", "text": "."}]

    answer = read_chunks(delta(content=content), finish())

    assert [part.content for part in answer.parts] == [Text("See"), Text(""), Text(".")]
    state = answer.parts[1].provider_state
    assert state.kind == "openai"
    assert json.loads(state.data) == {"block": block}


def test_halves_of_a_character_do_not_break_the_answer():
    halves = b'{"choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}'

    answer = read_chunks(halves, finish())

    assert answer.parts[0].content == Text("a�")


def test_a_character_may_be_split_between_reads():
    stream = sse([delta(content="é")[:-1] + b"}", finish()])

    assert fold(read(arrivals(stream)["byte by byte"])).parts[0].content == Text("é")


def test_citations_are_those_of_the_text():
    annotation = {
        "type": "url_citation",
        "url_citation": {"url": "https://a", "title": "A", "start_index": 1, "end_index": 4},
    }
    chunk = json.loads(delta(content="Hello", annotations=[annotation]))
    chunk["citations"] = ["https://b", "https://c"]
    chunk["search_results"] = [{"url": "https://c", "title": "C"}]

    answer = read_chunks(json.dumps(chunk).encode(), json.dumps(chunk).encode(), finish())

    assert answer.parts[0].citations == (
        Citation("https://a", "A", "", 1, 4),
        Citation("https://a", "A", "", 1, 4),
        Citation("https://b"),
        Citation("https://c", "C"),
    )


def test_an_annotation_of_a_new_kind_survives_as_state():
    answer = read_chunks(delta(content="x", annotations=[{"type": "file_path"}]), finish())

    assert answer.parts[1].provider_state == ProviderState(
        "openai", b'{"annotation":{"type":"file_path"}}'
    )


def test_audio_may_be_cut_where_no_three_bytes_end():
    sound = bytes(range(50))
    encoded = base64.b64encode(sound).decode()
    pieces = [encoded[:3], encoded[3:10], encoded[10:]]

    answer = read_chunks(
        delta(audio={"id": "audio_1", "transcript": "Hi"}),
        *(delta(audio={"data": piece}) for piece in pieces),
        delta(audio={"expires_at": 1}),
        finish(),
    )

    assert [part.content for part in answer.parts] == [
        Text("Hi"),
        Media(Modality.AUDIO, data=sound),
    ]
    assert json.loads(answer.parts[1].provider_state.data) == {"audio": {"id": "audio_1"}}


def test_probabilities_belong_to_the_part():
    token = {
        "token": "Hel",
        "logprob": -0.5,
        "bytes": [72, 101, 108],
        "top_logprobs": [{"token": "Hel", "logprob": -0.5, "bytes": None}],
    }
    chunk = json.loads(TEXT)
    chunk["choices"][0]["logprobs"] = {"content": [token], "refusal": None}

    answer = read_chunks(json.dumps(chunk).encode(), json.dumps(chunk).encode(), finish())

    said = TokenLogprob("Hel", -0.5, b"Hel", (AlternativeToken("Hel", -0.5),))
    assert answer.parts[0].content == Text("HelloHello")
    assert answer.parts[0].logprobs == (said, said)
