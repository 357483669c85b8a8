"""Why Converse answers end, what struck them, and what they used."""

import pytest
from bedrock_answers import HELLO, answer, whole
from bedrock_wire import ended

from llm_service.domain.completion import FilterStage, FinishReason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("max_tokens", FinishReason.MAX_OUTPUT_TOKENS),
        ("stop_sequence", FinishReason.STOP_SEQUENCE),
        ("guardrail_intervened", FinishReason.CONTENT_FILTER),
        ("content_filtered", FinishReason.CONTENT_FILTER),
        ("malformed_model_output", FinishReason.OTHER),
        ("malformed_tool_use", FinishReason.MALFORMED_TOOL_CALL),
        ("model_context_window_exceeded", FinishReason.CONTEXT_WINDOW),
        ("refusal", FinishReason.REFUSAL),
        ("pause_turn", FinishReason.PAUSED),
        ("anything_new", FinishReason.OTHER),
    ],
)
def test_the_reason_to_finish_is_one_of_ours_beside_the_vendors_word(said, reason):
    for folded in (answer(*HELLO, *ended(said)), whole({"text": "Hello"}, reason=said)):
        assert folded.finish_reason is reason
        assert folded.provider_finish_reason == said


@pytest.mark.parametrize(
    ("trace", "stage", "categories"),
    [
        ({}, None, ()),
        (
            {
                "inputAssessment": {
                    "gr1": {
                        "topicPolicy": {"topics": [{"name": "Law", "action": "BLOCKED"}]},
                        "wordPolicy": {"customWords": [{"match": "secret", "action": "BLOCKED"}]},
                        "contentPolicy": {"filters": [{"type": "HATE", "action": "NONE"}]},
                    }
                }
            },
            FilterStage.INPUT,
            ("Law", "wordPolicy"),
        ),
        (
            {
                "outputAssessments": {
                    "gr1": [{"contentPolicy": {"filters": [{"type": "HATE", "action": "BLOCKED"}]}}]
                }
            },
            FilterStage.OUTPUT,
            ("HATE",),
        ),
        ({"inputAssessment": {"gr1": {"topicPolicy": {"topics": "x"}, "a": 1}}}, None, ()),
    ],
)
def test_a_guardrail_that_struck_says_where_and_why(trace, stage, categories):
    said = {"trace": {"guardrail": trace}}

    for folded in (
        answer(*HELLO, *ended("guardrail_intervened", **said)),
        whole({"text": "Hello"}, reason="guardrail_intervened", **said),
    ):
        assert folded.content_filter.stage is stage
        assert folded.content_filter.categories == categories


def test_a_filter_of_the_model_is_one_too_and_no_filter_none():
    assert answer(*ended("content_filtered")).content_filter.stage is FilterStage.OUTPUT
    assert answer(*ended()).content_filter is None


def test_the_model_a_router_chose_is_the_one_that_served():
    trace = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:::foundation-model/a.b"}}

    assert answer(*HELLO, *ended(trace=trace)).provider_model.endswith("a.b")


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ({"inputTokens": 10, "outputTokens": 2}, (10, 2, 0, 0, 0)),
        (
            {
                "inputTokens": 10,
                "outputTokens": 2,
                "cacheReadInputTokens": 30,
                "cacheWriteInputTokens": 20,
                "cacheDetails": [
                    {"ttl": "1h", "inputTokens": 15},
                    {"ttl": "5m", "inputTokens": 5},
                ],
            },
            (60, 2, 30, 20, 15),
        ),
        (
            {
                "inputTokens": 10,
                "outputTokens": 2,
                "cacheReadInputTokenCount": 3,
                "cacheWriteInputTokenCount": 4,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 99}, "rubbish", {"ttl": "1h"}],
            },
            (17, 2, 3, 4, 0),
        ),
        (
            {"inputTokens": 10, "outputTokens": 2, "cacheReadInputTokens": -5},
            (10, 2, 0, 0, 0),
        ),
        (
            {"inputTokens": 10, "outputTokens": 2, "cacheReadInputTokens": 2**31 - 1},
            (10, 2, 0, 0, 0),
        ),
    ],
)
def test_usage_is_inclusive_and_nothing_absurd_is_believed(said, counts):
    usage = answer(*HELLO, *ended(usage=said)).usage

    assert counts == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_write_input_tokens,
        usage.cache_write_1h_input_tokens,
    )


@pytest.mark.parametrize(
    "said", [{"inputTokens": -1, "outputTokens": 2}, {"inputTokens": 10}, {"a": 1}, [1], "x"]
)
def test_usage_that_is_none_is_unknown(said):
    assert answer(*HELLO, *ended(usage=said)).usage is None
