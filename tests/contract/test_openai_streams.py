"""Streams of Chat Completions that are not as the book has them."""

import base64
import json

import pytest
from reading import decoder, read, read_chunks
from recordings import arrivals, sse

from llm_service import errors
from llm_service.domain.completion import (
    ContentFilter,
    FilterStage,
    FinishReason,
    ModalityTokens,
    PartDelta,
    PartFinished,
    PartStarted,
    TokenUsage,
    UsageUpdate,
)
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
    ToolCall,
)
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.chat.fold import fold


def delta(**said) -> bytes:
    choice = {"index": 0, "delta": said, "finish_reason": None}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}).encode()


def finish(reason: str = "stop", **more) -> bytes:
    choice = {"index": 0, "delta": {}, "finish_reason": reason, **more}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}).encode()


def usage(**said) -> bytes:
    return json.dumps({"id": "chatcmpl-1", "choices": [], "usage": said}).encode()


def calling(*pieces: dict) -> bytes:
    return delta(tool_calls=list(pieces))


def piece(name=None, arguments=None, **more) -> dict:
    function = {"name": name, "arguments": arguments}
    return {**more, "function": {k: v for k, v in function.items() if v is not None}}


TEXT = delta(content="Hello")
A = ToolCall("a", "one", '{"x":1}')
B = ToolCall("b", "two", '{"y":2}')


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [
                calling(piece("one", "", index=0, id="a")),
                calling(piece(None, '{"x"', index=0)),
                calling(piece(None, ":1}", index=0)),
                calling(piece("two", "", index=1, id="b")),
                calling(piece(None, '{"y":2}', index=1)),
            ],
            id="by the book",
        ),
        pytest.param(
            [
                calling(piece("one", "", index=0, id="a"), piece("two", "", index=1, id="b")),
                calling(piece(None, '{"x"', index=0), piece(None, '{"y"', index=1)),
                calling(piece(None, ":1}", index=0), piece(None, ":2}", index=1)),
            ],
            id="interleaved",
        ),
        pytest.param(
            [
                calling(piece("one", '{"x"', index=0, id="a")),
                calling(piece(None, ":1}", index=0)),
                calling(piece("two", '{"y"', index=0, id="b")),
                calling(piece(None, ":2}", index=0)),
            ],
            id="every index is 0",
        ),
        pytest.param(
            [
                calling(piece("one", '{"x"', id="a")),
                calling(piece(None, ":1}")),
                calling(piece("two", '{"y"', id="b")),
                calling(piece(None, ":2}")),
            ],
            id="no index",
        ),
        pytest.param(
            [
                calling(piece("one", '{"x"', id="a")),
                calling(piece("two", '{"y"', id="b")),
                calling(piece(None, ":1}", id="a")),
                calling(piece(None, ":2}", id="b")),
            ],
            id="no index and interleaved by id",
        ),
        pytest.param(
            [
                calling(piece("one", '{"x"', index=0, id="a")),
                calling(piece("one", ":1}", index=0, id="a")),
                calling(piece("two", '{"y"', index=1, id="b")),
                calling(piece("two", ":2}", index=1, id="b")),
            ],
            id="id and name on every piece",
        ),
        pytest.param(
            [
                calling(piece("one", '{"x":1}', index=0, id="a")),
                calling(piece("", "", index=0, id="")),
                calling(piece("two", '{"y":2}', index=2, id="b")),
            ],
            id="empty ids, a gap in the numbers",
        ),
        pytest.param(
            [
                calling(piece("one", '{"x":1}', id="a"), piece("two", '{"y":2}', id="b")),
            ],
            id="whole calls in one chunk",
        ),
        pytest.param(
            [
                calling(piece("one", '{"x"', index=0, id="a")),
                calling(piece("two", '{"y"', index=0, id="b")),
                calling(piece(None, ":1}", index=0, id="a")),
                calling(piece(None, ":2}", index=0, id="b")),
            ],
            id="one index and interleaved by id",
        ),
        pytest.param(
            [
                calling(piece("one", None, index=0)),
                calling(piece(None, '{"x":1}', index=0, id="a")),
                calling(piece(None, None, index=1, id="b")),
                calling(piece("two", '{"y":2}', index=1)),
            ],
            id="the name before the id and the id before the name",
        ),
    ],
)
def test_calls_are_told_apart(chunks):
    answer = read_chunks(*chunks, finish("tool_calls"))

    assert [part.content for part in answer.parts] == [A, B]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_calls_with_the_same_id_and_other_numbers_are_two_calls():
    answer = read_chunks(
        calling(piece("one", '{"x":1}', index=0, id="a")),
        calling(piece("two", '{"y":2}', index=1, id="a")),
        finish("tool_calls"),
    )

    assert [part.content.name for part in answer.parts] == ["one", "two"]


