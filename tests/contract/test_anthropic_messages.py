"""Conversations as the anthropic kind sends them."""

import json

import pytest
from anthropic_bodies import (
    PNG,
    PROFILE,
    TIME,
    block,
    body,
    body_of,
    ours,
    prepared,
    turns,
    warned,
)
from calls import call, message, user

from llm_service.domain.content import (
    Citation,
    Media,
    Modality,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.errors import InvalidField
from llm_service.providers.messages.request import prepare

CALL = ToolCall("toolu_1", "time", '{"b": 1, "a": 1.0}')
RESULT = ToolResult("toolu_1", "time", (Part(Text("noon")),))


def test_system_messages_are_lifted_in_order():
    said = body(
        call(
            message(Role.SYSTEM, "Be brief.", "Be kind."),
            user("Hi"),
            message(Role.SYSTEM, "Rhyme."),
        )
    )

    assert said["system"] == [block("Be brief."), block("Be kind."), block("Rhyme.")]
    assert said["messages"] == [{"role": "user", "content": [block("Hi")]}]


def test_turns_of_one_speaker_become_one():
    assert turns(user("a"), user("b"), message(Role.ASSISTANT, "c"), user("d")) == [
        ("user", [block("a"), block("b")]),
        ("assistant", [block("c")]),
        ("user", [block("d")]),
    ]


def test_empty_texts_and_empty_messages_are_left_out():
    said = turns(user("a"), message(Role.ASSISTANT, ""), user("", "b"), message(Role.SYSTEM, ""))

    assert said == [("user", [block("a"), block("b")])]


def test_text_of_white_space_only_is_left_out_and_said():
    asked = call(user("a", " \n"))

    assert body(asked)["messages"][0]["content"] == [block("a")]
    assert warned(asked) == [("CONTENT_DROPPED", "messages[0].parts[1]")]


def test_a_conversation_that_says_nothing_is_refused():
    with pytest.raises(InvalidField):
        body(call(user(""), message(Role.SYSTEM, "Be brief.")))


def test_an_answer_to_be_continued_does_not_end_in_white_space():
    assert turns(user("a"), message(Role.ASSISTANT, "The sum is "))[1] == (
        "assistant",
        [block("The sum is")],
    )


def test_results_come_first_in_their_turn():
    said = turns(
        user("When?"),
        message(Role.ASSISTANT, "Let me see.", CALL),
        user("Quick!"),
        message(Role.TOOL, RESULT),
        tools=(TIME,),
    )

    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [block("noon")]}
    assert said[2] == ("user", [result, block("Quick!")])


def test_the_arguments_of_a_call_go_back_byte_for_byte():
    shaped = prepared(call(user("a"), message(Role.ASSISTANT, CALL), message(Role.TOOL, RESULT)))

    [called] = shaped.body["messages"][1]["content"]
    assert bytes(called["input"]) == b'{"b": 1, "a": 1.0}'


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [("", {}), ("  ", {}), ("[]", {"INVALID_JSON": "[]"}), ('{"a', {"INVALID_JSON": '{"a'})],
)
def test_arguments_that_are_no_object_are_put_in_one(arguments, sent):
    asked = ToolCall("toolu_1", "time", arguments)

    said = turns(user("a"), message(Role.ASSISTANT, asked), message(Role.TOOL, RESULT))

    assert said[1][1][0]["input"] == sent


def test_a_result_may_have_failed_and_hold_images_and_documents():
    pdf = Media(Modality.DOCUMENT, data=b"%PDF", mime_type="application/pdf")
    result = ToolResult("toolu_1", "", (Part(Text("")), Part(PNG), Part(pdf)), failed=True)

    said = turns(user("a"), message(Role.ASSISTANT, CALL), message(Role.TOOL, result))

    [sent] = said[2][1]
    assert sent["is_error"] is True
    assert [inner["type"] for inner in sent["content"]] == ["image", "document"]


def test_a_result_may_be_empty():
    result = ToolResult("toolu_1", "", ())

    said = turns(user("a"), message(Role.ASSISTANT, CALL), message(Role.TOOL, result))

    assert said[2][1] == [{"type": "tool_result", "tool_use_id": "toolu_1"}]


def test_ids_of_other_vendors_are_shaped_and_stay_paired():
    odd = ToolCall("functions.time:0", "my.time", "{}")
    first = [message(Role.ASSISTANT, odd), message(Role.TOOL, ToolResult(odd.id, "", ()))]

    said = turns(user("a"), *first, *first)

    ids = [said[n][1][0]["id"] for n in (1, 3)]
    assert ids == [said[n][1][0]["tool_use_id"] for n in (2, 4)]
    assert len(set(ids)) == 2
    assert said == turns(user("a"), *first, *first)
    assert said[1][1][0]["name"] == "my_time"


@pytest.mark.parametrize(
    "messages",
    [
        (user("a"), message(Role.TOOL, RESULT)),
        (user("a"), message(Role.ASSISTANT, CALL), user("b")),
        (user("a"), message(Role.ASSISTANT, CALL)),
        (user("a"), message(Role.ASSISTANT, CALL), message(Role.TOOL, RESULT, RESULT)),
        (user("a"), message(Role.ASSISTANT, CALL), user("b"), message(Role.ASSISTANT, "c")),
    ],
    ids=["no call", "no result", "no turn", "two results", "too late"],
)
def test_calls_and_results_that_are_no_pairs_are_refused(messages):
    with pytest.raises(InvalidField):
        body(call(*messages))


