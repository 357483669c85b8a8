"""Completions, events, attempts and failures say on the wire what they say inside."""

from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import (
    Attempt,
    AudioDelta,
    CallError,
    CitationDelta,
    Completion,
    CompletionFinished,
    CompletionStarted,
    ContentFilter,
    Cost,
    CostItem,
    DeltaKind,
    FailedCompletion,
    Fallback,
    FilterStage,
    FinishReason,
    Heartbeat,
    ModalityTokens,
    PartDelta,
    PartFinished,
    PartStarted,
    ServedBy,
    Timings,
    TokenUsage,
    UsageUpdate,
    Warning,
)
from llm_service.domain.content import (
    Citation,
    Message,
    Modality,
    Part,
    ProviderState,
    ProviderToolUse,
    Role,
    Text,
    TokenLogprob,
    ToolCall,
)
from llm_service.rpc.convert.completion import (
    from_attempt,
    from_call_error,
    from_completion,
    from_cost,
    from_event,
    from_failure,
    from_finish_reason,
    from_served_by,
    from_usage,
)
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.stubs import common_pb2, content_pb2
from llm_service.rpc.stubs import completion_pb2 as pb
from tests.fakes import NOW

SERVED_BY = ServedBy("providers/p", "providers/p/models/m", "providers/p/credentials/c", "m-1", "r")
TARGET = ServedBy("providers/q", "providers/q/models/m")
USAGE = TokenUsage(
    9,
    8,
    1,
    2,
    3,
    (ModalityTokens(Modality.IMAGE, 4, 5),),
    estimated=True,
    cache_write_1h_input_tokens=1,
)
COST = Cost(30, (CostItem("input-tokens", 9, 30),), "v1", estimated=True, incomplete=True)
FAILED = Attempt(
    TARGET, NOW, 1.5, CallError("PROVIDER_RATE_LIMITED", "slow down", 2.0, 429, "rate_limit")
)
SERVED = Attempt(SERVED_BY, NOW, 0.5, usage=USAGE, cost=COST)
COMPLETION = Completion(
    id="c-1",
    message=Message(Role.ASSISTANT, (Part(Text("hi")),)),
    finish_reason=FinishReason.STOP,
    provider_finish_reason="end_turn",
    usage=USAGE,
    cost=COST,
    served_by=SERVED_BY,
    attempts=(FAILED, SERVED),
    timings=Timings(0.25, 0.5, 2.0),
    create_time=NOW,
    content_filter=ContentFilter(FilterStage.OUTPUT, ("violence",)),
    warnings=(Warning("PARAMETER_DROPPED", "params.seed", "not taken"),),
)


def finished(completion, *, whole: bool):
    return from_event(CompletionFinished(completion, include_completion=whole), 7).finished


def test_a_completion_goes_out_whole():
    message = from_completion(COMPLETION)

    assert (message.id, message.provider_finish_reason) == ("c-1", "end_turn")
    assert message.message == content_pb2.Message(
        role=content_pb2.ROLE_ASSISTANT, parts=[content_pb2.ContentPart(text="hi")]
    )
    assert message.finish_reason == pb.FINISH_REASON_STOP
    assert message.served_by == from_served_by(SERVED_BY)
    assert list(message.attempts) == [from_attempt(FAILED), from_attempt(SERVED)]
    assert message.timings == pb.Timings(
        queue_duration=Duration(nanos=250_000_000),
        first_token_duration=Duration(nanos=500_000_000),
        total_duration=Duration(seconds=2),
    )
    assert message.content_filter == pb.ContentFilter(
        stage=pb.ContentFilter.STAGE_OUTPUT, categories=["violence"]
    )
    assert list(message.warnings) == [
        pb.Warning(reason="PARAMETER_DROPPED", field="params.seed", message="not taken")
    ]
    assert message.create_time == to_timestamp(NOW)


def test_what_a_completion_has_not_is_unset():
    bare = replace(COMPLETION, content_filter=None, timings=Timings(0, None, 1))

    message = from_completion(bare)

    assert not message.HasField("content_filter")
    assert not message.timings.HasField("first_token_duration")
    assert message.timings.HasField("queue_duration")


def test_a_filter_of_an_unknown_stage_has_no_stage():
    filtered = replace(COMPLETION, content_filter=ContentFilter(None, ("hate",)))

    assert from_completion(filtered).content_filter == pb.ContentFilter(categories=["hate"])


