"""Conversations as Google's models are told them, also those begun with another vendor."""

import json

import pytest
from calls import call, message, user
from google_wire import answered, chunk, whole

from llm_service import errors
from llm_service.domain.content import (
    Citation,
    Media,
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
from llm_service.providers.gemini import request
from llm_service.providers.gemini.door import Door

THIRD, SECOND = "gemini-3.8-flash", "gemini-2.5-flash"
GEMINI, VERTEX = Door(), Door("p-1", "europe-west4")
PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
INLINE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}
CALL = ToolCall("c-1", "weather", '{"z": 1, "a": 1.50}')


def shaped(*messages, model=SECOND, door=GEMINI):
    return request.body(call(*messages, model=model), door)


def contents(*messages, model=SECOND, door=GEMINI) -> list:
    return json.loads(shaped(*messages, model=model, door=door).encoded())["contents"]


def assistant(*parts):
    return message(Role.ASSISTANT, *parts)


def result(call_id, *texts, failed=False, name="weather"):
    parts = tuple(Part(t if isinstance(t, Media) else Text(t)) for t in texts)
    return ToolResult(call_id, name, parts, failed)


def test_instructions_are_lifted_out_and_turns_are_joined():
    said = shaped(
        message(Role.SYSTEM, "One."),
        user("A", ""),
        user("B"),
        message(Role.SYSTEM, "Two."),
        assistant("C"),
        assistant(Refusal("D")),
        user("E"),
    ).fields

    assert said["systemInstruction"] == {"parts": [{"text": "One."}, {"text": "Two."}]}
    assert said["contents"] == [
        {"role": "user", "parts": [{"text": "A"}, {"text": "B"}]},
        {"role": "model", "parts": [{"text": "C"}, {"text": "D"}]},
        {"role": "user", "parts": [{"text": "E"}]},
    ]


def test_instructions_alone_are_what_the_user_says():
    said = shaped(message(Role.SYSTEM, "Sing.")).fields

    assert said == {"contents": [{"role": "user", "parts": [{"text": "Sing."}]}]}


def test_empty_texts_are_left_out_and_nothing_is_put_in_their_place():
    said = contents(user(" ", ""), assistant("", Thinking("Hm")), user(""))

    assert said == [{"role": "user", "parts": [{"text": " "}]}]


def test_a_conversation_that_says_nothing_is_refused():
    with pytest.raises(errors.InvalidField) as failure:
        contents(user(""))

    assert failure.value.violations[0].field == "messages"


def test_media_go_as_bytes_by_uri_and_by_file():
    [said] = contents(
        user(
            PNG,
            Media(Modality.VIDEO, uri="https://youtu.be/x"),
            Media(Modality.DOCUMENT, uri="gs://bucket/a.pdf"),
            Media(Modality.AUDIO, file_id="files/abc", mime_type="audio/mpeg"),
        )
    )

    files = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    assert said["parts"] == [
        INLINE,
        {"fileData": {"fileUri": "https://youtu.be/x"}},
        {"fileData": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}},
        {"fileData": {"fileUri": files, "mimeType": "audio/mpeg"}},
    ]


@pytest.mark.parametrize(
    ("media", "door", "error"),
    [
        (Media(Modality.IMAGE, uri="ftp://x/y.png"), Door(), errors.CapabilityNotSupported),
        (Media(Modality.IMAGE, file_id="abc"), VERTEX, errors.CapabilityNotSupported),
        (Media(Modality.VIDEO, uri="https://x/y"), VERTEX, errors.InvalidField),
        (Media(Modality.IMAGE, data=b"x"), Door(), errors.InvalidField),
    ],
)
def test_media_the_door_does_not_take_are_refused_by_their_path(media, door, error):
    with pytest.raises(error) as failure:
        contents(user("Look:", media), door=door)

    assert "messages[0].parts[1]" in str(failure.value)