def test_calls_without_any_id_get_one_each():
    answer = read_chunks(
        calling(piece("one", '{"x":1}')), calling(piece("two", "{}")), finish("tool_calls")
    )

    assert [part.content for part in answer.parts] == [
        ToolCall("call_chatcmpl-1_0", "one", '{"x":1}'),
        ToolCall("call_chatcmpl-1_1", "two", "{}"),
    ]


@pytest.mark.parametrize("index", [{}, {"index": 0}], ids=["no index", "index"])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(['{"x"', ":1}"], id="whole at the end"),
        pytest.param(["", '{"x":1}'], id="empty at first"),
        pytest.param(["{}}", "]"], id="no JSON"),
    ],
)
def test_a_name_that_is_only_repeated_starts_no_call(arguments, index):
    answer = read_chunks(
        *(calling(piece("one", text, **index)) for text in arguments), finish("tool_calls")
    )

    assert [part.content.arguments_json for part in answer.parts] == ["".join(arguments)]


def test_calls_without_ids_under_one_number_are_told_apart_by_their_names():
    answer = read_chunks(
        calling(piece("one", '{"x":1}', index=0)),
        calling(piece("two", '{"y":2}', index=0)),
        finish("tool_calls"),
    )

    assert [part.content.name for part in answer.parts] == ["one", "two"]


def test_content_may_come_as_a_list_of_blocks():
    answer = read_chunks(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]),
        delta(content=[{"type": "thinking", "thinking": "m"}, {"type": "text", "text": ""}]),
        delta(content=[{"type": "text", "text": "So"}, {"type": "refusal", "refusal": "No"}]),
        finish(),
    )

    assert [part.content for part in answer.parts] == [Thinking("Hmm"), Text("So"), Refusal("No")]


def test_a_filter_may_strike_before_there_is_an_answer():
    answer = read_chunks(b'{"error":{"code":"content_filter"}}')

    assert answer.content_filter == ContentFilter(FilterStage.INPUT)
    assert answer.parts == ()


def test_the_model_may_be_named_after_the_first_event():
    answer = read_chunks(b'{"id":"","model":"","choices":[]}', TEXT, finish())

    assert answer.provider_model == "m"


def test_a_call_without_arguments_is_a_call():
    answer = read_chunks(calling(piece("now", None, index=0, id="a")), finish("tool_calls"))

    assert [part.content for part in answer.parts] == [ToolCall("a", "now", "")]


def test_arguments_are_passed_on_as_the_model_wrote_them():
    arguments = ' {"q" : "é\\u00e9\\n",\t"q":1}not json'

    answer = read_chunks(
        calling(piece("one", arguments[:7], index=0, id="a")),
        *(calling(piece(None, letter, index=0)) for letter in arguments[7:]),
        finish("tool_calls"),
    )

    assert answer.parts[0].content.arguments_json == arguments


def test_the_old_function_call_is_a_tool_call():
    answer = read_chunks(
        delta(function_call={"name": "one", "arguments": ""}),
        delta(function_call={"arguments": '{"x"'}),
        delta(function_call={"arguments": ":1}"}),
        finish("function_call"),
    )

    (called,) = (part.content for part in answer.parts)
    assert (called.name, called.arguments_json) == ("one", '{"x":1}')
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_a_free_text_tool_is_called_with_its_text():
    custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "run", "input": "ls"}}

    answer = read_chunks(calling(custom), finish("tool_calls"))

    assert answer.parts[0].content == ToolCall("a", "run", "ls")


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


