"""Conversations as Converse wants them, and what it has no place for."""

import pytest
from bedrock_bodies import NOVA, PNG, asked, body, kept, opaque, shaped, warnings
from calls import message, user

from llm_service.domain.content import (
    CacheControl,
    Citation,
    Media,
    Modality,
    Part,
    ProviderState,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported, InvalidField

CALL = ToolCall("toolu_1", "weather", '{"z": 1, "a": 1.50}')
MISTRAL = "mistral.mistral-large-2402-v1:0"


def result(call_id="toolu_1", *contents, failed=False) -> ToolResult:
    parts = tuple(Part(c) for c in contents or (Text("Rain"),))
    return ToolResult(call_id, "weather", parts, failed)


def document(name="", mime_type="application/pdf"):
    return Media(Modality.DOCUMENT, data=b"%PDF", mime_type=mime_type, display_name=name)


def assistant(*contents):
    return message(Role.ASSISTANT, *contents)


def test_instructions_are_lifted_and_what_one_says_running_is_joined():
    made = asked(
        message(Role.SYSTEM, "Be brief."),
        user("One", "Two"),
        user("Three"),
        assistant("Four"),
        message(Role.SYSTEM, "Be kind."),
        user("Five"),
    )

    sent = body(made)

    assert sent["system"] == [{"text": "Be brief."}, {"text": "Be kind."}]
    assert sent["messages"] == [
        {"role": "user", "content": [{"text": "One"}, {"text": "Two"}, {"text": "Three"}]},
        {"role": "assistant", "content": [{"text": "Four"}]},
        {"role": "user", "content": [{"text": "Five"}]},
    ]


def test_blank_text_is_left_out_and_no_words_are_put_in_its_place():
    made = asked(user("One", ""), assistant(""), user(" \n", "Two"))

    assert body(made)["messages"] == [
        {"role": "user", "content": [{"text": "One"}, {"text": "Two"}]}
    ]
    assert warnings(made) == [("CONTENT_DROPPED", "messages[2].parts[0]")]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([user("")], "messages"),
        ([message(Role.SYSTEM, "Hi")], "messages"),
        ([assistant("Hi"), user("Hello")], "messages[0]"),
        ([user(document())], "messages[0]"),
        ([user(Media(Modality.IMAGE, uri="https://a.example/x.png"))], "messages[0].parts[0]"),
        ([user(Media(Modality.IMAGE, file_id="f", mime_type="image/png"))], "messages[0].parts[0]"),
        (
            [user(Media(Modality.IMAGE, data=b"x", mime_type="image/bmp"))],
            "messages[0].parts[0].image",
        ),
        ([message(Role.SYSTEM, PNG), user("Hi")], "messages[0].parts[0]"),
        ([user("Hi"), assistant(result())], "messages[1].parts[0]"),
        ([user("Hi", Thinking("Hm"))], "messages[0].parts[1]"),
        ([user("Hi"), assistant(CALL)], "messages[1]"),
        ([user("Hi"), assistant(CALL), user("So?")], "messages[2]"),
        ([user("Hi"), assistant(CALL, CALL), message(Role.TOOL, result())], "messages[1]"),
        ([user("Hi", result())], "messages[0]"),
        (
            [user("Hi"), assistant(CALL), message(Role.TOOL, result(), result())],
            "messages[2]",
        ),
        (
            [
                user("Hi"),
                assistant(CALL),
                message(Role.TOOL, result("toolu_1", Thinking("Hm"))),
            ],
            "messages[2].parts[0].tool_result.content[0]",
        ),
    ],
)
def test_what_there_is_no_place_for_is_refused_by_its_path_and_the_model(messages, field):
    with pytest.raises(CapabilityNotSupported) as failure:
        shaped(asked(*messages))

    assert failure.value.metadata["field"] == field
    assert failure.value.metadata["model"].startswith("anthropic.")


@pytest.mark.parametrize(
    "media",
    [
        Media(Modality.IMAGE, data=b"x"),
        Media(Modality.IMAGE, data=b"", mime_type="image/png"),
        Media(Modality.IMAGE, uri="s3://bucket/file"),
    ],
)
def test_media_that_is_not_whole_is_an_invalid_field(media):
    with pytest.raises(InvalidField):
        shaped(asked(user("Hi", media)))


def test_only_results_are_in_a_tool_message():
    with pytest.raises(InvalidField):
        shaped(asked(user("Hi"), message(Role.TOOL, "Hi")))


def test_media_go_as_bytes_or_by_their_place_in_s3():
    made = asked(
        user(
            "See",
            PNG,
            Media(Modality.VIDEO, uri="s3://bucket/film.mp4"),
            Media(Modality.AUDIO, data=b"RIFF", mime_type="audio/wav"),
            Media(Modality.IMAGE, uri="s3://bucket/a.jpg"),
        )
    )

    assert body(made)["messages"][0]["content"][1:] == [
        {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}},
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/film.mp4"}}}},
        {"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.jpg"}}}},
    ]


