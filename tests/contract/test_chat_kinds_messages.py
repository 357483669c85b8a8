"""How a conversation is put to each vendor of Chat Completions where it differs from the others."""

import json

import pytest
from calls import call, message, user
from chat_kinds import KINDS, PNG, sent

from llm_service.domain.content import (
    CacheControl,
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
from llm_service.errors import CapabilityNotSupported
from llm_service.providers.chat import request

every_kind = pytest.mark.parametrize("kind", KINDS)
PDF = Media(Modality.DOCUMENT, data=b"%PDF", mime_type="application/pdf", display_name="a.pdf")
WAV = Media(Modality.AUDIO, data=b"RIFF", mime_type="audio/wav")
FILM = Media(Modality.VIDEO, uri="https://x/y.mp4")


def thinking(kind, text, state=b'{"thinking":{}}'):
    return Part(Thinking(text), provider_state=ProviderState(kind, state))


@every_kind
def test_a_conversation_of_other_vendors_goes_on(kind):
    foreign = Part(Text(""), provider_state=ProviderState("anthropic", b'{"block":{}}'))
    asked = call(
        message(Role.SYSTEM, "Be brief."),
        user("Weather?"),
        message(
            Role.ASSISTANT,
            thinking("anthropic", "Hm", b'{"signature":"c2ln"}'),
            "A moment.",
            foreign,
            ToolCall("toolu_01AbCdEfGhIjKlMnOpQrStUvWxYz0123456789", "time", "{}"),
            ToolCall("call_2", "time", ""),
        ),
        message(
            Role.TOOL,
            ToolResult("toolu_01AbCdEfGhIjKlMnOpQrStUvWxYz0123456789", "time", user("1").parts),
            ToolResult("call_2", "time", user("2").parts),
        ),
        message(Role.ASSISTANT, Refusal("I will not say.")),
        user("Why?"),
    )

    body, warnings = sent(kind, asked)

    assert "Hm" not in json.dumps(body)
    assert ("CONTENT_DROPPED", "messages[2].parts[0]") in warnings
    assert ("CONTENT_DROPPED", "messages[2].parts[2]") in warnings
    assert "I will not say." in json.dumps(body["messages"][5])
    assert sent(kind, asked) == (body, warnings)


def test_ids_of_calls_become_such_as_mistral_takes():
    asked = call(
        message(Role.ASSISTANT, ToolCall("call_x", "time"), ToolCall("gSIMJiOkT", "time")),
        message(
            Role.TOOL,
            ToolResult("call_x", "time", user("1").parts),
            ToolResult("gSIMJiOkT", "time", user("2").parts),
        ),
    )

    said, first, second = sent("mistral", asked)[0]["messages"]

    assert [c["id"] for c in said["tool_calls"]] == [first["tool_call_id"], "gSIMJiOkT"]
    assert second["tool_call_id"] == "gSIMJiOkT"


def test_mistral_takes_no_user_right_after_a_tool():
    asked = call(
        message(Role.ASSISTANT, ToolCall("a", "time")),
        user(ToolResult("a", "time", user("1").parts), "and?"),
    )

    with pytest.raises(CapabilityNotSupported) as failure:
        request.body(asked, KINDS["mistral"], stream=False)

    assert failure.value.metadata == {"field": "messages[1]", "model": "gpt-4o"}


def test_an_answer_to_be_gone_on_with_is_marked_for_mistral():
    body, _ = sent("mistral", call(user("Hi"), message(Role.ASSISTANT, "Well,")))

    assert body["messages"][-1] == {"role": "assistant", "content": "Well,", "prefix": True}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("deepseek", {"reasoning_content": "Hm", "content": ""}),
        ("fireworks", {"reasoning_content": "Hm"}),
        ("together", {"reasoning": "Hm", "content": ""}),
        (
            "mistral",
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
        ),
        ("openrouter", {"reasoning": "Hm"}),
        ("groq", {}),
        ("xai", {}),
    ],
)
def test_thinking_goes_back_in_the_vendors_form(kind, expected):
    asked = call(
        user("Time?"),
        message(Role.ASSISTANT, thinking(kind, "Hm"), ToolCall("callcall1", "time", "{}")),
        message(Role.TOOL, ToolResult("callcall1", "time", user("1").parts)),
    )

    said = sent(kind, asked)[0]["messages"][1]

    del said["tool_calls"], said["role"]
    assert said == expected


def test_deepseek_is_told_of_thoughts_it_never_had():
    asked = call(
        message(Role.ASSISTANT, ToolCall("a", "time")),
        message(Role.TOOL, ToolResult("a", "time", user("1").parts)),
    )

    assert sent("deepseek", asked)[0]["messages"][0]["reasoning_content"] == ""


