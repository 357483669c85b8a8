"""What Google's answers hold, part by part, whole and streamed."""

import base64
import json

import pytest
from google_wire import answered, chunk, decoder, spoken, whole
from recordings import sse

from llm_service import errors
from llm_service.domain.completion import (
    ContentFilter,
    FilterStage,
    FinishReason,
    ModalityTokens,
    TokenUsage,
    UsageUpdate,
)
from llm_service.domain.content import Citation, Media, Modality, Text, Thinking
from llm_service.providers.fold import fold


def contents(answer) -> list:
    return [part.content for part in answer.parts]


def state(part) -> dict:
    assert part.provider_state.kind == "google"
    return json.loads(part.provider_state.data)


def test_thinking_and_text_take_turns():
    answer = answered(
        chunk({"text": "Hm", "thought": True}),
        chunk({"text": "m.", "thought": True}),
        chunk({"text": "Yes"}),
        chunk({"text": " and", "thought": True}, {"text": "no"}, finish="STOP"),
    )

    assert contents(answer) == [Thinking("Hmm."), Text("Yes"), Thinking(" and"), Text("no")]
    assert state(answer.parts[0]) == {"thought": True}


def test_a_thought_that_is_a_picture_is_kept_unseen():
    sketch = {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}, "thought": True}

    answer = whole(sketch)

    assert contents(answer) == [Thinking("", redacted=True)]
    assert state(answer.parts[0]) == {"part": sketch}