def test_usage_cost_and_target_keep_every_number():
    assert from_usage(USAGE) == common_pb2.TokenUsage(
        input_tokens=9,
        output_tokens=8,
        cache_read_input_tokens=1,
        cache_write_input_tokens=2,
        cache_write_1h_input_tokens=1,
        reasoning_output_tokens=3,
        modality_tokens=[
            common_pb2.ModalityTokens(
                modality=common_pb2.MODALITY_IMAGE, input_tokens=4, output_tokens=5
            )
        ],
        estimated=True,
    )
    assert from_cost(COST) == common_pb2.Cost(
        total_nano_usd=30,
        items=[common_pb2.CostItem(meter="input-tokens", quantity=9, nano_usd=30)],
        price_version="v1",
        estimated=True,
        incomplete=True,
    )
    assert from_served_by(replace(SERVED_BY, model_config="fast")) == pb.ServedBy(
        provider="providers/p",
        model="providers/p/models/m",
        credential="providers/p/credentials/c",
        provider_model="m-1",
        provider_request_id="r",
        model_config="fast",
    )


def test_what_is_charged_beside_tokens_is_told_with_the_price_of_each_item():
    usage = replace(USAGE, provider_tool_uses=(ProviderToolUse("web-search", 3),))
    cost = replace(COST, items=(CostItem("web-search", 3, 30, "v2"),))

    assert list(from_usage(usage).provider_tool_uses) == [
        common_pb2.ProviderToolUse(meter="web-search", count=3)
    ]
    assert list(from_cost(cost).items) == [
        common_pb2.CostItem(meter="web-search", quantity=3, nano_usd=30, price_version="v2")
    ]


def test_a_vendors_explanation_is_in_the_answer_whole_and_streamed():
    told = replace(COMPLETION, provider_finish_message="why")

    finished = from_event(CompletionFinished(told, include_completion=True), 0).finished

    assert from_completion(told).provider_finish_message == "why"
    assert finished.provider_finish_message == "why"
    assert finished.completion.provider_finish_message == "why"


@pytest.mark.parametrize("reason", FinishReason)
def test_every_finish_reason_has_its_own_number(reason):
    assert pb.FinishReason.Name(from_finish_reason(reason)) == f"FINISH_REASON_{reason.name}"


def test_no_finish_reason_is_unspecified():
    assert from_finish_reason(None) == pb.FINISH_REASON_UNSPECIFIED


def test_an_attempt_has_what_happened_and_nothing_else():
    failed, served = from_attempt(FAILED), from_attempt(SERVED)

    assert failed.error.http_status == 429
    assert not failed.HasField("usage")
    assert not failed.HasField("cost")
    assert not served.HasField("error")
    assert served.usage == from_usage(USAGE)
    assert served.cost == from_cost(COST)
    assert served.duration == Duration(nanos=500_000_000)


def test_an_error_has_the_status_code_of_its_reason():
    error = from_call_error(FAILED.error)

    assert error == common_pb2.CallError(
        code=8,  # RESOURCE_EXHAUSTED
        reason="PROVIDER_RATE_LIMITED",
        message="slow down",
        retry_delay=Duration(seconds=2),
        http_status=429,
        provider_code="rate_limit",
    )


def test_a_delay_of_nothing_is_not_a_missing_one():
    assert from_call_error(CallError("X", "y", 0.0)).HasField("retry_delay")
    assert not from_call_error(CallError("X", "y")).HasField("retry_delay")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (CompletionStarted("c-1", SERVED_BY, (FAILED,), NOW), "started"),
        (PartStarted(0, Part(Text(""))), "part_started"),
        (PartDelta(0, DeltaKind.TEXT, "a"), "part_delta"),
        (AudioDelta(0, b"a"), "part_delta"),
        (CitationDelta(0, Citation("u")), "part_delta"),
        (PartFinished(0), "part_finished"),
        (UsageUpdate(USAGE), "usage"),
        (Fallback(FAILED, SERVED_BY), "fallback"),
        (Heartbeat(), "heartbeat"),
        (CompletionFinished(COMPLETION, include_completion=False), "finished"),
    ],
)
def test_every_event_has_its_own_field_and_its_number(event, kind):
    message = from_event(event, 5)

    assert message.WhichOneof("event") == kind
    assert message.sequence == 5


