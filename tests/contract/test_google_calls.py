"""Tool calls in Google's answers, whole and value by value."""

import json

import pytest
from google_wire import answered, chunk, decoder
from hypothesis import given
from hypothesis import strategies as st

from llm_service import errors
from llm_service.domain.completion import FinishReason
from llm_service.domain.content import Text, ToolCall
from llm_service.providers.fold import fold
from llm_service.providers.gemini.partial_args import ArgumentsText
from llm_service.providers.gemini.wire import PartialArg


def contents(answer) -> list:
    return [part.content for part in answer.parts]


def calling(name=None, **more) -> dict:
    return {"functionCall": {**({"name": name} if name else {}), **more}}


def test_several_calls_in_one_chunk_are_several():
    answer = answered(
        chunk(
            calling("a", args={"x": 1.50}, id="1"),
            calling("b", id="1"),
            calling("a", args=None),
            finish="STOP",
        )
    )

    calls = contents(answer)
    assert [(call.name, call.arguments_json) for call in calls] == [
        ("a", '{"x":1.5}'),
        ("b", "{}"),
        ("a", "{}"),
    ]
    assert [call.id for call in calls] == ["1", "call_r-1_1", "call_r-1_2"]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_arguments_are_the_models_bytes_without_the_printers_spaces():
    body = b"""{"candidates": [{"content": {"parts": [{"functionCall": {"name": "a", "args": {
      "z": 1.50,
      "a": [ 1e2, "\\u00e9 \\n" ]
    }}}]}, "finishReason": "STOP"}]}"""

    [call] = contents(fold(decoder().whole(body)))

    assert call.arguments_json == '{"z":1.50,"a":[1e2,"\\u00e9 \\n"]}'


def partial(path, **value) -> dict:
    return calling(partialArgs=[{"jsonPath": path, **value}], willContinue=True)


def test_values_of_every_type_at_every_kind_of_path_are_written_in_order():
    answer = answered(
        chunk(calling("f", willContinue=True)),
        chunk(partial("$.s", stringValue='a"\n', willContinue=True)),
        chunk(partial("$.s", stringValue="é😀", willContinue=True)),
        chunk(partial("$.s", stringValue="")),
        chunk(partial("$.n", numberValue=50), partial("$['o p'][\"q.r\"]", boolValue=True)),
        chunk(partial("$.l[0][0]", numberValue=0.25), partial("$.l[0][1]", nullValue="NULL_VALUE")),
        chunk(partial("$.l[2].x", stringValue="end")),
        chunk(calling(), finish="STOP"),
    )

    [call] = contents(answer)
    assert call.arguments_json == (
        '{"s":"a\\"\\né😀","n":50,"o p":{"q.r":true},"l":[[0.25,null],null,{"x":"end"}]}'
    )


@pytest.mark.parametrize(
    "paths",
    [
        ("$.a[1]", "$.a[0]"),
        ("$.a", "$.a"),
        ("$.a", "$.b", "$.a"),
        ("$.a.x", "$.b", "$.a.y"),
        ("$.a.b", "$.a[0]"),
        ("$.a[0]", "$.a.b"),
        ("$.a[999999]",),
        ("$",),
        ("a",),
        ("$..a",),
        ("$[0]",),
        (None,),
        ("$" + ".a" * 100,),
    ],
)
def test_arguments_that_do_not_fit_together_are_an_error(paths):
    with pytest.raises(errors.ProviderProtocolError):
        answered(
            chunk(calling("f", willContinue=True)),
            *(chunk(partial(path, numberValue=1)) for path in paths),
            chunk(finish="STOP"),
        )


def test_what_comes_within_a_string_that_goes_on_waits_for_its_end():
    answer = answered(
        chunk(calling("f", willContinue=True)),
        chunk(partial("$.o.s", stringValue="a", willContinue=True)),
        chunk(partial("$.o.n", numberValue=1), partial("$.p", stringValue="x", willContinue=True)),
        chunk(partial("$.q", boolValue=True)),
        chunk(partial("$.o.s", stringValue="b", willContinue=True)),
        chunk(partial("$.p", stringValue="y")),
        chunk(partial("$.o.s", stringValue="c")),
        chunk(calling(), finish="STOP"),
    )

    [call] = contents(answer)
    assert call.arguments_json == '{"o":{"s":"abc","n":1},"p":"xy","q":true}'


@given(st.data())
def test_pieces_of_strings_in_any_order_make_the_object_googles_sdk_would(data):
    """Strings that are told to go on may take turns; each ends once."""
    count = data.draw(st.integers(1, 5))
    left = {f"k{n}": data.draw(st.integers(1, 4)) for n in range(count)}
    expected: dict[str, str] = {}
    events = []
    while left:
        key = data.draw(st.sampled_from(sorted(left)))
        left[key] -= 1
        said = data.draw(st.text(max_size=3))
        expected[key] = expected.get(key, "") + said
        events.append(chunk(partial(f"$.{key}", stringValue=said, willContinue=left[key] > 0)))
        if not left[key]:
            del left[key]

    answer = answered(chunk(calling("f", willContinue=True)), *events, chunk(finish="STOP"))

    [call] = contents(answer)
    assert json.loads(call.arguments_json, object_pairs_hook=no_duplicates) == expected


def no_duplicates(pairs):
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_more_than_anyone_would_interleave_is_an_error():
    arguments = ArgumentsText()
    arguments.take(PartialArg("$.s", "a", willContinue=True))

    for n in range(1000):
        arguments.take(PartialArg(f"$.k{n}", numberValue=n))

    with pytest.raises(errors.ProviderProtocolError):
        arguments.take(PartialArg("$.k1000", numberValue=1))


def test_a_piece_of_a_call_nobody_began_is_an_error():
    with pytest.raises(errors.ProviderProtocolError):
        answered(chunk(calling(args={}), finish="STOP"))


def test_a_call_left_open_is_closed_at_the_end():
    answer = answered(
        chunk(calling("f", willContinue=True, id="x")),
        chunk(calling("f", id="x", partialArgs=[{"jsonPath": "$.a", "stringValue": "b"}],
                      willContinue=True)),
        chunk(finish="STOP"),
    )  # fmt: skip

    assert contents(answer) == [ToolCall("x", "f", '{"a":"b"}')]
    assert json.loads(answer.parts[0].provider_state.data) == {"id": "x"}


@pytest.mark.parametrize("streamed", [True, False])
def test_a_format_emulated_by_a_tool_is_text(streamed):
    args = {"city": "Vík"}
    parts = (
        [calling("answer", willContinue=True), partial("$.city", stringValue="Vík"), calling()]
        if streamed
        else [calling("answer", args=args)]
    )

    answer = answered(*(chunk(p) for p in parts), chunk(finish="STOP"), answer_tool="answer")

    assert contents(answer) == [Text('{"city":"Vík"}')]
    assert answer.finish_reason is FinishReason.STOP
