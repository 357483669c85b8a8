"""Completions, stream events, attempts and failures, on their way out."""

from collections.abc import Iterable

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
    DeltaKind,
    FailedCompletion,
    Fallback,
    FilterStage,
    FinishReason,
    Heartbeat,
    PartDelta,
    PartFinished,
    PartStarted,
    ServedBy,
    StreamEvent,
    Timings,
    TokenUsage,
    UsageUpdate,
    Warning,
)
from llm_service.domain.content import Modality
from llm_service.rpc.codes import code_for
from llm_service.rpc.convert.content import (
    fill_message,
    from_citation,
    from_logprob,
    from_part,
    from_provider_state,
)
from llm_service.rpc.convert.times import fill_duration, fill_timestamp, to_duration, to_timestamp
from llm_service.rpc.stubs import common_pb2, error_pb2
from llm_service.rpc.stubs import completion_pb2 as pb

_MESSAGE_BYTES = 200  # of an error text inside a status
_STATUS_ATTEMPTS = 5

_FINISH_REASONS: dict[FinishReason, pb.FinishReason.ValueType] = {
    reason: getattr(pb, f"FINISH_REASON_{reason.name}") for reason in FinishReason
}
_STAGES = {stage: getattr(pb.ContentFilter, f"STAGE_{stage.name}") for stage in FilterStage}
_MODALITIES = {modality: getattr(common_pb2, f"MODALITY_{modality.name}") for modality in Modality}


def from_completion(completion: Completion) -> pb.Completion:
    message = pb.Completion()
    fill_completion(message, completion)
    return message


def fill_completion(message: pb.Completion, completion: Completion) -> None:
    """As `fill_usage`."""
    message.id = completion.id
    fill_message(message.message, completion.message)
    message.finish_reason = _FINISH_REASONS[completion.finish_reason]
    message.provider_finish_reason = completion.provider_finish_reason
    fill_usage(message.usage, completion.usage)
    fill_cost(message.cost, completion.cost)
    fill_served_by(message.served_by, completion.served_by)
    for attempt in completion.attempts:
        fill_attempt(message.attempts.add(), attempt)
    _fill_timings(message.timings, completion.timings)
    if completion.warnings:
        message.warnings.extend(from_warnings(completion.warnings))
    fill_timestamp(message.create_time, completion.create_time)
    message.provider_finish_message = completion.provider_finish_message
    if completion.content_filter is not None:
        message.content_filter.CopyFrom(_from_content_filter(completion.content_filter))


def from_event(event: StreamEvent, sequence: int) -> pb.StreamCompleteResponse:  # noqa: C901, PLR0911 - one arm per event
    """`sequence` counts the events of the stream from 0."""
    match event:
        case PartDelta():
            return pb.StreamCompleteResponse(sequence=sequence, part_delta=_from_delta(event))
        case PartStarted():
            return pb.StreamCompleteResponse(
                sequence=sequence,
                part_started=pb.PartStarted(index=event.index, part=from_part(event.part)),
            )
        case PartFinished():
            return pb.StreamCompleteResponse(
                sequence=sequence, part_finished=_from_part_finished(event)
            )
        case CompletionStarted():
            return pb.StreamCompleteResponse(sequence=sequence, started=_from_started(event))
        case CompletionFinished():
            return pb.StreamCompleteResponse(sequence=sequence, finished=_from_finished(event))
        case UsageUpdate(usage):
            return pb.StreamCompleteResponse(
                sequence=sequence, usage=pb.UsageUpdate(usage=from_usage(usage))
            )
        case AudioDelta(index, data):
            return pb.StreamCompleteResponse(
                sequence=sequence, part_delta=pb.PartDelta(index=index, audio=data)
            )
        case CitationDelta(index, citation):
            return pb.StreamCompleteResponse(
                sequence=sequence,
                part_delta=pb.PartDelta(index=index, citation=from_citation(citation)),
            )
        case Fallback():
            return pb.StreamCompleteResponse(
                sequence=sequence,
                fallback=pb.Fallback(
                    failed_attempt=from_attempt(event.failed_attempt),
                    served_by=from_served_by(event.served_by),
                ),
            )
        case Heartbeat():
            return pb.StreamCompleteResponse(sequence=sequence, heartbeat=pb.Heartbeat())