def test_what_came_before_a_failure_is_delivered_first():
    reader = decoder()

    events = reader.feed(sse([TEXT, b"{broken", TEXT]))

    assert [type(event) for event in events] == [Accepted, PartStarted, PartDelta]
    assert events[2].text == "Hello"
    assert isinstance(reader.failure, errors.ProviderProtocolError)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"{broken", id="no JSON"),
        pytest.param(b'{"choices":[{"delta":{"content":"\xff"}}]}', id="no UTF-8"),
        pytest.param(b'{"choices":{}}', id="choices are no list"),
        pytest.param(b'{"choices":[{"delta":[]}]}', id="delta is no object"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'"x"' * 20, id="more than one value"),
        pytest.param(b'{"choices":' + b"[" * 5000, id="very deep"),
        pytest.param(delta(audio={"data": "!!!!"}), id="audio is no base64"),
    ],
)
def test_an_event_that_cannot_be_read_is_a_protocol_error(payload):
    with pytest.raises(errors.ProviderProtocolError):
        read([sse([TEXT, payload, finish()])])


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(sse([TEXT], done=False), id="no reason to finish"),
        pytest.param(sse([TEXT]), id="done without a reason to finish"),
        pytest.param(sse([usage(prompt_tokens=1, completion_tokens=1)]), id="only usage"),
        pytest.param(sse([TEXT], done=False) + b"data: " + finish()[:-5], id="cut in an event"),
        pytest.param(b": ping\n\n", id="only pings"),
    ],
)
def test_an_answer_that_is_not_whole_never_ends(stream):
    with pytest.raises(errors.ProviderProtocolError):
        read([stream])


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"data: [DONE]\n\n", id="done"),
        pytest.param(b"", id="no [DONE]"),
        pytest.param(b"data: [DONE]", id="[DONE] without a line's end"),
        pytest.param(b"data: [DONE]\r\n\r\n", id="another line's end"),
        pytest.param(b"data:[DONE] \n\n", id="spaces"),
        pytest.param(b"data: [DONE]\n\ndata: {broken\n\n", id="data after [DONE]"),
        pytest.param(b"data: [DO", id="cut in [DONE]"),
        pytest.param(b"data: \n\n", id="an empty event"),
    ],
)
def test_an_answer_with_a_reason_to_finish_is_whole(end):
    answer = fold(read([sse([TEXT, finish()], done=False) + end]))

    assert answer.parts[0].content == Text("Hello")
    assert answer.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.MAX_OUTPUT_TOKENS),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("model_length", FinishReason.CONTEXT_WINDOW),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("something new", FinishReason.OTHER),
    ],
)
def test_the_vendors_word_for_the_finish_is_kept(said, reason):
    answer = read_chunks(TEXT, finish(said))

    assert (answer.finish_reason, answer.provider_finish_reason) == (reason, said)


@pytest.mark.parametrize("word", ["error", "insufficient_system_resource"])
def test_an_answer_the_vendor_broke_off_is_no_answer(word):
    with pytest.raises(errors.ProviderUnavailable):
        read_chunks(TEXT, finish(word))


def test_a_filter_that_strikes_the_answer_is_a_result():
    results = {"hate": {"filtered": True}, "violence": {"filtered": False}}

    answer = read_chunks(TEXT, finish("content_filter", content_filter_results=results))

    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT, ("hate",))