def test_documents_get_names_the_vendor_takes_and_none_twice():
    names = ["John's  report.pdf", "résumé (2).docx", "", "분기보고서", "a" * 300, "a" * 250]
    made = asked(user("See", *(document(name) for name in names)))

    sent = [b["document"]["name"] for b in body(made)["messages"][0]["content"][1:]]

    assert sent[:4] == ["John s report", "r sum (2)", "document", "document-2"]
    assert sent[4] == "a" * 200
    assert sent[5] == "a" * 198 + "-2"


def test_a_call_and_its_result_go_over_with_arguments_as_they_were_written():
    made = asked(user("Weather?"), assistant("Well", CALL), message(Role.TOOL, result()))

    sent = body(made)

    assert sent["messages"][1]["content"][1] == {
        "toolUse": {"toolUseId": "toolu_1", "name": "weather", "input": {"z": 1, "a": 1.5}}
    }
    assert b'{"z": 1, "a": 1.50}' in shaped(made).encoded()
    assert sent["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "toolu_1", "content": [{"text": "Rain"}]}}
    ]


def test_results_come_before_what_the_user_says_and_keep_their_images():
    made = asked(
        user("Weather?"), assistant(CALL), user("See?", result("toolu_1", Text("Rain"), PNG))
    )

    blocks = body(made)["messages"][2]["content"]

    assert [next(iter(block)) for block in blocks] == ["toolResult", "text"]
    assert [next(iter(block)) for block in blocks[0]["toolResult"]["content"]] == ["text", "image"]


@pytest.mark.parametrize(
    ("model", "status", "warned"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "error", False),
        (NOVA, "error", False),
        (MISTRAL, None, True),
    ],
)
def test_a_failed_result_says_so_where_the_model_takes_it(model, status, warned):
    failed = result("abcdefghi", Text(""), failed=True)
    call = ToolCall("abcdefghi", "weather", "{}")
    made = asked(user("Hi"), assistant(call), message(Role.TOOL, failed), model=model)

    sent = body(made)["messages"][2]["content"][0]["toolResult"]

    assert sent.get("status") == status
    assert sent["content"] == [{"json": {}}]
    assert (("CONTENT_DROPPED", "messages[2].parts[0]") in warnings(made)) is warned


@pytest.mark.parametrize("text", ["", "  ", '{"a": ', "[1]", "null", '"text"'])
def test_arguments_that_are_no_object_still_go_over_as_one(text):
    call = ToolCall("toolu_1", "weather", text)
    made = asked(user("Hi"), assistant(call), message(Role.TOOL, result()))

    sent = body(made)["messages"][1]["content"][0]["toolUse"]["input"]

    assert sent == ({"arguments": text} if text.strip() else {})
    assert bool(text.strip()) == any(
        field.endswith("arguments_json") for _, field in warnings(made)
    )


@pytest.mark.parametrize("model", [MISTRAL, NOVA])
def test_ids_and_names_of_other_vendors_become_what_this_one_takes_and_always_the_same(model):
    odd = "call|äö " + "x" * 80
    call = ToolCall(odd, "functions.weather", "{}")
    made = asked(user("Hi"), assistant(call), message(Role.TOOL, result(odd)), model=model)

    first, again = body(made), body(made)

    use = first["messages"][1]["content"][0]["toolUse"]
    assert use["name"] == "functions_weather"
    assert use["toolUseId"] == first["messages"][2]["content"][0]["toolResult"]["toolUseId"]
    assert len(use["toolUseId"]) == (9 if model == MISTRAL else 40)
    assert first == again


def test_thinking_with_its_signature_and_what_was_redacted_go_back_unchanged():
    signed = kept(Thinking("Hm"), thinking={"signature": "c2ln", "family": "anthropic"})
    unseen = kept(Thinking(""), thinking={"signature": "c2ln", "family": "anthropic"})
    redacted = kept(
        Thinking("", redacted=True), thinking={"redacted": "cmVk", "family": "anthropic"}
    )
    made = asked(user("Hi"), assistant(signed, unseen, redacted, "Hello"), user("So?"))

    assert body(made)["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "c2ln"}}},
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "cmVk"}},
        {"text": "Hello"},
    ]
    assert shaped(made).warnings == ()


@pytest.mark.parametrize(
    "part",
    [
        Part(Thinking("Hm")),
        Part(Thinking("Hm"), provider_state=ProviderState("anthropic", b'{"signature":"x"}')),
        kept(Thinking("Hm"), thinking={"signature": "x", "family": "deepseek"}),
        kept(Thinking("Hm"), thinking=["x"]),
        Part(Thinking("Hm"), provider_state=ProviderState("bedrock", b"\xff")),
    ],
)
def test_thinking_of_another_kind_or_family_is_dropped_with_a_warning(part):
    made = asked(user("Hi"), assistant(part, "Hello"), user("So?"))

    assert body(made)["messages"][1]["content"] == [{"text": "Hello"}]
    assert warnings(made) == [("CONTENT_DROPPED", "messages[1].parts[0]")]


