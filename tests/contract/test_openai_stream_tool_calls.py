"""Tool calls in streams of Chat Completions, told apart whatever the vendor numbers them by."""

import pytest
from chunks import A, calling, delta, finish, piece
from reading import read_chunks

from llm_service.domain.completion import FinishReason
from llm_service.domain.content import ToolCall

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


@pytest.mark.parametrize("end", ["stop", "STOP", "tool_calls"])
def test_an_answer_that_calls_waits_for_its_caller_whatever_the_vendor_says(end):
    answer = read_chunks(calling(piece("one", '{"x":1}', index=0, id="a")), finish(end))

    assert answer.finish_reason is FinishReason.TOOL_CALLS
    assert answer.provider_finish_reason == end


def test_arguments_may_come_as_the_object_itself():
    answer = read_chunks(calling(piece("one", {"x": 1}, index=0, id="a")), finish("tool_calls"))

    assert answer.parts[0].content == A


def test_a_call_without_an_id_ends_where_its_object_does():
    bits = ('{"a":"}', "\\", '"{"', "}")

    answer = read_chunks(
        *(calling(piece("one", bit, index=0)) for bit in bits),
        calling(piece("one", " ", index=0)),
        calling(piece("one", "{}", index=0)),
        finish("tool_calls"),
    )

    written = [part.content.arguments_json for part in answer.parts]
    assert written == ['{"a":"}\\"{"}', " {}"]