def test_a_resolution_goes_where_each_part_has_one():
    sharp = Media(
        Modality.IMAGE, data=b"\x89PNG", mime_type="image/png", resolution=Resolution.HIGH
    )

    assert contents(user(sharp), model=THIRD)[0]["parts"] == [
        {**INLINE, "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}}
    ]
    [warning] = shaped(user(sharp), model=SECOND).warnings
    assert warning.field == "messages[0].parts[0].image.resolution"


def test_calls_and_results_are_paired_by_turns_in_the_order_of_the_calls():
    other = ToolCall("c-2", "time", "")
    said = shaped(
        user("Weather and time?"),
        assistant("Well.", CALL, other),
        message(Role.TOOL, result("c-2", "Noon", name="")),
        message(Role.TOOL, result("c-1", "Rain", "Wind", failed=True)),
        user("And?"),
    )

    raw = said.encoded()
    assert b'"args":{"z": 1, "a": 1.50}' in raw
    assert json.loads(raw)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Well."},
                {"functionCall": {"name": "weather", "args": {"z": 1, "a": 1.5}}},
                {"functionCall": {"name": "time", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"error": ["Rain", "Wind"]}}},
                {"functionResponse": {"name": "time", "response": {"output": "Noon"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "And?"}]},
    ]


@pytest.mark.parametrize("model", [SECOND, THIRD])
def test_an_image_of_a_tool_goes_in_its_result_or_beside_it(model):
    turn = contents(
        user("Draw"),
        assistant(CALL),
        message(Role.TOOL, result("c-1", "Here", PNG)),
        model=model,
    )[-1]

    response = {"name": "weather", "response": {"output": "Here"}}
    if model == THIRD:
        assert turn["parts"] == [{"functionResponse": {**response, "parts": [INLINE]}}]
    else:
        assert turn["parts"] == [{"functionResponse": response}, INLINE]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ((user("Hi"), message(Role.TOOL, result("c-9", "Rain"))), "messages[1].parts[0]"),
        ((user("Hi"), assistant(CALL), user("Well?")), "messages[1].parts[0]"),
        (
            (user("Hi"), assistant(CALL), message(Role.TOOL, result("c-1"), result("c-1"))),
            "messages[2].parts[1]",
        ),
    ],
)
def test_calls_and_results_that_do_not_pair_are_refused(messages, field):
    with pytest.raises(errors.InvalidField) as failure:
        contents(*messages)

    assert failure.value.violations[0].field.startswith(field)


@pytest.mark.parametrize(
    "messages",
    [
        (assistant(CALL), message(Role.TOOL, result("c-1", "Rain"))),
        (user("Hi"), assistant(ToolCall("c-1", "weather", "{oops"))),
        (user("Hi"), assistant(ToolCall("c-1", "weather", "[1]"))),
        (message(Role.SYSTEM, PNG), user("Hi")),
        (user("Hi", CALL),),
        (user("Hi"), assistant(CALL), message(Role.TOOL, ToolResult("c-1", "x", (Part(CALL),)))),
    ],
)
def test_what_there_is_no_place_for_is_refused_before_dialling(messages):
    with pytest.raises(errors.CapabilityNotSupported) as failure:
        contents(*messages)

    assert failure.value.metadata["model"] == SECOND
    assert failure.value.metadata["field"].startswith("messages")


