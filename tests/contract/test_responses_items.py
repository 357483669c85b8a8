"""How calls, hosted tools, images and annotations of a Responses answer become parts."""

import json

import pytest
from recordings import sse
from responses_reading import (
    added,
    call,
    completed,
    created,
    decoder,
    done,
    event,
    grown,
    message,
    read,
    read_events,
    read_whole,
)

from llm_service.domain.completion import (
    CitationDelta,
    DeltaKind,
    FinishReason,
    PartDelta,
    PartFinished,
    PartStarted,
)
from llm_service.domain.content import (
    AlternativeToken,
    Citation,
    Text,
    TokenLogprob,
    ToolCall,
)

TEXT = "output_text"
ARGUMENTS = "function_call_arguments"


def contents(answer) -> list:
    return [part.content for part in answer.parts]


def kept(part) -> dict:
    return json.loads(part.provider_state.data)


def test_a_call_is_announced_with_its_name_and_its_arguments_are_exact():
    events = read(
        [
            sse(
                [
                    added(0, **call("time", "", "call_1")),
                    grown(ARGUMENTS, 0, "fc_1", '{"a": '),
                    grown(ARGUMENTS, 0, "fc_1", '"\\u00e9" }'),
                    done(0, **call("time", '{"a": "\\u00e9" }', "call_1")),
                    completed(),
                ],
                done=False,
            )
        ]
    )

    assert events[1] == PartStarted(0, events[1].part)
    assert events[1].part.content == ToolCall("call_1", "time")
    assert events[2] == PartDelta(0, DeltaKind.ARGUMENTS_JSON, '{"a": "\\u00e9" }')
    assert isinstance(events[3], PartFinished)
    assert events[-1].finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, "fc_1"), (1, "fc_2")),
        ((0, "fc_1"), (0, "fc_2")),  # every index is 0
        ((None, "fc_1"), (None, "fc_2")),
        ((0, ""), (1, "")),
    ],
)
def test_parallel_calls_stay_apart_by_index_or_by_id(first, second):
    (i, one), (j, two) = first, second

    answer = read_events(
        added(i, **call("a", "", "call_1", one)),
        added(j, **call("b", "", "call_2", two)),
        grown(ARGUMENTS, j, two, '{"b": 1}'),
        grown(ARGUMENTS, i, one, '{"a": 1}') if one or i != j else b"",
        done(i, **call("a", '{"a": 1}', "call_1", one)),
        done(j, **call("b", '{"b": 1}', "call_2", two)),
        completed(call("a", '{"a": 1}', "call_1", one), call("b", '{"b": 1}', "call_2", two)),
    )

    assert contents(answer) == [
        ToolCall("call_1", "a", '{"a": 1}'),
        ToolCall("call_2", "b", '{"b": 1}'),
    ]


def test_an_id_that_changes_with_every_event_is_no_other_item():
    answer = read_events(
        added(0, **message("", "id-1") | {"content": []}),
        grown(TEXT, 0, "id-2", "Hel", content_index=0),
        grown(TEXT, 0, "id-3", "lo", content_index=0),
        done(0, **message("Hello", "id-4")),
        completed(message("Hello", "id-5")),
    )

    assert contents(answer) == [Text("Hello")]


def test_an_item_that_begins_twice_is_one():
    answer = read_events(
        added(0, **call("time", "", "call_1")),
        added(0, **call("time", "", "call_1")),
        grown(ARGUMENTS, 0, "fc_1", "{}"),
        completed(call("time", "{}", "call_1")),
    )

    assert contents(answer) == [ToolCall("call_1", "time", "{}")]


def test_items_that_come_only_with_the_end_are_parts_too():
    answer = read_events(created(), completed(message("Hello"), call("time", "{}", "call_1")))

    assert contents(answer) == [Text("Hello"), ToolCall("call_1", "time", "{}")]
    assert answer == read_whole(message("Hello"), call("time", "{}", "call_1"))


def test_a_call_whose_name_or_id_never_comes_is_not_lost():
    answer = read_events(
        created(),
        added(0, type="function_call"),
        grown(ARGUMENTS, 0, "", '{"a": 1}'),
        completed(),
    )

    (lost,) = contents(answer)
    assert lost == ToolCall("call_resp_1_0", "", '{"a": 1}')


def test_a_call_without_arguments_and_one_that_is_cut_off_stay_as_they_are():
    answer = read_whole(
        call("now", "", "call_1"),
        call("time", '{"a', "call_2", "fc_2", status="incomplete"),
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    )

    assert contents(answer) == [ToolCall("call_1", "now"), ToolCall("call_2", "time", '{"a')]
    assert answer.finish_reason is FinishReason.MAX_OUTPUT_TOKENS


