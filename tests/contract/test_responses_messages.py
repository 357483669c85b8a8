"""What messages become in the Responses API: shown, said before, called and answered."""

import json

import pytest
from calls import call, message, user
from responses_bodies import body, items, warned
from responses_reading import call as called
from responses_reading import message as said
from responses_reading import read_whole

from llm_service.domain.content import (
    CacheControl,
    Citation,
    Media,
    Message,
    Modality,
    Part,
    ProviderState,
    Refusal,
    Resolution,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported, InvalidField

PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png", resolution=Resolution.HIGH)
PNG_URL = "data:image/png;base64,iVBORw=="
PDF = Media(Modality.DOCUMENT, data=b"%PDF", mime_type="application/pdf", display_name="report.pdf")


def assistant(*contents) -> Message:
    return message(Role.ASSISTANT, *contents)


def again(answer, *more, **options) -> list:
    """The input of the next turn, after an answer of ours."""
    turns = (user("First"), Message(Role.ASSISTANT, answer.parts), *more)
    return items(*turns, **options)[1:]


def test_each_role_speaks():
    shaped = items(message(Role.SYSTEM, "Be brief."), user("Hello"), assistant("Hi"), user("More"))

    assert shaped == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "More"},
    ]


@pytest.mark.parametrize(
    ("media", "block"),
    [
        (
            PNG,
            {
                "type": "input_image",
                "detail": "high",
                "image_url": "data:image/png;base64,iVBORw==",
            },
        ),
        (
            Media(Modality.IMAGE, uri="https://a.example/a.png"),
            {"type": "input_image", "detail": "auto", "image_url": "https://a.example/a.png"},
        ),
        (
            Media(Modality.IMAGE, file_id="file-1"),
            {"type": "input_image", "detail": "auto", "file_id": "file-1"},
        ),
        (
            PDF,
            {
                "type": "input_file",
                "filename": "report.pdf",
                "file_data": "data:application/pdf;base64,JVBERg==",
            },
        ),
        (
            Media(Modality.DOCUMENT, uri="https://a.example/a.pdf"),
            {"type": "input_file", "file_url": "https://a.example/a.pdf"},
        ),
        (Media(Modality.DOCUMENT, file_id="file-2"), {"type": "input_file", "file_id": "file-2"}),
    ],
)
def test_images_and_documents_are_shown_in_each_way(media, block):
    (shaped,) = items(user("Look:", media))

    assert shaped["content"] == [{"type": "input_text", "text": "Look:"}, block]


@pytest.mark.parametrize(
    "asked",
    [
        user(Media(Modality.AUDIO, data=b"RIFF", mime_type="audio/wav")),
        user(Media(Modality.VIDEO, uri="https://a.example/a.mp4")),
        user(Media(Modality.IMAGE, uri="s3://bucket/a.png")),
        message(Role.SYSTEM, PNG),
        user(Thinking("Hm.")),
        assistant(PNG),
    ],
)
def test_what_has_no_place_is_refused_by_its_path(asked):
    with pytest.raises(CapabilityNotSupported) as failure:
        items(user("First"), asked)

    assert failure.value.metadata == {"field": "messages[1].parts[0]", "model": "gpt-6-sol"}


@pytest.mark.parametrize(
    "asked",
    [
        user(Media(Modality.IMAGE, data=b"\x89PNG")),
        message(Role.TOOL, "no result"),
        assistant(Part(Thinking("Hm."), provider_state=ProviderState("google", b"{}"))),
    ],
)
def test_what_is_not_whole_is_refused(asked):
    with pytest.raises(InvalidField):
        items(asked)


def test_where_to_cache_is_marked_for_models_that_take_marks():
    part = Part(Text("Long."), CacheControl(3600.0))
    short = Part(Text("Short."), CacheControl(300.0))

    (shaped,) = items(user(part, short, Part(Text("Any."), CacheControl())))

    assert [block["prompt_cache_breakpoint"] for block in shaped["content"]] == [
        {"mode": "explicit", "ttl": "12h"},
        {"mode": "explicit", "ttl": "30m"},
        {"mode": "explicit"},
    ]
    older = call(user(part), model="gpt-5.4")
    assert body(older)["input"] == [{"role": "user", "content": "Long."}]
    assert warned(older) == [("CONTENT_DROPPED", "messages[0].parts[0].cache_control")]


def test_a_whole_answer_goes_back_as_it_came():
    reasoning = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": t} for t in ("First.", "Then.")],
        "encrypted_content": "c2VhbGVk",
    }
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    search["action"] = {"type": "search", "query": "x"}
    note = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0}
    text = said("Found.", annotations=[{**note, "end_index": 2}]) | {"phase": "commentary"}
    kept = {"type": "compaction", "id": "cmp_1", "encrypted_content": "Y29tcGFjdA"}
    calling = called("time", '{"a": 1}', "call_1", caller={"type": "direct"}, namespace="clock")
    output = [reasoning, search, text, kept, calling]

    shaped = again(read_whole(*output), message(Role.TOOL, ToolResult("call_1", "time", ())))

    assert shaped[:-1] == output
    assert shaped[-1] == {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "",
        "caller": {"type": "direct"},
    }


def test_two_texts_of_one_message_go_back_as_one_message():
    text = said("One.")
    text["content"].append({"type": "refusal", "refusal": "Not that."})
    text["content"].append({"type": "output_audio", "data": "AAAA"})

    shaped = again(read_whole(text, said("Two.", "msg_2")))

    assert shaped == [text, said("Two.", "msg_2")]