def test_the_start_of_an_answer_names_who_failed_before():
    started = from_event(CompletionStarted("c-1", SERVED_BY, (FAILED,), NOW), 0).started

    assert started == pb.CompletionStarted(
        id="c-1",
        served_by=from_served_by(SERVED_BY),
        failed_attempts=[from_attempt(FAILED)],
        create_time=to_timestamp(NOW),
    )


def test_a_tool_call_starts_with_its_id_and_name():
    started = from_event(PartStarted(2, Part(ToolCall("t-1", "weather"))), 0).part_started

    assert started.index == 2
    assert started.part.tool_call == content_pb2.ToolCall(id="t-1", name="weather")


@pytest.mark.parametrize("kind", DeltaKind)
def test_each_kind_of_text_grows_in_its_own_field(kind):
    delta = from_event(PartDelta(3, kind, "abc"), 0).part_delta

    assert delta.index == 3
    assert delta.WhichOneof("delta") == kind.value
    assert getattr(delta, kind.value) == "abc"
    assert not delta.logprobs


def test_a_delta_carries_its_log_probabilities():
    event = PartDelta(0, DeltaKind.TEXT, "hi", (TokenLogprob("hi", -0.5),))

    delta = from_event(event, 0).part_delta

    assert list(delta.logprobs) == [content_pb2.TokenLogprob(token="hi", logprob=-0.5)]


def test_sound_and_citations_are_deltas_too():
    audio = from_event(AudioDelta(1, b"\x00\x01"), 0).part_delta
    citation = from_event(CitationDelta(2, Citation("u", "t", "c", 1, 4)), 0).part_delta

    assert (audio.index, audio.audio) == (1, b"\x00\x01")
    assert citation.index == 2
    assert citation.citation == content_pb2.Citation(
        uri="u", title="t", cited_text="c", start_index=1, end_index=4
    )


def test_a_part_ends_with_its_provider_state_if_it_has_one():
    with_state = from_event(PartFinished(0, ProviderState("openai", b"x")), 0).part_finished

    assert with_state.provider_state == content_pb2.ProviderState(kind="openai", data=b"x")
    assert not from_event(PartFinished(0), 0).part_finished.HasField("provider_state")


def test_a_fallback_names_the_failed_and_the_next():
    fallback = from_event(Fallback(FAILED, SERVED_BY), 0).fallback

    assert fallback.failed_attempt == from_attempt(FAILED)
    assert fallback.served_by == from_served_by(SERVED_BY)


def test_the_last_event_sums_up_without_the_answer():
    message = finished(COMPLETION, whole=False)

    assert message.finish_reason == pb.FINISH_REASON_STOP
    assert message.provider_finish_reason == "end_turn"
    assert message.usage == from_usage(USAGE)
    assert message.cost == from_cost(COST)
    assert len(message.attempts) == 2
    assert message.content_filter.categories == ["violence"]
    assert message.warnings[0].field == "params.seed"
    assert not message.HasField("completion")


def test_the_last_event_holds_the_whole_answer_when_asked():
    message = finished(replace(COMPLETION, content_filter=None), whole=True)

    assert message.completion.message.parts[0].text == "hi"
    assert not message.HasField("content_filter")


@given(st.integers(0, 12))
def test_a_failure_names_its_first_five_attempts(count):
    attempts = tuple(replace(FAILED, duration=float(n)) for n in range(count))

    message = from_failure(FailedCompletion("c-1", attempts))

    assert [a.duration.seconds for a in message.attempts] == list(range(min(count, 5)))


@given(st.text(max_size=400))
def test_a_failures_messages_are_cut_to_200_bytes_between_two_characters(text):
    failed = replace(FAILED, error=CallError("INTERNAL", text))

    cut = from_failure(FailedCompletion("c-1", (failed,))).attempts[0].error.message

    assert len(cut.encode()) <= 200
    assert text.startswith(cut)
    assert cut == text or len(text[: len(cut) + 1].encode()) > 200


def test_an_attempt_without_an_error_has_none_in_a_failure_either():
    message = from_failure(FailedCompletion("c-1", (SERVED,)))

    assert not message.attempts[0].HasField("error")


def test_a_failure_says_what_was_used_if_anything_was():
    bare = from_failure(FailedCompletion("c-1", ()))
    charged = from_failure(FailedCompletion("c-1", (), USAGE, COST, content_sent=True))

    assert not bare.HasField("usage")
    assert not bare.HasField("cost")
    assert not bare.content_sent
    assert charged.usage == from_usage(USAGE)
    assert charged.cost == from_cost(COST)
    assert charged.content_sent