def test_signed_pieces_go_back_to_openrouter_as_they_came():
    details = [{"type": "reasoning.text", "text": "Hm", "signature": "c2ln", "index": 0}]
    state = json.dumps({"thinking": {"details": details}}).encode()

    body, warnings = sent(
        "openrouter", call(message(Role.ASSISTANT, thinking("openrouter", "Hm", state), "Yes"))
    )

    assert body["messages"][0] == {
        "role": "assistant",
        "reasoning_details": details,
        "content": "Yes",
    }
    assert warnings == []


def test_openrouter_gets_marks_for_the_cache():
    asked = call(
        message(Role.SYSTEM, Part(Text("Long."), cache_control=CacheControl(3600.0))),
        user("a", Part(PNG, cache_control=CacheControl())),
    )

    system, said = sent("openrouter", asked)[0]["messages"]

    mark = {"type": "ephemeral", "ttl": "1h"}
    assert system["content"] == [{"type": "text", "text": "Long.", "cache_control": mark}]
    assert said["content"][1]["cache_control"] == {"type": "ephemeral"}
    assert sent("groq", asked)[1][0] == ("CONTENT_DROPPED", "messages[0].parts")


@pytest.mark.parametrize(
    ("kind", "media", "block"),
    [
        ("mistral", PNG, {"type": "image_url", "image_url": "data:image/png;base64,iVBORw=="}),
        (
            "mistral",
            PDF,
            {
                "type": "document_url",
                "document_url": "data:application/pdf;base64,JVBERg==",
                "document_name": "a.pdf",
            },
        ),
        (
            "mistral",
            Media(Modality.DOCUMENT, file_id="f"),
            {"type": "file", "file_id": "f"},
        ),
        ("mistral", WAV, {"type": "input_audio", "input_audio": "UklGRg=="}),
        (
            "openrouter",
            Media(Modality.DOCUMENT, uri="https://x/a.pdf"),
            {"type": "file", "file": {"filename": "document", "file_data": "https://x/a.pdf"}},
        ),
        (
            "openrouter",
            FILM,
            {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
        ),
        (
            "together",
            WAV,
            {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,UklGRg=="}},
        ),
    ],
)
def test_media_are_put_as_the_vendor_wants_them(kind, media, block):
    assert sent(kind, call(user("a", media)))[0]["messages"][0]["content"][1] == block


@pytest.mark.parametrize(
    ("kind", "media"),
    [
        *((kind, PDF) for kind in ("deepseek", "xai", "groq", "fireworks", "together")),
        *((kind, WAV) for kind in ("deepseek", "xai", "groq", "fireworks")),
        *((kind, FILM) for kind in ("deepseek", "xai", "groq", "fireworks", "mistral")),
    ],
)
def test_media_a_vendor_cannot_take_are_refused_by_name(kind, media):
    with pytest.raises(CapabilityNotSupported) as failure:
        request.body(call(user("a", media)), KINDS[kind], stream=False)

    assert failure.value.metadata == {"field": "messages[0].parts[1]", "model": "gpt-4o"}


def test_an_image_in_a_tool_result_goes_to_openrouter_and_to_nobody_else():
    asked = call(
        message(Role.ASSISTANT, ToolCall("a", "time")),
        message(Role.TOOL, ToolResult("a", "time", (Part(Text("see")), Part(PNG)))),
    )

    result = sent("openrouter", asked)[0]["messages"][1]

    assert [block["type"] for block in result["content"]] == ["text", "image_url"]
    with pytest.raises(CapabilityNotSupported):
        request.body(asked, KINDS["groq"], stream=False)


def test_a_name_mistral_does_not_take_is_said_to_be_left_out():
    asked = call(message(Role.USER, "Hi", participant="ann"))

    assert sent("mistral", asked)[1] == [("CONTENT_DROPPED", "messages[0].participant")]
    assert sent("groq", asked)[0]["messages"][0]["name"] == "ann"


@pytest.mark.parametrize("kind", ["mistral", "xai"])
def test_a_message_that_says_nothing_is_left_out_where_it_would_be_refused(kind):
    asked = call(
        user("Hi"), message(Role.ASSISTANT, thinking("anthropic", "Hm")), user("Well?"), user("")
    )

    body, warnings = sent(kind, asked)

    assert [said["content"] for said in body["messages"]] == ["Hi", "Well?"]
    assert ("CONTENT_DROPPED", "messages[1]") in warnings
    assert len(sent("groq", asked)[0]["messages"]) == 4


def test_a_conversation_that_says_nothing_is_refused():
    with pytest.raises(CapabilityNotSupported) as failure:
        request.body(call(user("")), KINDS["mistral"], stream=False)

    assert failure.value.metadata["field"] == "messages"
