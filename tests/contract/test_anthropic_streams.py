"""Streams of the Messages API: blocks, and what comes beside them."""

import json

import pytest
from anthropic_wire import (
    END,
    PING,
    closed,
    delta,
    opened,
    read,
    read_events,
    sse,
    start,
    stop,
    text,
)

from llm_service.domain.completion import (
    FinishReason,
    PartDelta,
    PartFinished,
    PartStarted,
    UsageUpdate,
)
from llm_service.domain.content import Citation, Text, Thinking, ToolCall
from llm_service.providers.base import Accepted

TOOL = {"type": "tool_use", "id": "toolu_1", "name": "time", "input": {}}


def contents(answer) -> list:
    return [part.content for part in answer.parts]


def state(part) -> dict:
    return json.loads(part.provider_state.data)


def arguments(*pieces, index=0) -> list[dict]:
    return [delta("input_json_delta", index, partial_json=piece) for piece in pieces]


# --- blocks ---------------------------------------------------------------------------------------


def test_a_stream_tells_its_parts_as_they_grow():
    events = read([sse(start(), PING, *text("Hello")), sse(*text("!", 1)), sse(stop(), END)])

    assert events[0] == Accepted("claude-x", "msg_1", ())
    told = [type(event) for event in events[1:5]]
    assert told == [UsageUpdate, PartStarted, PartDelta, PartFinished]
    assert [event.index for event in events[5:8]] == [1, 1, 1]
    assert events[-1].provider_finish_reason == "end_turn"


def test_thinking_comes_with_its_signature_and_redacted_thinking_with_its_data():
    answer = read_events(
        start(),
        opened({"type": "thinking", "thinking": "", "signature": ""}),
        delta("thinking_delta", thinking="Hm, "),
        delta("thinking_delta", thinking="so."),
        delta("signature_delta", signature="c2ln"),
        closed(),
        opened({"type": "redacted_thinking", "data": "secret"}, 1),
        closed(1),
        stop(),
        END,
    )

    assert contents(answer) == [Thinking("Hm, so."), Thinking("", redacted=True)]
    assert [state(part) for part in answer.parts] == [{"signature": "c2ln"}, {"data": "secret"}]


def test_thinking_that_is_not_shown_is_still_signed():
    answer = read_events(
        start(),
        opened({"type": "thinking", "thinking": "", "signature": "c2ln"}),
        closed(),
        stop(),
        END,
    )

    assert contents(answer) == [Thinking("")]
    assert state(answer.parts[0]) == {"signature": "c2ln"}


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([], "{}"),
        ([""], "{}"),
        (['{"b"', ': 1.0,"a"', ':"\\u00e9"}'], '{"b": 1.0,"a":"\\u00e9"}'),
    ],
)
def test_arguments_are_what_came_byte_for_byte(pieces, whole):
    answer = read_events(
        start(), opened(TOOL), *arguments(*pieces), closed(), stop("tool_use"), END
    )

    assert contents(answer) == [ToolCall("toolu_1", "time", whole)]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_arguments_may_come_with_the_start():
    block = {**TOOL, "input": {"a": 1}, "caller": {"type": "direct"}}

    answer = read_events(start(), opened(block), closed(), stop("tool_use"), END)

    assert json.loads(contents(answer)[0].arguments_json) == {"a": 1}
    assert state(answer.parts[0]) == {"call": {"caller": {"type": "direct"}}}


@pytest.mark.parametrize("written", ['{"a": ', "[]", "no json"])
def test_arguments_that_are_no_object_make_a_malformed_call(written):
    answer = read_events(
        start(), opened(TOOL), *arguments(written), closed(), stop("tool_use"), END
    )

    assert contents(answer)[0].arguments_json == written
    assert answer.finish_reason is FinishReason.MALFORMED_TOOL_CALL


def test_arguments_cut_by_the_limit_are_an_answer_that_reached_it():
    answer = read_events(
        start(), opened(TOOL), *arguments('{"a'), closed(), stop("max_tokens"), END
    )

    assert answer.finish_reason is FinishReason.MAX_OUTPUT_TOKENS


@pytest.mark.parametrize("index", [0, None])
def test_calls_that_share_an_index_are_separate_calls(index):
    second = {**TOOL, "id": "toolu_2"}

    answer = read_events(
        start(),
        opened(TOOL, index),
        *arguments('{"a":1}', index=index),
        opened(second, index),
        *arguments('{"a":2}', index=index),
        closed(index),
        stop("tool_use"),
        END,
    )

    assert contents(answer) == [
        ToolCall("toolu_1", "time", '{"a":1}'),
        ToolCall("toolu_2", "time", '{"a":2}'),
    ]


def test_blocks_may_interleave():
    answer = read_events(
        start(),
        opened(TOOL, 0),
        opened({**TOOL, "id": "toolu_2"}, 1),
        *arguments('{"a"', index=0),
        *arguments("{}", index=1),
        *arguments(":1}", index=0),
        closed(1),
        closed(0),
        stop("tool_use"),
        END,
    )

    assert [call.arguments_json for call in contents(answer)] == ['{"a":1}', "{}"]