def test_pictures_sounds_and_files_are_media():
    pcm = "audio/L16;codec=pcm;rate=24000"
    answer = answered(
        chunk({"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"png").decode()}}),
        chunk({"inlineData": {"mimeType": pcm, "data": base64.b64encode(b"one").decode()}}),
        chunk({"inlineData": {"mimeType": pcm, "data": base64.b64encode(b"two").decode()}}),
        chunk({"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/v"}}, finish="STOP"),
    )

    assert contents(answer) == [
        Media(Modality.IMAGE, data=b"png", mime_type="image/png"),
        Media(Modality.AUDIO, data=b"onetwo", mime_type=pcm),
        Media(Modality.VIDEO, uri="gs://b/v", mime_type="video/mp4"),
    ]


def test_data_that_is_not_base64_is_an_error():
    with pytest.raises(errors.ProviderProtocolError):
        whole({"inlineData": {"mimeType": "image/png", "data": "***"}})


@pytest.mark.parametrize(
    "part",
    [
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK"}},
        {"toolCall": {"id": "1"}},
        {"toolResponse": {"id": "1"}, "thoughtSignature": 7},
        {"somethingNew": [1]},
    ],
)
def test_parts_without_a_place_survive_as_state(part):
    answer = answered(chunk({"text": "A"}), chunk(part), chunk({"text": "B"}, finish="STOP"))

    assert contents(answer) == [Text("A"), Text(""), Text("B")]
    assert state(answer.parts[1]) == {"part": part}


GROUNDING = {
    "webSearchQueries": ["x"],
    "groundingChunks": [
        {"web": {"uri": "https://a", "title": "A"}},
        {"retrievedContext": {"uri": "https://b", "title": "B", "text": "read there"}},
    ],
    "groundingSupports": [
        {
            "segment": {"startIndex": 7, "endIndex": 13, "text": "hljóp"},
            "groundingChunkIndices": [0, 1, 9],
        }
    ],
}


@pytest.mark.parametrize("streamed", [True, False])
def test_grounding_counts_bytes_and_citations_count_code_points(streamed):
    thought = {"text": "Hm", "thought": True}
    if streamed:
        answer = answered(
            chunk(thought),
            chunk({"text": "Björn "}),
            chunk({"text": "hljóp."}, finish="STOP", groundingMetadata=GROUNDING),
        )
    else:
        answer = whole(thought, {"text": "Björn hljóp."}, groundingMetadata=GROUNDING)

    [text] = [part for part in answer.parts if part.content == Text("Björn hljóp.")]
    assert text.citations == (
        Citation("https://a", "A", "hljóp", 6, 11),
        Citation("https://b", "B", "read there", 6, 11),
    )
    assert state(answer.parts[-1])["metadata"]["groundingMetadata"] == GROUNDING


def test_a_place_is_found_in_the_part_it_counts_from():
    supports = [
        {"segment": {"partIndex": 1, "endIndex": 3, "text": "two"}, "groundingChunkIndices": [0]}
    ]

    answer = whole(
        {"text": "one", "thoughtSignature": "c2ln"},
        {"text": "two"},
        groundingMetadata={**GROUNDING, "groundingSupports": supports},
    )

    assert [len(part.citations) for part in answer.parts[:2]] == [0, 1]
    assert answer.parts[1].citations[0].end_index == 3


def test_sources_without_a_place_are_cited_and_quotations_too():
    answer = whole(
        {"text": "Hæ þú"},
        groundingMetadata={"groundingChunks": [{"maps": {"uri": "https://m", "title": "M"}}]},
        citationMetadata={
            "citationSources": [{"startIndex": 0, "endIndex": 3, "uri": "https://q"}]
        },
    )

    assert answer.parts[0].citations == (
        Citation("https://m", "M"),
        Citation("https://q", start_index=0, end_index=2),
    )


def test_probabilities_come_with_their_text():
    def token(said, chance):
        return {"token": said, "logProbability": chance, "tokenId": 1}

    answer = whole(
        {"text": "Hi"},
        logprobsResult={
            "chosenCandidates": [token("Hi", -0.5), {"token": 3}],
            "topCandidates": [{"candidates": [token("Hi", -0.5), token("Ho", -1)]}],
        },
    )

    [said] = answer.parts[0].logprobs
    assert (said.token, said.logprob) == ("Hi", -0.5)
    assert [(other.token, other.logprob) for other in said.alternatives] == [
        ("Hi", -0.5),
        ("Ho", -1.0),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.MAX_OUTPUT_TOKENS),
        *((word, FinishReason.CONTENT_FILTER) for word in (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
            "IMAGE_RECITATION", "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR",
        )),
        ("MALFORMED_FUNCTION_CALL", FinishReason.MALFORMED_TOOL_CALL),
        ("UNEXPECTED_TOOL_CALL", FinishReason.MALFORMED_TOOL_CALL),
        ("CONTINUATION", FinishReason.PAUSED),
        ("NO_IMAGE", FinishReason.OTHER),
        ("SOMETHING_NEW", FinishReason.OTHER),
    ],
)  # fmt: skip
def test_every_reason_to_finish_has_its_meaning(word, reason):
    for answer in (answered(chunk(finish=word)), whole(finish=word)):
        assert answer.finish_reason is reason
        assert answer.provider_finish_reason == word
        assert (answer.content_filter is not None) is (reason is FinishReason.CONTENT_FILTER)


def test_a_filtered_answer_names_the_categories():
    ratings = [
        {"category": "HARM_CATEGORY_HARASSMENT", "blocked": True},
        {"category": "HARM_CATEGORY_HATE_SPEECH", "blocked": False},
    ]

    answer = whole(finish="SAFETY", safetyRatings=ratings)

    assert answer.content_filter == ContentFilter(FilterStage.OUTPUT, ("HARM_CATEGORY_HARASSMENT",))


@pytest.mark.parametrize("streamed", [True, False])
def test_a_blocked_prompt_is_a_result(streamed):
    body = json.dumps(
        {
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
            "modelVersion": "gemini-x",
        }
    ).encode()

    answer = answered(body) if streamed else fold(decoder().whole(body))

    assert answer.finish_reason is FinishReason.CONTENT_FILTER
    assert answer.provider_finish_reason == "PROHIBITED_CONTENT"
    assert answer.content_filter == ContentFilter(FilterStage.INPUT, ("PROHIBITED_CONTENT",))
    assert answer.usage == TokenUsage(9)
    assert answer.parts == ()


def used(**counts) -> TokenUsage | None:
    return whole({"text": "x"}, usageMetadata=counts).usage