def test_a_call_made_by_code_the_vendor_ran_needs_no_result():
    by_code = ours(CALL, {"call": {"caller": {"type": "code_execution_20260120", "tool_id": "s"}}})

    shaped = prepare(call(user("a"), message(Role.ASSISTANT, by_code), user("b")), PROFILE)

    assert body_of(shaped)["messages"][1]["content"][0]["caller"]["tool_id"] == "s"


def test_a_call_made_by_code_the_vendor_ran_may_have_a_result():
    by_code = ours(CALL, {"call": {"caller": {"type": "code_execution_20260120", "tool_id": "s"}}})

    shaped = prepare(
        call(user("a"), message(Role.ASSISTANT, by_code), message(Role.TOOL, RESULT)), PROFILE
    )

    assert body_of(shaped)["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"


# --- thinking and the vendor's own state ----------------------------------------------------------


def test_thinking_goes_back_signed_and_redacted_thinking_as_it_came():
    said = turns(
        user("a"),
        message(
            Role.ASSISTANT,
            ours(Thinking("Hm."), {"signature": "c2ln"}),
            ours(Thinking("", redacted=True), {"data": "secret"}),
            "b",
        ),
        user("c"),
    )

    assert said[1][1] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "secret"},
        block("b"),
    ]


@pytest.mark.parametrize(
    "thought",
    [
        Part(Thinking("Hm.")),
        ours(Thinking("Hm."), {"signature": "c2ln"}, kind="google"),
        ours(Thinking("", redacted=True), {"signature": "c2ln"}),
    ],
    ids=["unsigned", "another kind's", "redacted and signed"],
)
def test_any_other_thinking_is_left_out_and_said(thought):
    asked = call(user("a"), message(Role.ASSISTANT, thought, "b"), user("c"))

    assert body(asked)["messages"][1]["content"] == [block("b")]
    assert warned(asked) == [("CONTENT_DROPPED", "messages[1].parts[0]")]


def test_what_the_vendor_ran_goes_back_as_it_came():
    ran = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "caller": {}}
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    asked = ToolCall("srvtoolu_1", "web_search", '{"query":"a"}', server_side=True)

    said = turns(
        user("a"),
        message(Role.ASSISTANT, ours(asked, {"call": ran}), ours(Text(""), {"block": result}), "b"),
        user("c"),
    )

    assert said[1][1] == [{**ran, "input": {"query": "a"}}, result, block("b")]


def test_a_call_another_vendor_ran_is_left_out_and_said():
    asked = call(
        user("a"),
        message(Role.ASSISTANT, ToolCall("x", "web_search", "{}", server_side=True), "b"),
        user("c"),
    )

    assert body(asked)["messages"][1]["content"] == [block("b")]
    assert warned(asked) == [("CONTENT_DROPPED", "messages[1].parts[0]")]


@pytest.mark.parametrize(
    ("expires", "sent"), [("2999-01-01T00:00:00Z", "c_1"), ("2020-01-01T00:00:00Z", None)]
)
def test_the_next_answer_runs_in_the_container_of_the_last_while_there_is_one(expires, sent):
    state = {"message": {"container": {"id": "c_1", "expires_at": expires}}}
    asked = call(user("a"), message(Role.ASSISTANT, "b", ours(Text(""), state)), user("c"))

    assert body(asked).get("container") == sent
    assert len(warned(asked)) == (0 if sent else 1)


def test_citations_go_back_as_the_vendor_put_them():
    location = {"type": "char_location", "cited_text": "x", "document_index": 0}
    cited = ours(
        Text("b"), {"citations": [location]}, citations=(Citation(cited_text="x", end_index=1),)
    )

    said = turns(user("a"), message(Role.ASSISTANT, cited), user("c"))

    assert said[1][1] == [{**block("b"), "citations": [location]}]


@pytest.mark.parametrize("role", [Role.ASSISTANT, Role.USER])
def test_citations_of_others_are_left_out_and_said(role):
    cited = Part(Text("b"), citations=(Citation(uri="https://a.example"),))
    asked = call(user("a"), message(role, cited), user("c"))

    assert "citations" not in json.dumps(body(asked))
    assert warned(asked) == [("CONTENT_DROPPED", "messages[1].parts[0].citations")]


def test_a_user_cites_nothing():
    asked = call(user(ours(Text("b"), {"citations": [{"type": "char_location"}]})))

    assert body(asked)["messages"][0]["content"] == [block("b")]
    assert warned(asked) == [("CONTENT_DROPPED", "messages[0].parts[0].citations")]


def test_a_refusal_of_another_vendor_is_what_the_model_said():
    assert turns(user("a"), message(Role.ASSISTANT, Refusal("No.")), user("b"))[1] == (
        "assistant",
        [block("No.")],
    )


def test_why_the_vendor_declined_is_not_sent_back():
    declined = ours(Refusal("Policy."), {"stop_details": {"type": "refusal"}})

    assert turns(user("a"), message(Role.ASSISTANT, declined), user("b")) == [
        ("user", [block("a"), block("b")])
    ]