def test_a_repeated_start_of_a_block_is_one_block():
    first, *rest = text("Hi")

    answer = read_events(start(), first, first, *rest, closed(), stop(), END)

    assert contents(answer) == [Text("Hi")]


def test_blocks_left_open_end_with_the_answer():
    answer = read_events(start(), *text("Hi")[:2], stop(), END)

    assert contents(answer) == [Text("Hi")]


def test_a_call_without_an_id_gets_one_of_its_own():
    block = {**TOOL, "id": None}

    answer = read_events(start(), *text("a"), opened(block, 1), closed(1), stop("tool_use"), END)

    assert contents(answer)[1].id == "toolu_msg_1_1"


def test_what_the_vendor_ran_is_a_call_of_its_own_and_its_result_is_kept():
    ran = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
    result = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"n": 1}]}

    answer = read_events(
        start(),
        opened(ran),
        *arguments('{"query": "x"}'),
        closed(),
        opened(result, 1),
        closed(1),
        stop(),
        END,
    )

    called = ToolCall("srv_1", "web_search", '{"query": "x"}', server_side=True)
    assert contents(answer) == [called, Text("")]
    kept = {name: ran[name] for name in ran if name != "input"}
    assert [state(part) for part in answer.parts] == [{"call": kept}, {"block": result}]
    assert answer.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("block", "deltas", "kept"),
    [
        (
            {"type": "compaction", "content": None},
            [{"type": "compaction_delta", "content": "Sum.", "encrypted_content": "e"}],
            {"type": "compaction", "content": "Sum.", "encrypted_content": "e"},
        ),
        (
            {"type": "brand_new", "said": "a", "n": 1},
            [{"type": "new_delta", "said": "b"}, {"type": "text_delta", "text": "c", "n": 2}],
            {"type": "brand_new", "said": "ab", "n": 2, "text": "c"},
        ),
        (
            {"type": "container_upload", "file_id": "f"},
            [],
            {"type": "container_upload", "file_id": "f"},
        ),
        ({}, [], {}),
    ],
)
def test_a_block_the_contract_has_no_place_for_is_kept(block, deltas, kept):
    said = [{"type": "content_block_delta", "index": 0, "delta": one} for one in deltas]

    answer = read_events(start(), opened(block), *said, closed(), stop(), END)

    assert contents(answer) == [Text("")]
    assert state(answer.parts[0]) == {"block": kept}


def test_a_delta_nobody_knows_is_kept_with_its_part():
    answer = read_events(
        start(), opened({"type": "text", "text": "a"}), delta("mood_delta", mood="gay"), closed(),
        stop(), END,
    )  # fmt: skip

    assert contents(answer) == [Text("a")]
    assert state(answer.parts[0]) == {"deltas": [{"type": "mood_delta", "mood": "gay"}]}


@pytest.mark.parametrize(
    ("location", "citation"),
    [
        (
            {"type": "char_location", "cited_text": "c", "document_title": "T",
             "start_char_index": 3, "end_char_index": 4},
            Citation("", "T", "c", 0, 4),
        ),
        (
            {"type": "page_location", "cited_text": "c", "document_title": None,
             "start_page_number": 1, "end_page_number": 2},
            Citation("", "", "c", 0, 4),
        ),
        (
            {"type": "web_search_result_location", "cited_text": "c", "url": "https://a.example",
             "title": "T", "encrypted_index": "x"},
            Citation("https://a.example", "T", "c", 0, 4),
        ),
        (
            {"type": "search_result_location", "cited_text": "c", "source": "s", "title": "T"},
            Citation("s", "T", "c", 0, 4),
        ),
        ("nonsense", Citation("", "", "", 0, 4)),
    ],
)  # fmt: skip
def test_citations_hold_for_the_text_of_their_block(location, citation):
    answer = read_events(
        start(),
        opened({"type": "text", "text": "", "citations": []}),
        delta("citations_delta", citation=location),
        delta("text_delta", text="Sól👋"),
        closed(),
        stop(),
        END,
    )

    assert answer.parts[0].citations == (citation,)
    assert state(answer.parts[0]) == {"citations": [location]}


# --- beside the blocks ----------------------------------------------------------------------------


def test_the_container_and_edits_of_the_context_are_kept_in_a_last_part():
    edits = {"applied_edits": [{"type": "clear_tool_uses_20250919", "cleared_tool_uses": 1}]}
    ended = {**stop(container={"id": "c_1", "expires_at": "2999"}), "context_management": edits}

    answer = read_events(start(), *text("Hi"), ended, END)

    assert contents(answer) == [Text("Hi"), Text("")]
    said = {"container": {"id": "c_1", "expires_at": "2999"}, "context_management": edits}
    assert state(answer.parts[1]) == {"message": said}


def test_edits_that_were_not_made_leave_nothing():
    ended = {**stop(), "context_management": {"applied_edits": []}}

    assert contents(read_events(start(), *text("Hi"), ended, END)) == [Text("Hi")]


def test_the_model_that_took_over_is_who_answered():
    block = {"type": "fallback", "from": {"model": "claude-x"}, "to": {"model": "claude-y"}}

    answer = read_events(start(), opened(block), closed(), *text("Hi", 1), stop(), END)

    assert answer.provider_model == "claude-y"
    assert state(answer.parts[0]) == {"block": block}
