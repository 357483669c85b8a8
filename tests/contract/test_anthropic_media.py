"""Images, documents and marks to keep a prompt, as the anthropic kind sends them."""

import json

import pytest
from anthropic_bodies import PNG, PROFILE, block, body, body_of, ours, prepared, turns, warned
from calls import call, message, user

from llm_service.domain.content import (
    CacheControl,
    Media,
    Modality,
    Part,
    Resolution,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers.messages.request import prepare

CALL = ToolCall("toolu_1", "time", "{}")
RESULT = ToolResult("toolu_1", "time", (Part(Text("noon")),))


@pytest.mark.parametrize(
    ("media", "sent"),
    [
        (
            PNG,
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="},
            },
        ),
        (
            Media(Modality.IMAGE, uri="https://a.example/b.png"),
            {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
        ),
        (
            Media(Modality.IMAGE, file_id="file_1"),
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            Media(Modality.DOCUMENT, data=b"%", mime_type="application/pdf", display_name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JQ=="},
                "title": "a.pdf",
            },
        ),
        (
            Media(Modality.DOCUMENT, data="é".encode(), mime_type="text/markdown; charset=utf-8"),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "é"},
            },
        ),
        (
            Media(Modality.DOCUMENT, uri="https://a.example/b.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://a.example/b.pdf"}},
        ),
    ],
)
def test_media_become_blocks(media, sent):
    assert turns(user(media)) == [("user", [sent])]


def test_a_file_takes_part_in_the_beta_it_needs():
    shaped = prepared(call(user(Media(Modality.DOCUMENT, file_id="file_1"))))

    assert shaped.betas == ("files-api-2025-04-14",)


@pytest.mark.parametrize(
    ("media", "field"),
    [
        (Media(Modality.AUDIO, data=b"a", mime_type="audio/wav"), ""),
        (Media(Modality.VIDEO, uri="https://a.example/b.mp4"), ""),
        (Media(Modality.IMAGE, data=b"BM", mime_type="image/bmp"), ".image"),
        (Media(Modality.IMAGE, uri="gs://a/b.png"), ".image"),
        (Media(Modality.DOCUMENT, data=b"PK", mime_type="application/zip"), ".document"),
    ],
)
def test_media_the_vendor_cannot_take_are_refused_by_path_and_model(media, field):
    with pytest.raises(CapabilityNotSupported) as failure:
        body(call(user("a", media), model="claude-x"))

    path = f"messages[0].parts[1]{field}"
    assert failure.value.metadata == {"field": path, "model": "claude-x"}


@pytest.mark.parametrize(
    ("media", "field"),
    [
        (Media(Modality.IMAGE, data=b"x"), "image.mime_type"),
        (Media(Modality.DOCUMENT, data=b"\xff", mime_type="text/plain"), "document.data"),
    ],
)
def test_bytes_that_are_not_what_they_say_are_refused(media, field):
    with pytest.raises(InvalidField) as failure:
        body(call(user(media)))

    assert failure.value.violations[0].field == f"messages[0].parts[0].{field}"


@pytest.mark.parametrize(
    "misplaced",
    [
        message(Role.ASSISTANT, PNG),
        message(Role.SYSTEM, PNG),
        message(Role.USER, Thinking("Hm.")),
        message(Role.USER, CALL),
        message(Role.ASSISTANT, RESULT),
    ],
)
def test_a_part_in_a_role_that_has_no_place_for_it_is_refused(misplaced):
    with pytest.raises(CapabilityNotSupported) as failure:
        body(call(user("a"), misplaced))

    assert failure.value.metadata["field"] == "messages[1].parts[0]"


def test_a_tool_message_holds_results_only():
    with pytest.raises(InvalidField):
        body(call(user("a"), message(Role.TOOL, "noon")))


def test_what_the_api_has_no_word_for_is_said():
    close = Media(Modality.IMAGE, uri="https://a.example/b.png", resolution=Resolution.HIGH)
    asked = call(message(Role.USER, close, participant="Ada"))

    assert warned(asked) == [
        ("CONTENT_DROPPED", "messages[0].participant"),
        ("CONTENT_DROPPED", "messages[0].parts[0].image.resolution"),
    ]


# --- caching --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ttl", "sent"),
    [
        (None, {"type": "ephemeral"}),
        (300.0, {"type": "ephemeral", "ttl": "5m"}),
        (3600.0, {"type": "ephemeral", "ttl": "1h"}),
    ],
)
def test_a_part_is_kept_as_long_as_asked(ttl, sent):
    marked = Part(Text("a"), CacheControl(ttl))

    said = body(call(message(Role.SYSTEM, marked), user(marked)))

    assert said["system"][0]["cache_control"] == sent
    assert said["messages"][0]["content"][0]["cache_control"] == sent


@pytest.mark.parametrize(("ttl", "sent"), [(60.0, "5m"), (301.0, "1h"), (86400.0, "1h")])
def test_another_time_to_live_is_said(ttl, sent):
    asked = call(user(Part(Text("a"), CacheControl(ttl))))

    assert body(asked)["messages"][0]["content"][0]["cache_control"]["ttl"] == sent
    assert warned(asked) == [("CONTENT_DROPPED", "messages[0].parts[0].cache_control.ttl")]


def test_marks_on_results_and_their_parts_are_kept():
    inner = Part(Text("noon"), CacheControl())
    result = Part(ToolResult("toolu_1", "", (inner,)), CacheControl())

    said = turns(user("a"), message(Role.ASSISTANT, CALL), message(Role.TOOL, result))

    assert json.dumps(said[2]).count("cache_control") == 2


def test_more_marks_than_the_vendor_takes_are_said():
    asked = call(user(*(Part(Text(f"{n}"), CacheControl()) for n in range(6))))

    marked = ["cache_control" in part for part in body(asked)["messages"][0]["content"]]
    assert marked == [True] * 4 + [False] * 2
    assert warned(asked) == [("CONTENT_DROPPED", "messages[0].parts[4].cache_control")]


def test_a_mark_on_thinking_or_on_nothing_is_said():
    thought = ours(Thinking("Hm."), {"signature": "c2ln"}, cache_control=CacheControl())
    asked = call(
        user("a"),
        message(Role.ASSISTANT, thought, Part(Text(""), CacheControl())),
        user("b"),
    )

    assert "cache_control" not in json.dumps(body(asked))
    assert len(warned(asked)) == 1


def test_a_mark_is_left_out_and_said_where_the_model_keeps_no_prompts():
    marked = user(Part(Text("a"), CacheControl()))
    asked = call(marked, capabilities=ModelCapabilities(prompt_caching=False))

    assert "cache_control" not in json.dumps(body(asked))
    assert warned(asked) == [("CONTENT_DROPPED", "messages[0].parts[0].cache_control")]


def test_a_block_of_the_vendors_own_may_be_a_users_and_a_results():
    found = {"type": "search_result", "source": "s", "title": "T", "content": [block("x")]}
    state = ours(Text(""), {"block": found})
    result = ToolResult("toolu_1", "", (state,))

    shaped = prepare(
        call(user("a"), message(Role.ASSISTANT, CALL), message(Role.TOOL, result), user(state)),
        PROFILE,
    )

    [sent, own] = body_of(shaped)["messages"][2]["content"]
    assert sent["content"] == [found]
    assert own == found