def test_an_error_that_is_a_filter_is_a_result():
    error = {"error": {"code": "content_filter", "message": "secret words"}}

    answer = read_chunks(TEXT, json.dumps(error).encode())

    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT)
    assert answer.parts[0].content == Text("Hello")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"error": {"message": "x", "type": "server_error"}}, errors.ProviderUnavailable),
        ({"error": {"message": "x", "code": 429}}, errors.ProviderRateLimited),
        ({"error": {"code": "rate_limit_exceeded"}}, errors.ProviderRateLimited),
        ({"error": "boom"}, errors.ProviderUnavailable),
        ({"error": {"type": "invalid_request_error"}}, errors.ProviderRejectedRequest),
        ({"object": "error", "message": "x", "code": 503}, errors.ProviderUnavailable),
        ({"message": "x", "code": "context_length_exceeded"}, errors.ContextLengthExceeded),
        ({"choices": [], "error": {"code": 502}}, errors.ProviderUnavailable),
        ({"detail": "x"}, errors.ProviderUnavailable),
    ],
)
def test_an_error_inside_a_stream_is_raised_as_what_it_is(said, kind):
    with pytest.raises(kind):
        read([sse([TEXT, json.dumps(said).encode(), finish()])])


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


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(
            [
                usage(prompt_tokens=1, completion_tokens=1),
                usage(prompt_tokens=7, completion_tokens=9),
            ],
            TokenUsage(7, 9),
            id="the last count stands, nothing is added",
        ),
        pytest.param(
            [
                usage(prompt_tokens=7, completion_tokens=9),
                usage(prompt_tokens=-1, completion_tokens=3),
            ],
            TokenUsage(7, 9),
            id="a negative count was not said",
        ),
        pytest.param([usage(prompt_tokens=1.5, completion_tokens=3)], None, id="a broken count"),
        pytest.param([usage(prompt_tokens=2**31, completion_tokens=3)], None, id="an absurd count"),
        pytest.param([usage(prompt_tokens="7", completion_tokens=3)], None, id="no number"),
        pytest.param([usage(prompt_tokens=True, completion_tokens=3)], None, id="a truth value"),
        pytest.param([usage(prompt_tokens=7)], None, id="half of it"),
        pytest.param([usage(prompt_tokens=7.0, completion_tokens=3)], TokenUsage(7, 3), id="7.0"),
        pytest.param(
            [usage(prompt_tokens=7, completion_tokens=3, prompt_cache_hit_tokens=4)],
            TokenUsage(7, 3, cache_read_input_tokens=4),
            id="DeepSeek's cache",
        ),
        pytest.param(
            [
                usage(
                    prompt_tokens=7,
                    completion_tokens=3,
                    prompt_tokens_details={"cached_tokens": 9, "audio_tokens": 2},
                    completion_tokens_details={"reasoning_tokens": -4, "audio_tokens": 1},
                )
            ],
            TokenUsage(7, 3, modality_tokens=(ModalityTokens(Modality.AUDIO, 2, 1),)),
            id="a subset is no larger than the whole",
        ),
        pytest.param(
            [
                usage(
                    prompt_tokens=7,
                    completion_tokens=3,
                    total_tokens=30,
                    completion_tokens_details={"reasoning_tokens": 20},
                )
            ],
            TokenUsage(7, 23, reasoning_output_tokens=20),
            id="totals include reasoning also where the vendor's do not",
        ),
        pytest.param(
            [finish("stop", usage={"prompt_tokens": 7, "completion_tokens": 3})],
            TokenUsage(7, 3),
            id="inside the choice",
        ),
        pytest.param(
            [b'{"choices":[],"x_groq":{"usage":{"prompt_tokens":7,"completion_tokens":3}}}'],
            TokenUsage(7, 3),
            id="inside x_groq",
        ),
    ],
)
def test_usage_is_what_the_vendor_said_last_and_believably(chunks, expected):
    assert read_chunks(TEXT, finish(), *chunks).usage == expected


def test_usage_is_known_before_the_end_should_there_be_none():
    reader = decoder()

    events = reader.feed(sse([TEXT, usage(prompt_tokens=7, completion_tokens=3)], done=False))

    assert events[-1] == UsageUpdate(TokenUsage(7, 3))


def test_every_part_is_finished_before_the_end():
    events = read(
        [sse([delta(reasoning="a"), TEXT, calling(piece("one", "", index=0, id="a")), finish()])]
    )

    assert [event.index for event in events if isinstance(event, PartFinished)] == [0, 1, 2]
    assert isinstance(events[-1], Ended)
    assert not any(isinstance(event, Ended) for event in events[:-1])