def test_citations_of_its_own_go_back_and_others_are_dropped():
    raw = {"title": "doc", "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}}}
    own = kept(Text("Cited"), citations=[raw])
    other = Part(Text("Elsewhere"), citations=(Citation("https://a.example"),))
    made = asked(user("Hi"), assistant(own, other), user("So?"))

    assert body(made)["messages"][1]["content"] == [
        {"citationsContent": {"content": [{"text": "Cited"}], "citations": [raw]}},
        {"text": "Elsewhere"},
    ]
    assert warnings(made) == [("CONTENT_DROPPED", "messages[1].parts[1].citations")]


def test_what_the_vendor_ran_itself_goes_back_to_it_and_no_one_elses():
    ran = kept(
        ToolCall("tooluse_1", "nova_grounding", "{}", server_side=True),
        tool_use={"type": "server_tool_use"},
    )
    gave = opaque({"toolResult": {"toolUseId": "tooluse_1", "content": [], "type": "nova_result"}})
    foreign = ToolCall("srv_1", "web_search", "{}", server_side=True)
    made = asked(user("Hi"), assistant(ran, gave, foreign, "Hello"), user("So?"), model=NOVA)

    blocks = shaped(made).body["messages"][1]["content"]

    assert blocks[0]["toolUse"]["type"] == "server_tool_use"
    assert blocks[1] == {
        "toolResult": {"toolUseId": "tooluse_1", "content": [], "type": "nova_result"}
    }
    assert blocks[2:] == [{"text": "Hello"}]
    assert warnings(made) == [("CONTENT_DROPPED", "messages[1].parts[2]")]
    assert "toolConfig" not in shaped(made).body


def test_a_refusal_and_an_image_of_the_model_go_back_as_they_are():
    made = asked(user("Hi"), assistant(Refusal("I would rather not."), PNG), user("So?"))

    blocks = body(made)["messages"][1]["content"]

    assert blocks[0] == {"text": "I would rather not."}
    assert "image" in blocks[1]


def test_names_of_speakers_are_dropped_with_a_warning():
    made = asked(message(Role.USER, "Hi", participant="Ann"))

    assert warnings(made) == [("CONTENT_DROPPED", "messages[0].participant")]


def test_cache_points_follow_what_is_to_be_cached():
    forever, hour = CacheControl(), CacheControl(3600)
    made = asked(
        message(Role.SYSTEM, Part(Text("Long"), cache_control=hour)),
        user(Part(Text("Also long"), cache_control=CacheControl(300)), "Short"),
        assistant(Part(Text("Hello"), cache_control=forever)),
        user("So?"),
    )

    sent = body(made)

    assert sent["system"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert sent["messages"][0]["content"][1] == {"cachePoint": {"type": "default", "ttl": "5m"}}
    assert sent["messages"][1]["content"][1] == {"cachePoint": {"type": "default"}}


@pytest.mark.parametrize(
    ("part", "model", "field"),
    [
        (Part(Text("x"), CacheControl()), "meta.llama3-3-70b-instruct-v1:0", "parts[0]"),
        (Part(Text("x"), CacheControl(3600)), NOVA, "parts[0]"),
        (Part(Text(""), CacheControl()), NOVA, "parts[0]"),
    ],
)
def test_a_cache_point_that_cannot_be_is_said(part, model, field):
    made = asked(user(part, "Hi"), model=model)

    body(made)

    assert any(path.startswith(f"messages[0].{field}") for _, path in warnings(made))


def test_nothing_of_thinking_or_inside_a_result_is_cached():
    signed = kept(Thinking("Hm"), thinking={"signature": "c2ln", "family": "anthropic"})
    thought = Part(signed.content, CacheControl(), signed.provider_state)
    inside = ToolResult("toolu_1", "weather", (Part(Text("Rain"), CacheControl()),))
    made = asked(user("Hi"), assistant(thought, CALL), message(Role.TOOL, inside))

    assert "cachePoint" not in str(body(made))
    assert [field for _, field in warnings(made)] == [
        "messages[1].parts[0]",
        "messages[2].parts[0].tool_result.content[0]",
        "tools",
    ]


def test_what_was_kept_of_the_models_own_answer_is_not_said_back():
    said = assistant(Text("Hi"), kept(Text(""), additional_fields={"x": 1}))

    blocks = body(asked(user("a"), said, user("b")))["messages"][1]["content"]

    assert blocks == [{"text": "Hi"}]