def _from_delta(delta: PartDelta) -> pb.PartDelta:
    match delta.kind:
        case DeltaKind.TEXT:
            message = pb.PartDelta(index=delta.index, text=delta.text)
        case DeltaKind.ARGUMENTS_JSON:
            message = pb.PartDelta(index=delta.index, arguments_json=delta.text)
        case DeltaKind.THINKING:
            message = pb.PartDelta(index=delta.index, thinking=delta.text)
        case DeltaKind.REFUSAL:
            message = pb.PartDelta(index=delta.index, refusal=delta.text)
    if delta.logprobs:
        message.logprobs.extend(from_logprob(logprob) for logprob in delta.logprobs)
    return message


def _from_part_finished(event: PartFinished) -> pb.PartFinished:
    message = pb.PartFinished(index=event.index)
    if event.provider_state is not None:
        message.provider_state.CopyFrom(from_provider_state(event.provider_state))
    return message


def _from_started(event: CompletionStarted) -> pb.CompletionStarted:
    return pb.CompletionStarted(
        id=event.id,
        served_by=from_served_by(event.served_by),
        failed_attempts=from_attempts(event.failed_attempts),
        create_time=to_timestamp(event.create_time),
    )


def _from_finished(event: CompletionFinished) -> pb.CompletionFinished:
    completion = event.completion
    message = pb.CompletionFinished(
        finish_reason=_FINISH_REASONS[completion.finish_reason],
        provider_finish_reason=completion.provider_finish_reason,
        usage=from_usage(completion.usage),
        cost=from_cost(completion.cost),
        attempts=from_attempts(completion.attempts),
        timings=_from_timings(completion.timings),
        warnings=from_warnings(completion.warnings),
        provider_finish_message=completion.provider_finish_message,
    )
    if completion.content_filter is not None:
        message.content_filter.CopyFrom(_from_content_filter(completion.content_filter))
    if event.include_completion:
        message.completion.CopyFrom(from_completion(completion))
    return message


def from_finish_reason(reason: FinishReason | None) -> pb.FinishReason.ValueType:
    return _FINISH_REASONS[reason] if reason is not None else pb.FINISH_REASON_UNSPECIFIED


def from_usage(usage: TokenUsage) -> common_pb2.TokenUsage:
    message = common_pb2.TokenUsage()
    fill_usage(message, usage)
    return message


def fill_usage(message: common_pb2.TokenUsage, usage: TokenUsage) -> None:
    """Write into a message in its place: one made apart would be copied there."""
    message.input_tokens = usage.input_tokens
    message.output_tokens = usage.output_tokens
    message.cache_read_input_tokens = usage.cache_read_input_tokens
    message.cache_write_input_tokens = usage.cache_write_input_tokens
    message.cache_write_1h_input_tokens = usage.cache_write_1h_input_tokens
    message.reasoning_output_tokens = usage.reasoning_output_tokens
    message.estimated = usage.estimated
    for tokens in usage.modality_tokens:
        message.modality_tokens.add(
            modality=_MODALITIES[tokens.modality],
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
        )
    for use in usage.provider_tool_uses:
        message.provider_tool_uses.add(meter=use.meter, count=use.count)


def from_cost(cost: Cost) -> common_pb2.Cost:
    message = common_pb2.Cost()
    fill_cost(message, cost)
    return message