def test_an_answer_goes_back_as_it_came():
    parts = [
        {"text": "Hm.", "thought": True},
        {"text": "Let me see", "thoughtSignature": "c2ln"},
        {"executableCode": {"language": "PYTHON", "code": "1+1", "id": "x"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
        {"toolCall": {"id": "t", "toolType": "GOOGLE_SEARCH_WEB", "args": {"q": "x"}}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}, "thoughtSignature": "aW1n"},
        {
            "functionCall": {"id": "f-1", "name": "weather", "args": {"z": 1}},
            "thoughtSignature": "Y2Fs",
        },
        {"functionCall": {"name": "time", "args": {}}},
        {"text": "", "thoughtSignature": "ZW5k"},
    ]
    answer = whole(*parts)
    calls = [part.content for part in answer.parts if isinstance(part.content, ToolCall)]

    said = contents(
        user("Hi"),
        assistant(*answer.parts),
        message(Role.TOOL, *(result(c.id, "ok", name=c.name) for c in calls)),
        model=THIRD,
    )

    assert said[1] == {"role": "model", "parts": parts}
    first, second = (part["functionResponse"] for part in said[2]["parts"])
    assert (first["id"], first["name"]) == ("f-1", "weather")
    assert "id" not in second


def test_a_streamed_answer_goes_back_without_joining_signed_pieces():
    answer = answered(
        chunk({"text": "One, "}),
        chunk({"text": "two"}),
        chunk({"text": ", three", "thoughtSignature": "c2ln"}),
        chunk({"text": ", four"}, finish="STOP"),
    )

    said = contents(user("Count"), assistant(*answer.parts))

    assert said[1]["parts"] == [
        {"text": "One, two"},
        {"text": ", three", "thoughtSignature": "c2ln"},
        {"text": ", four"},
    ]


def test_vertex_is_not_sent_what_only_the_gemini_api_takes():
    answer = whole({"toolCall": {"id": "t", "toolType": "GOOGLE_SEARCH_WEB"}}, {"text": "Ok"})

    said = shaped(user("Hi"), assistant(*answer.parts), user("More"), door=VERTEX)

    assert said.fields["contents"][1]["parts"] == [{"text": "Ok"}]
    assert [warning.reason for warning in said.warnings] == ["CONTENT_DROPPED"]


def test_a_conversation_begun_elsewhere_goes_on_here():
    state = ProviderState("anthropic", b'{"thoughtSignature": "stolen"}')
    said = shaped(
        user("Weather?"),
        assistant(
            Part(Thinking("Hm."), provider_state=state),
            Part(Thinking("", redacted=True), provider_state=state),
            Part(ToolCall("srv", "web_search", "{}", server_side=True), provider_state=state),
            Part(Text("I look."), citations=(Citation("https://x"),)),
            Part(CALL, provider_state=state),
            ToolCall("c-2", "time", "{}"),
        ),
        message(Role.TOOL, result("c-1", "Rain"), result("c-2", "Noon", name="time")),
        model=THIRD,
    )

    model_turn = json.loads(said.encoded())["contents"][1]
    assert model_turn["parts"] == [
        {"text": "I look."},
        {
            "functionCall": {"name": "weather", "args": {"z": 1, "a": 1.5}},
            "thoughtSignature": "skip_thought_signature_validator",
        },
        {"functionCall": {"name": "time", "args": {}}},
    ]
    assert [(w.reason, w.field) for w in said.warnings] == [
        ("CONTENT_DROPPED", "messages[1].parts"),
        ("CONTENT_DROPPED", "messages[1].parts[0]"),
        ("CONTENT_DROPPED", "messages[1].parts[2]"),
    ]
    assert b"stolen" not in said.encoded()


def test_the_second_generation_gets_no_signature_it_did_not_give():
    said = contents(user("Hi"), assistant(CALL), message(Role.TOOL, result("c-1", "Rain")))

    assert "thoughtSignature" not in said[1]["parts"][0]


def test_a_paused_answer_is_resumed_by_its_token():
    answer = whole({"text": "Once upon"}, finish="CONTINUATION", continuationToken="dG9r")

    resumed = shaped(user("Tell"), assistant(*answer.parts)).fields
    gone_on = shaped(user("Tell"), assistant(*answer.parts), user("More")).fields

    assert resumed == {
        "contents": [{"role": "user", "parts": [{"text": "Tell"}]}],
        "continuationToken": "dG9r",
    }
    assert "continuationToken" not in gone_on
    assert gone_on["contents"][1] == {"role": "model", "parts": [{"text": "Once upon"}]}


def test_a_participant_has_no_place_and_that_is_said():
    said = shaped(message(Role.USER, "Hi", participant="ann"))

    assert [warning.field for warning in said.warnings] == ["messages[0].participant"]