def test_usage_is_inclusive():
    usage = used(
        promptTokenCount=100,
        toolUsePromptTokenCount=20,
        cachedContentTokenCount=40,
        candidatesTokenCount=30,
        thoughtsTokenCount=50,
        totalTokenCount=200,
        promptTokensDetails=[
            {"modality": "TEXT", "tokenCount": 60},
            {"modality": "IMAGE", "tokenCount": 40},
        ],
        toolUsePromptTokensDetails=[{"modality": "TEXT", "tokenCount": 20}],
        candidatesTokensDetails=[{"modality": "TEXT", "tokenCount": 30}],
    )

    assert usage == TokenUsage(
        input_tokens=120,
        output_tokens=80,
        cache_read_input_tokens=40,
        reasoning_output_tokens=50,
        modality_tokens=(
            ModalityTokens(Modality.TEXT, 80, 30),
            ModalityTokens(Modality.IMAGE, 40, 0),
        ),
    )


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"totalTokenCount": 17}, 7),
        ({"totalTokenCount": 17, "thoughtsTokenCount": 5}, 7),
        ({"thoughtsTokenCount": 5}, 5),
        ({"candidatesTokenCount": 7, "thoughtsTokenCount": 5, "totalTokenCount": 17}, 7),
        ({"candidatesTokenCount": 7, "thoughtsTokenCount": 5, "totalTokenCount": 22}, 12),
    ],
)
def test_the_output_is_told_by_what_was_said_of_it(counts, output):
    assert used(promptTokenCount=10, **counts).output_tokens == output


@pytest.mark.parametrize(
    "counts",
    [
        {"trafficType": "ON_DEMAND"},
        {"promptTokenCount": -1},
        {"promptTokenCount": 1, "candidatesTokenCount": 2**40},
        {"promptTokenCount": "10"},
        {"promptTokenCount": 1, "thoughtsTokenCount": -5},
    ],
)
def test_counts_nobody_can_believe_are_none(counts):
    assert used(**counts) is None


def counted(number) -> dict:
    return {"promptTokenCount": 5, "candidatesTokenCount": number}


def fed(*pieces) -> list:
    reader = decoder()
    return [event for piece in pieces for event in reader.feed(sse([piece], done=False))]


def test_usage_is_told_at_once_and_now_and_then_and_the_last_word_counts():
    growing = [chunk({"text": "a"}, usageMetadata=counted(n)) for n in range(1, 40)]

    updates = [event for event in fed(*growing) if isinstance(event, UsageUpdate)]
    answer = answered(*growing, chunk(finish="STOP", usageMetadata={"trafficType": "ON_DEMAND"}))

    assert [update.usage.output_tokens for update in updates] == [1, 17, 33]
    assert answer.usage == TokenUsage(5, 39)


def test_a_stream_that_fails_tells_what_it_had_counted():
    growing = [chunk({"text": "a"}, usageMetadata=counted(n)) for n in range(1, 4)]

    *_, last = fed(*growing, b"{broken")

    assert last == UsageUpdate(TokenUsage(5, 3))


def test_only_the_first_of_several_candidates_is_read():
    said = spoken({"text": "A"}, finish="STOP")
    said["candidates"].append({"index": 1, "content": {"parts": [{"text": "B"}]}})

    answer = fold(decoder().whole(json.dumps(said).encode()))

    assert contents(answer) == [Text("A")]


@pytest.mark.parametrize("whole_answer", [True, False])
def test_googles_explanation_of_the_end_is_told_to_the_caller_alone(whole_answer):
    said = {"finishMessage": "Malformed function call: f(" + "x" * 9000}
    make = whole if whole_answer else lambda **how: answered(chunk(**how))

    answer = make(finish="MALFORMED_FUNCTION_CALL", **said)

    assert answer.provider_finish_message == said["finishMessage"][:4096]
    assert "Malformed function call" not in repr(answer)


def test_why_a_prompt_was_blocked_is_told_too():
    said = {"blockReason": "SAFETY", "blockReasonMessage": "The prompt could not be submitted."}

    answer = answered(json.dumps({"promptFeedback": said}).encode())

    assert answer.provider_finish_message == "The prompt could not be submitted."