def fill_cost(message: common_pb2.Cost, cost: Cost) -> None:
    """As `fill_usage`."""
    message.total_nano_usd = cost.total_nano_usd
    message.price_version = cost.price_version
    message.estimated = cost.estimated
    message.incomplete = cost.incomplete
    for item in cost.items:
        message.items.add(
            meter=item.meter,
            quantity=item.quantity,
            nano_usd=item.nano_usd,
            price_version=item.price_version,
        )
    if cost.reported_nano_usd is not None:
        message.reported_nano_usd = cost.reported_nano_usd
        if not cost.incomplete:
            difference = cost.reported_nano_usd - cost.total_nano_usd
            message.reported_difference_nano_usd = difference
    if cost.price_effective_time is not None:
        message.price_effective_time.CopyFrom(to_timestamp(cost.price_effective_time))


def from_served_by(served_by: ServedBy) -> pb.ServedBy:
    message = pb.ServedBy()
    fill_served_by(message, served_by)
    return message


def fill_served_by(message: pb.ServedBy, served_by: ServedBy) -> None:
    """As `fill_usage`."""
    message.provider = served_by.provider
    message.model = served_by.model
    message.credential = served_by.credential
    message.provider_model = served_by.provider_model
    message.provider_request_id = served_by.provider_request_id
    message.model_config = served_by.model_config


def from_call_error(error: CallError) -> common_pb2.CallError:
    message = common_pb2.CallError(
        code=code_for(error.reason),
        reason=error.reason,
        message=error.message,
        http_status=error.http_status,
        provider_code=error.provider_code,
    )
    if error.retry_delay is not None:
        message.retry_delay.CopyFrom(to_duration(error.retry_delay))
    return message


def from_attempt(attempt: Attempt) -> pb.Attempt:
    message = pb.Attempt()
    fill_attempt(message, attempt)
    return message


def fill_attempt(message: pb.Attempt, attempt: Attempt) -> None:
    """As `fill_usage`."""
    fill_served_by(message.target, attempt.target)
    fill_timestamp(message.start_time, attempt.start_time)
    fill_duration(message.duration, attempt.duration)
    if attempt.error is not None:
        message.error.CopyFrom(from_call_error(attempt.error))
    if attempt.usage is not None:
        fill_usage(message.usage, attempt.usage)
    if attempt.cost is not None:
        fill_cost(message.cost, attempt.cost)


def from_attempts(attempts: Iterable[Attempt]) -> list[pb.Attempt]:
    return [from_attempt(attempt) for attempt in attempts]


def _from_timings(timings: Timings) -> pb.Timings:
    message = pb.Timings()
    _fill_timings(message, timings)
    return message


def _fill_timings(message: pb.Timings, timings: Timings) -> None:
    fill_duration(message.queue_duration, timings.queue)
    fill_duration(message.total_duration, timings.total)
    if timings.first_token is not None:
        fill_duration(message.first_token_duration, timings.first_token)


def from_warnings(warnings: Iterable[Warning]) -> list[pb.Warning]:
    return [pb.Warning(reason=w.reason, field=w.field, message=w.message) for w in warnings]


def _from_content_filter(content_filter: ContentFilter) -> pb.ContentFilter:
    stage = content_filter.stage
    return pb.ContentFilter(
        stage=_STAGES[stage] if stage is not None else pb.ContentFilter.STAGE_UNSPECIFIED,
        categories=content_filter.categories,
    )


def from_failure(failed: FailedCompletion) -> error_pb2.CompletionFailure:
    """At most five attempts with their messages cut, so that a status stays small."""
    message = error_pb2.CompletionFailure(
        completion_id=failed.id,
        attempts=from_attempts(failed.attempts[:_STATUS_ATTEMPTS]),
        content_sent=failed.content_sent,
    )
    for attempt in message.attempts:
        if not attempt.HasField("error"):
            continue
        attempt.error.message = attempt.error.message.encode()[:_MESSAGE_BYTES].decode(
            errors="ignore"
        )
    if failed.usage is not None:
        message.usage.CopyFrom(from_usage(failed.usage))
    if failed.cost is not None:
        message.cost.CopyFrom(from_cost(failed.cost))
    return message