def test_the_call_of_the_tool_that_stands_for_a_format_is_the_answer():
    item = call("place", '{"city": "Vík"}', "call_1")
    events = (
        created(),
        added(0, **call("place", "", "call_1")),
        grown(ARGUMENTS, 0, "fc_1", '{"city": '),
        done(0, **item),
        completed(item),
    )

    answer = read_events(*events, reader=decoder("place"))

    assert contents(answer) == [Text('{"city": "Vík"}')]
    assert answer.finish_reason is FinishReason.STOP
    assert answer == read_whole(item, reader=decoder("place"))


def test_what_the_provider_ran_is_a_call_the_caller_must_not_run():
    items = [
        {"type": "code_interpreter_call", "id": "ci_1", "code": "1+1", "outputs": None},
        {"type": "mcp_call", "id": "mcp_1", "name": "look", "arguments": '{"q":1}', "output": "x"},
        {
            "type": "shell_call",
            "call_id": "c",
            "action": {},
            "environment": {"type": "container_reference"},
        },
        {"type": "tool_search_call", "id": "ts_1", "execution": "server", "arguments": {"p": []}},
        {"type": "some_future_call", "id": "sf_1", "status": "completed", "wish": {"a": 1}},
    ]

    answer = read_whole(*items)

    calls = contents(answer)
    assert all(c.server_side for c in calls)
    assert [(c.id, c.name, c.arguments_json) for c in calls] == [
        ("ci_1", "code_interpreter", '{"code":"1+1"}'),
        ("mcp_1", "look", '{"q":1}'),
        ("c", "shell", "{}"),
        ("ts_1", "tool_search", '{"p":[]}'),
        ("sf_1", "some_future", '{"a":1}'),
    ]
    assert [kept(part)["item"] for part in answer.parts] == items
    assert answer.finish_reason is FinishReason.STOP


def test_a_free_text_tool_is_the_callers_if_the_caller_gave_it():
    item = {"type": "custom_tool_call", "id": "ct_1", "call_id": "c1", "name": "sql", "input": "?"}
    own = [{"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "sql"}]}]

    assert not contents(read_whole(item))[0].server_side
    assert not contents(read_whole(item, tools=own))[0].server_side
    assert contents(read_whole(item, tools=[{"type": "x_search"}]))[0].server_side


def test_an_item_of_no_known_kind_is_kept():
    item = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []}

    answer = read_events(added(0, **item), done(0, **item), completed(item))

    assert contents(answer) == [Text("")]
    assert kept(answer.parts[0]) == {"item": item}


@pytest.mark.parametrize("result", ["no base64!", "", None])
def test_an_image_that_cannot_be_shown_is_kept(result):
    item = {"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": result}

    answer = read_events(added(0, **item), completed(item))

    assert contents(answer) == [Text("")]
    assert kept(answer.parts[0]) == {"item": item}


NOTES = [
    {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 1, "end_index": 4},
    {"type": "url_citation", "url": "https://b"},
    {"type": "file_citation", "file_id": "f1", "filename": "a.pdf", "index": 7},
    {"type": "container_file_citation", "file_id": "f2", "start_index": 9, "end_index": 3},
    {"type": "file_path", "index": -1},
    "none",
]
CITED = (
    Citation("https://a", "A", start_index=1, end_index=4),
    Citation("https://b"),
    Citation(title="a.pdf", start_index=7, end_index=7),
    Citation(title="f2", start_index=9, end_index=9),
)


def test_annotations_are_citations_once_each_and_kept_as_they_came():
    noted = message("Found it all.", annotations=NOTES)
    news = [
        event(
            "response.output_text.annotation.added",
            output_index=0,
            content_index=0,
            item_id="msg_1",
            annotation=note,
        )
        for note in NOTES[:2]
    ]

    events = read(
        [
            sse(
                [
                    grown(TEXT, 0, "msg_1", "Found it all.", content_index=0),
                    *news,
                    completed(noted),
                ],
                done=False,
            )
        ]
    )

    cited = tuple(e.citation for e in events if isinstance(e, CitationDelta))
    assert cited == CITED
    assert read_whole(noted).parts[0].citations == CITED
    assert kept(read_whole(noted).parts[0])["content"]["annotations"] == NOTES


def test_probabilities_come_with_their_text_whole_or_streamed():
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    said = [{**token, "top_logprobs": [{"token": "Ho", "logprob": -1}]}]
    expected = (TokenLogprob("Hi", -0.5, b"Hi", (AlternativeToken("Ho", -1.0),)),)

    streamed = read_events(
        created(),
        grown(TEXT, 0, "msg_1", "Hi", content_index=0, logprobs=said),
        completed(message("Hi", logprobs=said)),
    )

    assert streamed.parts[0].logprobs == expected
    assert streamed == read_whole(message("Hi", logprobs=said))