def test_an_image_the_model_made_goes_back_with_its_bytes():
    image = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "output_format": "webp",
        "result": "AAEC",
    }

    answer = read_whole(image)

    assert answer.parts[0].content == Media(
        Modality.IMAGE, data=b"\x00\x01\x02", mime_type="image/webp"
    )
    assert again(answer) == [image]


def test_thinking_of_others_and_what_they_kept_is_left_out_and_told_of():
    foreign = ProviderState("anthropic", b'{"signature": "c2ln"}')
    asked = call(
        user("Hi"),
        assistant(
            Part(Thinking("Hm."), provider_state=foreign),
            Part(Text(""), provider_state=foreign),
            Part(ToolCall("ws_1", "web_search", "{}", server_side=True), provider_state=foreign),
            "Found.",
        ),
        user("More"),
    )

    shaped = body(asked)["input"]

    assert [item.get("role") for item in shaped] == ["user", "assistant", "user"]
    assert "c2ln" not in json.dumps(shaped)
    assert [field for _, field in warned(asked)] == [
        f"messages[1].parts[{number}]" for number in range(3)
    ]


@pytest.mark.parametrize(
    "state", [b"", b"no json", b"[]", b'{"item": {}}', b'{"item": {"type": 1}}']
)
def test_state_that_cannot_be_read_is_as_none(state):
    own = ProviderState("openai", state)
    turn = assistant(
        Part(Thinking("Hm."), provider_state=own),
        Part(Text("Hi"), provider_state=own),
        Part(Text(""), provider_state=own),
        Part(ToolCall("call_1", "time"), provider_state=own),
    )

    shaped = items(user("Hi"), turn, message(Role.TOOL, ToolResult("call_1", "time", ())))

    assert [item.get("type", item.get("role")) for item in shaped[1:]] == [
        "assistant",
        "function_call",
        "function_call_output",
    ]


def test_reasoning_that_was_not_sealed_goes_back_only_where_it_is_stored_or_open():
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    opened = {**bare, "content": [{"type": "reasoning_text", "text": "Open."}]}

    assert again(read_whole(bare, said("Hi"))) == [said("Hi")]
    assert again(read_whole(bare, said("Hi")), options_json='{"store":true}') == [bare, said("Hi")]
    assert again(read_whole(opened, said("Hi"))) == [opened, said("Hi")]


def test_ids_the_vendor_would_refuse_are_shaped_alike_in_call_and_result():
    turn = assistant(ToolCall("toolu/weird id!", "time", ""), ToolCall("x" * 65, "time", "{}"))
    results = [
        Part(ToolResult(i, "time", (Part(Text("now")),))) for i in ("toolu/weird id!", "x" * 65)
    ]

    one, two, *answers = items(user("Hi"), turn, Message(Role.TOOL, tuple(results)))[1:]

    assert one["arguments"] == "{}"
    assert [one["call_id"], two["call_id"]] == [answer["call_id"] for answer in answers]
    assert one["call_id"] != two["call_id"]
    assert all(len(call_id) <= 64 for call_id in (one["call_id"], two["call_id"]))


def test_the_result_of_a_call_that_was_left_out_is_left_out():
    turn = assistant(ToolCall("srv_1", "search", "{}", server_side=True), "Found.")
    asked = call(user("Hi"), turn, message(Role.TOOL, ToolResult("srv_1", "search", ())))

    assert len(body(asked)["input"]) == 2
    assert ("CONTENT_DROPPED", "messages[2].parts[0]") in warned(asked)


def test_a_result_can_show_images_and_documents_and_has_no_word_for_failure():
    result = ToolResult("call_1", "look", (Part(Text("Here:")), Part(PNG), Part(PDF)), failed=True)
    asked = call(
        user("Hi"), assistant(ToolCall("call_1", "look", "{}")), message(Role.TOOL, result)
    )

    output = body(asked)["input"][-1]["output"]

    assert [block["type"] for block in output] == ["input_text", "input_image", "input_file"]
    assert [field for _, field in warned(asked)] == ["messages[2].parts[0]"]


def test_results_among_a_users_words_keep_their_place():
    turn = user("Before", ToolResult("call_1", "time", (Part(Text("now")),)), "After")

    shaped = items(user("Hi"), assistant(ToolCall("call_1", "time", "{}")), turn)[2:]

    assert [item.get("content", item.get("output")) for item in shaped] == [
        "Before",
        "now",
        "After",
    ]


def test_citations_of_pages_go_back_and_others_are_told_of():
    page, file = Citation("https://a", "A", start_index=1, end_index=3), Citation(title="a.pdf")
    asked = call(user("Hi"), assistant(Part(Text("Found."), citations=(page, file))))

    (note,) = body(asked)["input"][1]["content"][0]["annotations"]

    assert note["url"] == "https://a"
    assert (note["start_index"], note["end_index"]) == (1, 3)
    assert [field for _, field in warned(asked)] == ["messages[1].parts[0]"]


def test_what_cannot_be_sent_with_a_message_is_told_of():
    page = Citation("https://a", "A")
    asked = call(
        message(Role.USER, Part(Text("Hi"), citations=(page,)), participant="Ada"),
        assistant(Part(Text("Hello"), CacheControl()), Refusal("No.")),
        user(Media(Modality.IMAGE, uri="https://a", resolution=Resolution.MEDIUM)),
        model="gpt-6-sol",
    )

    body(asked)

    assert [field for _, field in warned(asked)] == [
        "messages[0].participant",
        "messages[0].parts[0]",
        "messages[1].parts[0].cache_control",
        "messages[2].parts[0].image.resolution",
    ]
